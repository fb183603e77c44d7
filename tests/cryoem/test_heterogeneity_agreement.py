"""`hpdp cryoem heterogeneity agree`: what two trainings share, and what is refused."""

import json

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from hpdp_dask.cli.main import app
from hpdp_dask.cryoem.heterogeneity import half_trainings
from hpdp_dask.cryoem.heterogeneity.halves import assigned_halves
from hpdp_dask.cryoem.heterogeneity.stage import HeterogeneitySettings
from hpdp_dask.cryoem.heterogeneity.table import read_table
from hpdp_dask.cryoem.heterogeneity.volumes import read_conformations
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.stacks.store import new_stack, open_stack, to_dataset, write_images
from hpdp_dask.workflow.heterogeneity_agreement import run_agreement

pytest.importorskip("torch")

BOX, PIXEL, NUMBER, PLACES = 16, 8.0, 240, 3
STATE = np.arange(NUMBER) // 2 % 2
WORDS = ["hpdp", "cryoem", "heterogeneity", "agree"]


def blobs(*centres):
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    return sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4.0) for a, b, c in centres
    ).astype(np.float32)


FIXED = ((0, 0, 0), (3, 1, -2), (-2, 3, 1))


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Particles of two states; all in one half-set."""
    path = tmp_path_factory.mktemp("stack") / "particles.zarr"
    both = [
        simulate_particles(
            blobs(*FIXED, moving), NUMBER, BOX, pixel_size=PIXEL, snr=0.5, shift_sigma=8.0
        )
        for moving in ((4, -3, 3), (-3, -4, 0))
    ]
    table = to_dataset(both[0][0], 0)
    table["half_set"][:] = 0
    new_stack(path, table, NUMBER, BOX)
    write_images(path, 0, np.where(STATE[:, None, None] == 0, both[0][1], both[1][1]))
    return path


@pytest.fixture(scope="module")
def folder(stack, tmp_path_factory):
    output = tmp_path_factory.mktemp("agreed") / "agreement"
    agree(stack, output)
    return output


def agree(source, output, **more):
    given = {"zdim": 2, "epochs": 1, "places": PLACES, "seed": 3}
    return run_agreement(source, output, client=None, command=WORDS, **{**given, **more})


def test_what_is_left(folder, stack):
    assert {each.name for each in folder.iterdir()} == {
        *("half1", "half2", "fsc.csv", "report.html", "run.json")
    }
    found = json.loads((folder / "run.json").read_text())["results"]
    assert found["shared"] >= 1
    assert found["correlations"][0] > 0.8
    # there is one difference only, so the second direction is noise
    assert abs(found["correlations"][1]) < 0.4
    assert found["correlations_by_all_samples"][0] > found["correlations"][0]
    assert found["curve_correlation"] > 0.6
    assert len(found["resolution_0143"]) == len(found["resolution_05"]) == PLACES
    assert 2 * PIXEL <= found["motion_resolution_0143"] <= found["motion_resolution_05"] < 40.0
    columns = (folder / "fsc.csv").read_text().splitlines()[0].split(",")
    assert columns[3:] == ["fsc_1", "fsc_2", "fsc_3", "motion"]
    page = (folder / "report.html").read_text()
    assert "Places of the images" in page
    assert "what they differ by from the mean of all places" in page


def test_each_half_is_a_training(folder, stack):
    seeds = []
    for name in ("half1", "half2"):
        half = folder / name
        table = read_table(half)
        assert len(table) == NUMBER
        assert abs(np.corrcoef(table["pc1"], STATE)[0, 1]) > 0.8
        conformations = read_conformations(half)
        point = np.load(half / "volumes" / "z.npy")[1]
        volume, pixel_size = read_map(half / "volumes" / "volume_002.mrc")
        assert pixel_size == pytest.approx(PIXEL)
        np.testing.assert_allclose(conformations.volume(point), volume, atol=1e-5)
        record = json.loads((half / "run.json").read_text())
        assert record["inputs"][0]["path"] == str(stack)
        seeds.append(record["parameters"]["training"]["seed"])
    assert seeds == [3, 4]


def test_a_half_that_was_done_is_not_trained_again(folder, stack, tmp_path, monkeypatch):
    learn, learnt = half_trainings.learn_conformations, []

    def interrupted(path, *words, **more):
        if len(learnt) == 1:
            raise KeyboardInterrupt
        learnt.append(len(open_stack(path).particle))
        return learn(path, *words, **more)

    monkeypatch.setattr(half_trainings, "learn_conformations", interrupted)
    output = tmp_path / "agreement"
    with pytest.raises(KeyboardInterrupt) as stopped:
        agree(stack, output)
    assert "--resume" in stopped.value.__notes__[0]
    monkeypatch.setattr(
        half_trainings,
        "learn_conformations",
        lambda path, *words, **more: learnt.append(path.parent.name) or learn(path, *words, **more),
    )
    assert agree(stack, output, resume=True).resumed
    assert learnt == [NUMBER // 2, "half2"]
    for name in ("half1", "half2"):
        z = [np.load(each / name / "z.npy") for each in (folder, output)]
        np.testing.assert_array_equal(*z)


def test_halves_by_turns_or_as_they_are(stack):
    opened = open_stack(stack)
    np.testing.assert_array_equal(assigned_halves(opened)[:4], [0, 1, 0, 1])
    given = np.random.default_rng(0).integers(0, 2, NUMBER)
    opened["half_set"] = ("particle", given)
    np.testing.assert_array_equal(assigned_halves(opened), given)


def test_what_is_refused(folder, stack, tmp_path):
    def refused(words, source=stack, **more):
        with pytest.raises(InputError, match=words):
            agree(source, tmp_path / "none", **more)
        assert not list(tmp_path.glob("*none*"))

    refused("--zdim is 0, expected 1 or more", zdim=0)
    refused("The first half-set by itself is not enough: .*120 particles for a latent", zdim=4)
    refused("--places is 1, expected 2 to 100", places=1)
    refused("epochs is 0, expected 1", epochs=0)
    refused("--stack is for a folder", stack=stack)
    # a half is a training, whose settings are taken
    refused("first half-set by itself", source=folder / "half1", zdim=4)
    refused("does not tell of a training", source=folder)
    moved = tmp_path / "moved.zarr"
    moved.symlink_to(stack)
    refused("--places is 0", source=folder / "half1", stack=moved, places=0)
    opened = open_stack(stack)
    with pytest.raises(InputError, match="--encoder is none"):
        half_trainings.check_halves(opened, HeterogeneitySettings(zdim=1, encoder="none"))


def test_another_stack_is_refused(folder, stack, tmp_path):
    table = open_stack(stack).load()
    other = tmp_path / "other.zarr"
    new_stack(other, table.drop_vars("images"), NUMBER, BOX)
    write_images(other, 0, table["images"].values + 1.0)
    assert zarr.open_group(other, mode="r")["images"].shape[0] == NUMBER
    with pytest.raises(InputError, match="is not the stack that"):
        agree(folder / "half1", tmp_path / "none", stack=other)


def test_the_command(tmp_path):
    runner = CliRunner()
    words = ["cryoem", "heterogeneity", "agree"]
    assert "half-maps" in runner.invoke(app, [*words, "--help"]).output
    done = runner.invoke(app, [*words, str(tmp_path / "nowhere"), "-o", str(tmp_path / "out")])
    assert isinstance(done.exception, InputError)
    assert "there is no such file or folder" in str(done.exception)
