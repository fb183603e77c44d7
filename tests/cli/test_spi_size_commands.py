"""`hpdp spi size` and `hpdp spi features` on the command line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from click.testing import Result
from diffraction_patterns import Patterns, small_detector
from distributed import Client
from typer.testing import CliRunner

from hpdp_dask.cli.spi.features import features_command
from hpdp_dask.cli.spi.size import size_command
from hpdp_dask.errors import InputError
from hpdp_dask.spi.features import Features, feature_names
from hpdp_dask.stacks.frames import frame_table, new_frames, open_frames
from hpdp_dask.stacks.store import staging, write_images

Run = Callable[..., Result]


@pytest.fixture
def run(client: Client) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("size")(size_command)
    app.command("features")(features_command)

    def run(*words: str | Path) -> Result:
        return CliRunner().invoke(app, [*map(str, words), "--cluster", client.scheduler.address])

    return run


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    detector = small_detector(96, 1.2e-3)
    patterns = Patterns(detector)
    frames = [patterns.photons(patterns.sphere(size), 4000) for size in (500, 600, 600, 600, 900)]
    with staging(tmp_path / "frames.zarr") as folder:
        new_frames(folder, frame_table(detector, {}), 5, (96, 96), np.uint16)
        write_images(folder, 0, np.array(frames))
    return tmp_path / "frames.zarr"


def test_sizes_then_features(run: Run, stack: Path) -> None:
    found = run("size", stack, "--smallest", "200", "--largest", "1200")
    assert found.exit_code == 0, found.output
    assert "With a score of 0.5 or more: 5 frames; median 60" in found.output
    found = run("features", stack)
    assert found.exit_code == 0, found.output
    assert f"Features: {len(feature_names())} of each of 5 frames" in found.output
    assert "by the sizes that were there" in found.output
    history = open_frames(stack).attrs["history"]
    assert history[-2]["parameters"] == {"shape": "sphere", "smallest": 200.0, "largest": 1200.0}
    assert history[-1]["recipe"] == Features().recipe


def test_features_alone(run: Run, stack: Path) -> None:
    found = run("features", stack)
    assert found.exit_code == 0, found.output
    assert "by sizes that were found on the way" in found.output
    np.testing.assert_allclose(open_frames(stack)["particle_size"][1:4], 600.0, rtol=0.03)


def test_a_spheroid(run: Run, stack: Path) -> None:
    assert run("size", stack, "--shape", "spheroid").exit_code == 0
    assert np.all(open_frames(stack)["particle_elongation"] < 1.2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shape", "cube"], "give sphere, icosahedron or spheroid"),
        (["--smallest", "900", "--largest", "300"], "not below the largest"),
        (["--smallest", "20000"], "give other limits"),
    ],
)
def test_options_that_cannot_be(run: Run, stack: Path, words: list[str], said: str) -> None:
    found = run("size", stack, *words)
    assert isinstance(found.exception, InputError)
    assert said in str(found.exception)
    assert "particle_size" not in open_frames(stack)


def test_sizes_are_not_replaced_unasked(run: Run, stack: Path) -> None:
    assert run("size", stack).exit_code == 0
    found = run("size", stack)
    assert isinstance(found.exception, InputError)
    assert "--overwrite" in str(found.exception)
    assert run("size", stack, "--shape", "icosahedron", "--overwrite").exit_code == 0
