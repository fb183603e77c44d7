"""A training's own files stay as they are, and damaged ones are told in a sentence."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hpdp_dask.cli.main import app
from hpdp_dask.cryoem.export_particles import export_particles
from hpdp_dask.cryoem.heterogeneity.selection import Lasso, select_rows
from hpdp_dask.cryoem.heterogeneity.table import read_table
from hpdp_dask.cryoem.heterogeneity.volumes import (
    read_conformations,
    read_latent,
    read_points,
)
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats.particles import SourceTables
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, write_images

NUMBER, BOX = 24, 16


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A stack, and beside it a folder as a training leaves it, but for the weights."""
    place = tmp_path_factory.mktemp("made")
    stack, folder = place / "particles.zarr", place / "conformations"
    volume = np.random.default_rng(0).random((BOX,) * 3).astype(np.float32)
    table, images = simulate_particles(volume, NUMBER, BOX, pixel_size=4.0, snr=1.0)
    new_stack(stack, to_dataset(table, 0), NUMBER, BOX)
    write_images(stack, 0, images)
    folder.mkdir()
    z = np.random.default_rng(1).standard_normal((NUMBER, 2)).astype(np.float32)
    np.save(folder / "z.npy", z)
    np.save(folder / "z_width.npy", np.ones_like(z))
    latent = SourceTables("relion-3.1", particles={f"hpdpLatent{k}": z[:, k - 1] for k in (1, 2)})
    new_stack(place / "rows.zarr", to_dataset(table, 0), NUMBER, None, source=latent)
    export_particles(place / "rows.zarr", folder / "particles.star", images=False)
    shutil.rmtree(place / "rows.zarr")
    lasso = {"x": "z1", "y": "z2", "polygon": [[-9, -9], [9, -9], [9, 9], [-9, 9]]}
    (place / "all.json").write_text(json.dumps(lasso))
    return place


@pytest.fixture
def place(made, tmp_path):
    """A copy that a test may harm."""
    place = shutil.copytree(made, tmp_path / "place")
    results = {"particles": NUMBER, "networks": {"architecture": {"box": BOX, "zdim": 2}}}
    record = {"inputs": [{"path": str(place / "particles.zarr"), "sha256": ""}], "results": results}
    (place / "conformations" / "run.json").write_text(json.dumps(record))
    return place


def select(place, output, *options):
    words = ["cryoem", "heterogeneity", "select", place / "conformations"]
    words += ["--lasso", place / "all.json", "-o", output]
    return CliRunner().invoke(app, [str(word) for word in (*words, *options)])


def contents(place):
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("particles.zarr", "would remove the input"),
        ("alias.zarr", "would remove the input"),
        ("conformations/../particles.zarr", "would remove the input"),
        ("conformations/particles.star", "would remove the input"),
        ("conformations/open.star", "is inside the input"),
        ("conformations/open.zarr", "is inside the input"),
        ("particles.zarr/open.star", "is inside the input"),
    ],
)
def test_a_selection_leaves_the_training_and_its_stack(output, words, place):
    (place / "alias.zarr").symlink_to(place / "particles.zarr")
    before = contents(place)
    for options in ((), ("--overwrite",), ("--overwrite", "--stack", place / "particles.zarr")):
        done = select(place, place / output, *options)
        assert isinstance(done.exception, InputError), done.output
        assert words in str(done.exception)
    assert contents(place) == before


def test_a_selection_does_not_take_the_place_of_a_folder_with_the_training(place):
    around = place / "around.zarr"
    around.mkdir()
    (around / "zarr.json").write_text("{}")
    (place / "conformations").rename(around / "conformations")
    (place / "conformations").symlink_to(around / "conformations")
    done = select(place, around, "--overwrite")
    assert "would remove the input" in str(done.exception)
    assert (around / "conformations" / "particles.star").exists()


