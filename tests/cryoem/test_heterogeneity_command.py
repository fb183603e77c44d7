"""`hpdp cryoem heterogeneity`: what its folders hold, and what it refuses."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from hpdp_dask.cli.heterogeneity import app
from hpdp_dask.cryoem.heterogeneity.stage import HeterogeneitySettings
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.dataflow.training import TrainingSettings
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.formats.star import read_table
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images
from hpdp_dask.workflow.heterogeneity import make_volumes, run_heterogeneity_training

pytest.importorskip("torch")

NUMBER, BOX, PIXEL = 120, 16, 10.0
WORDS = ["hpdp", "cryoem", "heterogeneity", "train"]
SETTINGS = HeterogeneitySettings(
    zdim=2,
    width=16,
    layers=1,
    samples=40,
    training=TrainingSettings(epochs=2, batch=20, rate=2e-3, decay=0.0, seed=1),
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    path = tmp_path_factory.mktemp("stack") / "particles.zarr"
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    volume = np.exp(-(x**2 + y**2 + z**2) / 8.0) + np.exp(-((x - 3) ** 2 + y**2 + z**2) / 4.0)
    table, images = simulate_particles(
        volume.astype(np.float32), NUMBER, BOX, pixel_size=PIXEL, snr=1.0, shift_sigma=5.0
    )
    new_stack(path, to_dataset(table, 0), NUMBER, BOX)
    write_images(path, 0, images)
    return path


@pytest.fixture(scope="module")
def folder(stack, tmp_path_factory):
    """A training in this process."""
    output = tmp_path_factory.mktemp("trained") / "conformations"
    run_heterogeneity_training(stack, output, SETTINGS, client=None, command=WORDS)
    return output


def test_what_a_training_leaves(folder):
    assert {each.name for each in folder.iterdir()} == {
        *("z.npy", "z_width.npy", "particles.star", "volumes", "weights.safetensors"),
        *("report.html", "run.json"),
    }
    z = np.load(folder / "z.npy")
    assert z.shape == (NUMBER, 2)
    assert (np.load(folder / "z_width.npy") > 0).all()
    columns = read_table(folder / "particles.star", "particles")
    np.testing.assert_allclose(columns["hpdpLatent2"], z[:, 1], atol=1e-5)
    maps = sorted((folder / "volumes").glob("*.mrc"))
    assert len(maps) == len(np.load(folder / "volumes" / "z.npy")) == 5
    volume, pixel_size = read_map(maps[0])
    assert volume.shape == (BOX,) * 3
    assert pixel_size == pytest.approx(PIXEL)
    record = json.loads((folder / "run.json").read_text())
    assert record["results"]["networks"]["architecture"]["width"] == 16
    assert len(record["results"]["history"]) == 2
    page = (folder / "report.html").read_text()
    assert "Latent space" in page
    assert "Course of the training" in page
    for command in ("assess", "analyze", "explore"):
        assert f"hpdp cryoem heterogeneity {command} {folder}" in page


def test_volumes_at_points(folder, tmp_path):
    points = np.load(folder / "volumes" / "z.npy")
    np.savetxt(tmp_path / "points.txt", points[:2])
    for name, given in (
        ("file", {"points_file": tmp_path / "points.txt"}),
        ("images", {"images": [0, 7]}),
    ):
        make_volumes(folder, tmp_path / name, client=None, command=WORDS, **given)
        assert len(list((tmp_path / name / "volumes").glob("*.mrc"))) == 2
    words = ["volumes", folder, "-o", tmp_path / "path", "--path", 5, "--workers", 1]
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "volumes (5)" in done.output
    assert len(list((tmp_path / "path" / "volumes").glob("*.mrc"))) == 5
    same = [
        read_map(each / "volumes" / "volume_002.mrc")[0] for each in (folder, tmp_path / "file")
    ]
    np.testing.assert_allclose(same[0], same[1], atol=1e-5)
    same[1] = read_map(tmp_path / "path" / "volumes" / "volume_002.mrc")[0]
    np.testing.assert_allclose(same[0], same[1], atol=1e-5)
    at = np.load(tmp_path / "images" / "volumes" / "z.npy")
    np.testing.assert_array_equal(at, np.load(folder / "z.npy")[[0, 7]])


def test_points_that_are_none(folder, tmp_path):
    def refused(words, **points):
        with pytest.raises(InputError, match=words):
            make_volumes(folder, tmp_path / "none", client=None, command=WORDS, **points)
        assert not (tmp_path / "none").exists()

    refused("one of --z, --image and --path")
    refused("one of --z, --image and --path", path=3, images=[1])
    refused("--path is 1", path=1)
    refused("--image is 120, expected 0 to 119", images=[3, 120])
    np.save(tmp_path / "three.npy", np.zeros((4, 3)))
    refused(
        r"three.npy: its shape is \(4, 3\), expected \(points, 2\)",
        points_file=tmp_path / "three.npy",
    )
    (tmp_path / "words.txt").write_text("a b\n")
    refused("words.txt: holds no points", points_file=tmp_path / "words.txt")
    refused("nowhere.npy: cannot be read", points_file=tmp_path / "nowhere.npy")
    (tmp_path / "nan.txt").write_text("1 nan\n")
    refused("not finite", points_file=tmp_path / "nan.txt")


def test_weights_of_another_training(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    written = bytearray((other / "weights.safetensors").read_bytes())
    written[-1] ^= 1
    (other / "weights.safetensors").write_bytes(written)
    with pytest.raises(InputError, match=r"weights.safetensors: is not what run.json tells of"):
        make_volumes(other, tmp_path / "none", client=None, command=WORDS, path=2)
    (other / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run\.json tells of no networks"):
        make_volumes(other, tmp_path / "none", client=None, command=WORDS, path=2)


def test_resume_goes_on_and_refuses_another_architecture(stack, folder, tmp_path, monkeypatch):
    from hpdp_dask.cryoem.heterogeneity import stage

    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    output = tmp_path / "broken"
    with monkeypatch.context() as patch:
        patch.setattr(stage, "apply_to_all", killed)
        with pytest.raises(KeyboardInterrupt):
            run_heterogeneity_training(stack, output, SETTINGS, client=None, command=WORDS)
    with pytest.raises(InputError, match="other parameters"):
        run_heterogeneity_training(
            stack,
            output,
            dataclasses.replace(SETTINGS, width=32),
            client=None,
            command=WORDS,
            resume=True,
        )
    record = run_heterogeneity_training(
        stack, output, SETTINGS, client=None, command=WORDS, resume=True
    )
    assert record.resumed
    np.testing.assert_array_equal(np.load(output / "z.npy"), np.load(folder / "z.npy"))


def test_one_volume_has_no_points(stack, tmp_path):
    settings = dataclasses.replace(
        SETTINGS, zdim=0, training=dataclasses.replace(SETTINGS.training, epochs=1)
    )
    output = tmp_path / "one"
    run_heterogeneity_training(stack, output, settings, client=None, command=WORDS)
    assert not (output / "z.npy").exists()
    assert len(list((output / "volumes").glob("*.mrc"))) == 1
    with pytest.raises(InputError, match="--zdim 0"):
        make_volumes(output, tmp_path / "none", client=None, command=WORDS, path=2)
