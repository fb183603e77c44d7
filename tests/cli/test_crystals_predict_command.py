"""`hpdp crystals predict` on the command line."""

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("torch")

from frame_stacks import make_frames

from hpdp_dask.cli.crystals.predict import predict_command
from hpdp_dask.crystallography.model_file import Model, save_model
from hpdp_dask.crystallography.networks import build_network
from hpdp_dask.errors import InputError


@pytest.fixture
def run(client):
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("predict")(predict_command)

    def run(*words):
        words = [*map(str, words), "--cluster", client.scheduler.address]
        return CliRunner().invoke(app, words)

    return run


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(folder, Model(build_network("small", 2)), "# A model of random weights\n")
    return folder


def test_two_tables(run, model, tmp_path):
    frames = np.random.default_rng(0).poisson(2.0, (5, 400, 400)).astype(np.uint16)
    one = make_frames(tmp_path / "one.zarr", frames)
    two = make_frames(tmp_path / "two.zarr", frames[:2])
    for ending, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        output = tmp_path / f"table{ending}"
        found = run(model, one, two, "-o", output)
        assert found.exit_code == 0, found.output
        assert f"Table: {output} (7 images)" in found.output
        images, sets = read(output), read(tmp_path / f"table_data_sets{ending}")
        assert images["data_set"].tolist() == ["one"] * 5 + ["two"] * 2
        assert images["frame"].tolist() == [0, 1, 2, 3, 4, 0, 1]
        assert images["file"].tolist() == [str(one)] * 5 + [str(two)] * 2
        np.testing.assert_array_equal(images["hit_probability"][:2], images["hit_probability"][5:])
        assert sets["images"].tolist() == [5, 2]
    assert isinstance(run(model, one, "-o", output).exception, InputError)
    output.unlink()
    assert "_data_sets.parquet: exists already" in str(run(model, one, "-o", output).exception)


def test_images_without_geometry(run, model, tmp_path):
    np.save(tmp_path / "frames.npy", np.ones((2, 30, 40), np.uint16))
    output = tmp_path / "table.csv"
    found = run(model, tmp_path / "frames.npy", "-o", output)
    assert isinstance(found.exception, InputError)
    for option in ("--wavelength (Å)", "--distance (m)", "--pixel-size (m)"):
        assert option in str(found.exception)
    assert not output.exists()


@pytest.mark.parametrize(
    ("model_name", "output", "told"),
    [
        ("tiny", "table.csv", "tiny: no model; expected a folder with model.json"),
        (None, "table.xlsx", "expected a name that ends in .parquet or .csv"),
        (None, "nowhere/table.csv", "make it first"),
    ],
)
def test_mistakes(run, model, tmp_path, model_name, output, told):
    path = make_frames(tmp_path / "one.zarr", np.ones((1, 400, 400), np.uint16))
    found = run(model_name or model, path, "-o", tmp_path / output)
    assert isinstance(found.exception, InputError)
    assert told in str(found.exception)
    assert not (tmp_path / output).exists()