def test_a_selection_leaves_the_stack_that_a_given_one_is_a_copy_of(place):
    shutil.copytree(place / "particles.zarr", place / "copy.zarr")
    for output in ("particles.zarr", "copy.zarr"):
        done = select(place, place / output, "--overwrite", "--stack", place / "copy.zarr")
        assert f"would remove the input {place / output}" in str(done.exception)
    done = select(place, place / "new.zarr", "--stack", place / "copy.zarr")
    assert done.exit_code == 0, done.output
    assert open_stack(place / "new.zarr").sizes["particle"] == NUMBER
    assert select(place, place / "new.zarr", "--overwrite").exit_code == 0


@pytest.mark.parametrize("name", ["x.zarr", "x.star"])
def test_a_selection_makes_no_folders_above_it(name, place):
    done = select(place, place / "none" / name)
    assert isinstance(done.exception, InputError)
    assert f"the folder {place / 'none'} to hold it does not exist; make it" in str(done.exception)
    assert not (place / "none").exists()


def test_latent_variables_that_are_not_those_of_the_training(place):
    folder = place / "conformations"
    z = read_latent(folder)
    for damaged in (z[:-4], z[:, :1]):
        np.save(folder / "z.npy", damaged)
        with pytest.raises(InputError, match=r"z\.npy: its shape is .* run\.json .* was damaged"):
            read_latent(folder)
    (folder / "z.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"z\.npy: holds no points"):
        read_latent(folder)


def test_files_of_a_training_that_are_missing_or_none(place):
    folder = place / "conformations"
    (folder / "z_width.npy").unlink()
    with pytest.raises(InputError, match=r"z_width\.npy: cannot be read: No such file"):
        read_table(folder)
    for results in ({"networks": 5}, {"networks": {"architecture": 5}}, {"networks": {}}, [], 3):
        (folder / "run.json").write_text(json.dumps({"results": results}))
        for read in (read_conformations, read_latent):
            with pytest.raises(InputError, match=r"run\.json tells of no networks"):
                read(folder)


def refused(path, words, zdim):
    with pytest.raises(InputError, match=words) as told:
        read_points(path, zdim)
    assert str(told.value).count(path.name) == 1
    assert ".." not in str(told.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((0, 2)), "holds no points"),
        (np.zeros((4, 2), complex), "real numbers"),
        (np.full((4, 2), "1"), "real numbers"),
        (np.full((4, 2), 1e300), "too large"),
        (np.zeros((4, 2, 1)), "its shape is"),
    ],
)
def test_arrays_that_are_no_points(values, words, tmp_path):
    np.save(tmp_path / "points.npy", values)
    refused(tmp_path / "points.npy", words, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no points"),
        ("# nothing\n\n", "holds no points"),
        ("1 2\n3\n", "holds no points"),
        ("1 1e300\n", "too large"),
    ],
)
def test_texts_that_are_no_points(text, words, tmp_path):
    (tmp_path / "points.txt").write_text(text)
    refused(tmp_path / "points.txt", words, 2)
    refused(tmp_path / "nothere.txt", "cannot be read: No such file or directory", 2)
    refused(tmp_path / "nothere.npy", "cannot be read: No such file or directory", 2)


@pytest.mark.parametrize("zdim", [1, 5])
def test_points_of_one_axis(zdim, tmp_path):
    values = np.arange(5.0)
    np.save(tmp_path / "points.npy", values)
    np.savetxt(tmp_path / "points.txt", values[:, None] if zdim == 1 else values[None])
    expected = values.reshape(-1, zdim)
    for name in ("points.npy", "points.txt"):
        np.testing.assert_array_equal(read_points(tmp_path / name, zdim), expected)


def test_columns_that_an_analysis_has_not():
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    before = pd.DataFrame({"image": [0], "pc1": [0.5]})
    after = before.assign(umap1=0.5, cluster=0)
    whole = after.assign(landscape_cluster=0)
    for table, column, words in (
        (before, "umap1", "call hpdp cryoem heterogeneity analyze first"),
        (after, "umap3", "the columns are image, pc1, umap1, cluster"),
        (after, "landscape1", "call hpdp .* analyze with a --landscape first"),
        (whole, "landscape9", "the columns are image, .*landscape_cluster"),
    ):
        with pytest.raises(InputError, match=f"no column {column}; {words}"):
            select_rows(table, lasso=Lasso("pc1", column, square))
