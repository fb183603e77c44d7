"""`hpdp crystals watch` on the command line."""

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("torch")

from crystal_images import write_image
from frame_stacks import make_frames

from hpdp_dask.cli.crystals.watch import watch_command
from hpdp_dask.crystallography.model_file import Model, save_model
from hpdp_dask.crystallography.networks import build_network
from hpdp_dask.crystallography.predict import predict_measure
from hpdp_dask.crystallography.prediction_table import predict_images
from hpdp_dask.errors import InputError


@pytest.fixture
def run(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("watch")(watch_command)

    def run(*words):
        words = [*map(str, words), "--cluster", client.scheduler.address]
        return CliRunner().invoke(app, words)

    return run


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(folder, Model(build_network("small")), "# A model of random weights\n")
    return folder


def test_images_get_the_numbers_that_stored_ones_get(run, model, client, tmp_path):
    frames = np.random.default_rng(0).poisson(3.0, (5, 400, 380)).astype(np.int32)
    folder = tmp_path / "visit"
    folder.mkdir()
    paths = [
        write_image(folder / f"a_{place:03d}.cbf", frame) for place, frame in enumerate(frames)
    ]
    found = run(folder, "--model", model, "--idle", 1, "--no-page")
    assert found.exit_code == 0, found.exception
    assert "Images: 5, " in found.output
    live = pd.read_csv(tmp_path / "watch" / "images.csv")
    stored = predict_images(predict_measure(model), paths).images
    assert live["file"].tolist() == stored["file"].tolist()
    for name in ("resolution", "hit_probability", "several_lattices_probability"):
        np.testing.assert_allclose(live[name], stored[name], rtol=1e-4)
    assert (tmp_path / "watch" / "report.html").exists()

    again = run(folder, "--model", model, "--idle", 1, "--no-page")
    assert "--resume goes on with it" in str(again.exception)


def test_a_stack_can_be_replayed(run, model, tmp_path):
    frames = np.random.default_rng(1).poisson(2.0, (4, 400, 400)).astype(np.uint16)
    stack = make_frames(tmp_path / "frames.zarr", frames)
    found = run(f"replay:{stack}@100", "--model", model, "-o", "live", "--no-page", "--batch", 2)
    assert found.exit_code == 0, found.exception
    live = pd.read_csv(tmp_path / "live" / "images.csv")
    assert live["data_set"].tolist() == ["frames.zarr"] * 4
    assert live["frame"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere"], "no such folder"),
        (["visit", "--model", "tiny"], "tiny: no model"),
        (["visit", "--batch", "0"], "batches of 0 frames; give a number from 1"),
        (["visit", "--like", "absent.cbf"], "absent.cbf: there is no such file"),
        (["karabo://host:1"], "no source karabo"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(run, model, tmp_path, words, expected):
    (tmp_path / "visit").mkdir()
    words = words if "--model" in words else [*words, "--model", model]
    found = run(*words)
    assert isinstance(found.exception, InputError)
    assert expected in str(found.exception)
    assert not (tmp_path / "watch").exists()
