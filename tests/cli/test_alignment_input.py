"""Mistakes in the commands that find poses: one sentence, exit 2, nothing left."""

from pathlib import Path

import numpy as np
import pytest
from test_bad_input import BOX, folder, run, stack  # noqa: F401  fixtures

from hpdp_dask.formats.mrc import write_map


@pytest.fixture
def reference(folder: Path) -> Path:  # noqa: F811
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    write_map(folder / "map.mrc", np.exp(-(x**2 + y**2 + z**2) / 20.0).astype(np.float32), 3.0)
    return folder / "map.mrc"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--reference", "none.mrc"], ["none.mrc"]),
        (["--reference", "MAP", "--symmetry", "Q7"], ["Q7"]),
        (["--reference", "MAP", "--initial-resolution", "2"], ["--initial-resolution is 2 Å"]),
        (["--reference", "MAP", "--mask-diameter", "900"], ["--mask-diameter is 900 Å", "48 Å"]),
        (["--reference", "MAP", "--mask", "none.mrc"], ["none.mrc"]),
        (["--reference", "MAP"], ["nothing to align"]),
    ],
)
def test_refine_refuses(run, folder, stack, reference, options, words) -> None:  # noqa: F811
    given = [str(reference) if option == "MAP" else option for option in options]
    before = sorted(folder.iterdir())
    code, message = run("cryoem", "refine", stack, "-o", folder / "out", *given)
    assert code == 2, message
    assert len(message.strip().splitlines()) == 1
    for word in words:
        assert word in message
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("command", ["classify2d", "initial-model"])
def test_more_classes_than_particles_are_refused(run, folder, stack, command) -> None:  # noqa: F811
    before = sorted(folder.iterdir())
    code, message = run("cryoem", command, stack, "-o", folder / "out", "--classes", "50")
    assert code == 2, message
    assert len(message.strip().splitlines()) == 1
    assert "12 particles" in message
    assert sorted(folder.iterdir()) == before
