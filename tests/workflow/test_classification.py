"""The recipe of a classification: what the folder holds, what the report shows and warns of."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from hpdp_dask.cryoem.classify import State
from hpdp_dask.cryoem.classify.quality import ClassTable
from hpdp_dask.cryoem.simulate import phantom, simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images
from hpdp_dask.workflow.classification import describe_state, run_classification
from hpdp_dask.workflow.gallery import class_gallery, growing_gallery, resolution_chart

NUMBER, BOX = 120, 16
WORDS = ["hpdp", "cryoem", "classify2d"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack") / "particles.zarr"
    table, images = simulate_particles(phantom(), NUMBER, BOX, pixel_size=12.0, snr=1.0)
    new_stack(path, to_dataset(table, 0), NUMBER, BOX)
    write_images(path, 0, images)
    return path


@pytest.fixture(scope="module")
def folder(stack: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "classes"
    said: list[str] = []
    run_classification(
        stack, folder, client=client, command=WORDS, classes=3, iterations=5, say=said.append
    )
    assert sum(line.startswith("Iteration") for line in said) == 6
    assert any("Memory" in line for line in said)
    return folder


def test_the_folder_is_whole(folder: Path) -> None:
    names = {entry.name for entry in folder.iterdir()}
    assert names == {
        *("classes.mrcs", "classes.csv", "particles.zarr", "particles.star"),
        *("report.html", "run.json", "logs"),
    }
    record = json.loads((folder / "run.json").read_text())
    assert record["results"]["particles"] == NUMBER
    assert len(record["results"]["history"]) == 5
    with (folder / "classes.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3


def test_the_report_shows_the_classes_and_warns(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    for words in ("Class averages, the best first", "After iteration 2", "were not normalised"):
        assert words in page


def test_more_classes_than_particles_are_refused_before_anything_is_made(
    stack: Path, client: Client, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="120 particles for 100 classes"):
        run_classification(
            stack, tmp_path / "out", client=client, command=WORDS, classes=100, say=print
        )
    assert not list(tmp_path.iterdir())


def test_an_iteration_is_told_in_a_line() -> None:
    entry = {
        **{"images": 1500.0, "resolution": 24.9, "compared": 17.2, "step": 12.0},
        **{"changed": 0.034, "certainty": 0.7},
    }
    state = State(7, 13, 5.0, [1.0], [9], [entry])
    assert describe_state(state, 25) == (
        "Iteration 7 of 25: 1,500 images, compared to 17.2 Å in steps of 12°, better classes "
        "24.9 Å, 3.4 % changed their class"
    )


def test_pictures_name_what_they_show() -> None:
    averages = np.random.default_rng(0).normal(size=(2, 8, 8)).astype(np.float32)
    table = ClassTable(np.array([1200, 3]), np.array([15.04, np.inf]), np.array([0.98, 0.0]))
    labels = [panel.label for panel in class_gallery(averages, table, 2.0).panels]
    assert labels == [
        "1: 1,200 particles, 15.0 Å, score 0.98",
        "2: 3 particles, nothing resolved, score 0.00",
    ]
    assert [each.caption for each in growing_gallery({1: averages, 9: averages}, 2.0)] == [
        "After iteration 1",
        "After iteration 9",
    ]
    history = [{"resolution": None, "compared": 40.0}, {"resolution": 20.0, "compared": 16.0}]
    assert "20.0 Å" in resolution_chart(history, "Resolution").description
