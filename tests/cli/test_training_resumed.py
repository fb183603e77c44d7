"""A training whose loss is no number any more goes on with a lower rate, as it says."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
from typer.testing import CliRunner

from hpdp_dask.cli.crystals import app as crystals
from hpdp_dask.cli.heterogeneity import app as heterogeneity
from hpdp_dask.cli.where import Where
from hpdp_dask.cryoem.heterogeneity import stage
from hpdp_dask.cryoem.heterogeneity.learner import ConformationLearner
from hpdp_dask.cryoem.simulate import simulate_particles
from hpdp_dask.crystallography.simulate import Settings, simulate_shots
from hpdp_dask.crystallography.train.learner import QuadrantLearner
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images
from hpdp_dask.workflow.record import read_run

pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(Where, "connected", lambda *_arguments, **_options: nullcontext())


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    path = tmp_path_factory.mktemp("particles") / "particles.zarr"
    z, y, x = np.mgrid[:16, :16, :16] - 8
    volume = np.exp(-(x**2 + y**2 + z**2) / 8.0) + np.exp(-((x - 3) ** 2 + y**2 + z**2) / 4.0)
    table, images = simulate_particles(
        volume.astype(np.float32), 120, 16, pixel_size=10.0, snr=1.0, shift_sigma=5.0
    )
    new_stack(path, to_dataset(table, 0), 120, 16)
    write_images(path, 0, images)
    return path


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    path = tmp_path_factory.mktemp("shots") / "shots.zarr"
    simulate_shots(Settings(number=24, seed=4, resolution=(3.0, 6.0)), path)
    return path


def diverging(learner, patch, steps):
    """Make a loss no number after so many steps."""
    losses, taken = learner.losses, []

    def wrong(self, network, batch):
        taken.append(None)
        factor = float("nan") if len(taken) > steps else 1.0
        return {name: factor * each for name, each in losses(self, network, batch).items()}

    patch.setattr(learner, "losses", wrong)


def called(app, *words):
    return CliRunner().invoke(app, [str(word) for word in words])


def of_heterogeneity(stack, output):
    words = ["train", stack, "-o", output, "--zdim", 2, "--architecture", "16x1", "--samples", 40]
    return [*words, "--epochs", 2, "--batch", 40]


def of_crystals(stack, output):
    return ["train", stack, "-o", output, "--epochs", 2, "--batch", 11, "--task", "hit"]


@pytest.mark.parametrize(
    ("app", "learner", "words", "steps", "name"),
    [
        (heterogeneity, ConformationLearner, of_heterogeneity, 3, "training.rate"),
        (crystals, QuadrantLearner, of_crystals, 2, "rate"),
    ],
)
def test_a_lower_rate_goes_on_from_a_checkpoint(
    request, tmp_path, monkeypatch, app, learner, words, steps, name
):
    stack = request.getfixturevalue("shots" if app is crystals else "particles")
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        diverging(learner, patch, steps)
        done = called(app, *words(stack, output), "--rate", 4e-4)
    assert isinstance(done.exception, InputError)
    said = str(done.exception)
    assert "with --resume --rate 0.0002, from the network as it was after epoch 1, which" in said
    assert not output.exists()
    given = ("--resume", "--rate", 2e-4, "--threads", 2)
    done = called(app, *words(stack, output), *given)
    assert done.exit_code == 0, done.output
    notes = [
        f"Interrupted, and gone on with {name} 0.0002 in place of 0.0004.",
        f"Interrupted, and gone on with {name.replace('rate', 'threads')} 2 in place of 1.",
    ]
    assert done.output.splitlines()[:2] == notes
    assert "Epoch 1:" not in done.output
    assert "Epoch 2:" in done.output
    record = read_run(output)
    assert record.resumed
    assert record.warnings[:2] == notes
    assert notes[0] in (output / "report.html").read_text()
    told = json.loads((output / ("model.json" if app is crystals else "run.json")).read_text())
    history = told["training" if app is crystals else "results"]["history"]
    assert [row["rate"] for row in history] == [4e-4, 2e-4]


def test_the_linear_start_is_kept_before_the_first_checkpoint(particles, tmp_path, monkeypatch):
    words = of_heterogeneity(particles, tmp_path / "out")
    done = called(heterogeneity, *words, "--rate", 1e30)
    said = str(done.exception)
    assert "is not a finite number" in said
    assert "with --resume --rate 5e+29. What was done is kept in" in said
    (start,) = tmp_path.rglob("start.npz")
    assert "out.partial" in str(start)
    monkeypatch.setattr(stage, "find_directions", None)
    done = called(heterogeneity, *words, "--resume")
    assert done.exit_code == 0, done.output
    assert read_run(tmp_path / "out").resumed


def test_a_batch_that_is_never_full_is_refused_before_any_work(particles, tmp_path):
    done = called(heterogeneity, *of_heterogeneity(particles, tmp_path / "out"), "--batch", 121)
    assert "120 particles do not fill one batch of 121; give more" in str(done.exception)
    assert not list(tmp_path.iterdir())
