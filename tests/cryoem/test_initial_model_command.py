"""`hpdp cryoem initial-model`: what its folder holds, what it says, what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from typer.testing import CliRunner

from hpdp_dask.cli.main import app
from hpdp_dask.cryoem.initial_model import stage
from hpdp_dask.cryoem.simulate import phantom, simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, write_images
from hpdp_dask.workflow.initial_model import run_initial_model

NUMBER, BOX, PIXEL_SIZE = 200, 16, 12.0
WORDS = ["hpdp", "cryoem", "initial-model"]


@pytest.fixture(scope="module", autouse=True)
def quick() -> object:
    """Few passes: it is the folder that matters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "_ITERATIONS", 12)
        patch.setattr(stage, "_MORE_ITERATIONS", 1)
        patch.setattr(stage, "_TRIALS", 1)
        yield


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack") / "particles.zarr"
    table, images = simulate_particles(phantom(), NUMBER, BOX, pixel_size=PIXEL_SIZE, snr=1.0)
    new_stack(path, to_dataset(table, 0), NUMBER, BOX)
    write_images(path, 0, images)
    return path


def test_one_map_with_a_symmetry_that_is_not_there(
    stack: Path, client: Client, tmp_path: Path
) -> None:
    said: list[str] = []
    record = run_initial_model(
        stack,
        tmp_path / "initial",
        client=client,
        command=WORDS,
        symmetry="C7",
        say=said.append,
    )
    folder = tmp_path / "initial"
    assert {each.name for each in folder.iterdir()} == {
        *("map.mrc", "report.html", "run.json", "logs"),
    }
    volume, pixel_size = read_map(folder / "map.mrc")
    assert volume.shape == (BOX,) * 3
    assert pixel_size == pytest.approx(PIXEL_SIZE)
    results = json.loads((folder / "run.json").read_text())["results"]
    assert results["symmetry"] == ["C1"]
    assert not results["symmetry_scores"][0]["holds"]
    assert any("has not got the symmetry C7" in warning for warning in record.warnings)
    assert any("search, pass 2 of 13" in line for line in said)
    page = (folder / "report.html").read_text()
    for words in ("Symmetry C7", "Evidence by pass", "The hand is not known"):
        assert words in page


def test_several_classes(stack: Path, client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "classes"
    run_initial_model(stack, folder, client=client, command=WORDS, classes=2, say=lambda _: None)
    names = {each.name for each in folder.iterdir()}
    assert {"class001.mrc", "class002.mrc", "particles.star", "particles.zarr"} <= names
    found = open_stack(folder / "particles.zarr")["class_number"].values
    assert len(found) == NUMBER
    assert set(np.unique(found)) <= {1, 2}


def test_a_mistake_leaves_nothing(stack: Path, client: Client, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no point group"):
        run_initial_model(
            stack,
            tmp_path / "initial",
            client=client,
            command=WORDS,
            symmetry="D0",
            say=lambda _: None,
        )
    assert not list(tmp_path.iterdir())


def test_the_command_is_there() -> None:
    result = CliRunner().invoke(app, ["cryoem", "initial-model", "--help"])
    assert result.exit_code == 0
    assert "--symmetry" in result.output
