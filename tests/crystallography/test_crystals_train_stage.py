"""From shots to a model: what is refused, and that a model comes out that can be used."""

import json

import numpy as np
import pytest

from hpdp_dask.crystallography.model_file import load_model
from hpdp_dask.crystallography.simulate import Settings, simulate_shots
from hpdp_dask.crystallography.train.learner import QuadrantLearner
from hpdp_dask.crystallography.train.recipes import RECIPES, Recipe, adapt
from hpdp_dask.crystallography.train.stage import check_shots, train_model
from hpdp_dask.dataflow.training import TrainingSettings
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.quadrants import SIDE
from hpdp_dask.stacks.frames import frame_table, new_frames, open_frames
from hpdp_dask.stacks.store import staging, write_images
from hpdp_dask.workflow.crystals_training import run_crystals_training

pytest.importorskip("torch")

NUMBER = 40
QUICK = TrainingSettings(epochs=1, batch=12, rate=1e-3)


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    path = tmp_path_factory.mktemp("shots") / "shots.zarr"
    simulate_shots(Settings(number=NUMBER, seed=4, resolution=(3.0, 6.0)), path)
    return path


def stack_of(path, shape=(SIDE, SIDE), **attributes):
    with staging(path) as staged:
        new_frames(staged, frame_table(None, {}, **attributes), 4, shape, np.uint8)
        write_images(staged, 0, np.ones((4, *shape), np.uint8))
    return path


def test_a_batch_has_the_truth(shots):
    stack = open_frames(shots)
    learner = QuadrantLearner()
    rows = {name: stack[name].values for name in learner.needs}
    images = stack["photons"].values
    batch = learner.prepare(images, rows, None)
    assert np.array_equal(batch["quadrants"], images)
    hit = rows["true_hit"] == 1
    assert 0 < hit.sum() < NUMBER
    assert np.allclose(batch["inverse_resolution"][hit], 1 / rows["true_resolution"][hit])
    assert (batch["inverse_resolution"][~hit] == 0).all()
    assert np.array_equal(batch["several_lattices"] == 1, rows["true_lattices"] > 1)
    assert batch["geometry"].shape == (NUMBER, 3)
    changed = learner.prepare(images, rows, [np.random.default_rng(k) for k in range(NUMBER)])
    assert not np.array_equal(changed["quadrants"], images)
    assert np.array_equal(changed["geometry"], batch["geometry"])


def test_blanks_count_for_hits_alone(shots):
    import torch

    stack = open_frames(shots)
    learner = QuadrantLearner(tasks=("resolution", "lattices"))
    rows = {name: stack[name].values[:8] for name in learner.needs}
    arrays = learner.prepare(stack["photons"].values[:8], rows, None)
    batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
    batch["hit"][:4] = 0.0
    losses = learner.losses(learner.build(), batch)
    assert torch.isfinite(sum(losses.values())).all()
    for name in ("resolution", "lattices"):
        assert (losses[name][:4] == 0).all()
    assert (losses["hit"] == 0).all()


def test_a_model_comes_out(shots, tmp_path):
    record = run_crystals_training(
        shots,
        tmp_path / "model",
        Recipe("small", Settings(number=NUMBER), QUICK),
        ("resolution", "hit"),
        client=None,
        command=["hpdp", "crystals", "train", "shots", "-o", "model"],
    )
    model = load_model(tmp_path / "model")
    assert model.tasks == ("resolution", "hit")
    assert model.metrics["shots_learnt_from"] == NUMBER - 4
    assert "hit_accuracy" in record.results
    assert "lattices_accuracy" not in record.results
    described = json.loads((tmp_path / "model" / "model.json").read_text())
    assert described["training"]["data"]["seed"] == 4
    card = (tmp_path / "model" / "README.md").read_text()
    assert "hpdp crystals train shots -o model" in card
    assert (tmp_path / "model" / "report.html").stat().st_size > 5000
    assert not (tmp_path / "model" / "scratch").exists()


def test_too_many_images_are_asked_for(shots, tmp_path):
    with pytest.raises(InputError, match="there are 36 beside the 4"):
        train_model(shots, QuadrantLearner(), QUICK, tmp_path, images=37)


def test_data_that_are_none(tmp_path):
    with pytest.raises(InputError, match="expected quadrants of 512 x 512"):
        check_shots(stack_of(tmp_path / "a.zarr", (64, 64)))
    with pytest.raises(InputError, match=r"preprocessing 0, this hpdp makes"):
        check_shots(stack_of(tmp_path / "b.zarr", preprocessing=0))
    with pytest.raises(InputError, match=r"no true_resolution.*hpdp crystals simulate"):
        check_shots(stack_of(tmp_path / "c.zarr", preprocessing=1))
    assert not (tmp_path / "model").exists()


def test_recipes_adapt():
    found = adapt(RECIPES["small"], network="resnet18", seed=9, epochs=3, rate=None)
    assert found.network == "resnet18"
    assert found.simulation.seed == found.training.seed == 9
    assert found.training.epochs == 3
    assert found.training.rate == RECIPES["small"].training.rate
    with pytest.raises(InputError, match="epochs is 0"):
        adapt(RECIPES["small"], epochs=0)
