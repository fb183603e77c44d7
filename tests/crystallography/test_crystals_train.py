"""What networks learn, and how their answers are calibrated and judged."""

import dataclasses

import numpy as np
import pytest

from hpdp_dask.crystallography.model_file import Calibration
from hpdp_dask.crystallography.train.augment import Augmentation, augment
from hpdp_dask.crystallography.train.calibrate import (
    calibration_error,
    conformal_factor,
    fit_temperature,
)
from hpdp_dask.crystallography.train.scores import area_under_curve, pearson, score
from hpdp_dask.numerics.quadrants import SIDE

NOTHING = Augmentation(**{field.name: 0.0 for field in dataclasses.fields(Augmentation)})


def only(name):
    return dataclasses.replace(NOTHING, **{name: 1.0})


@pytest.fixture(scope="module")
def quadrant():
    random = np.random.default_rng(0)
    counts = random.poisson(9.0, (SIDE, SIDE)).astype(np.float32)
    counts[100:104, 200:204] = 400.0
    return np.sqrt(counts).astype(np.uint8)


def test_nothing_is_changed_by_chance_when_nothing_may(quadrant):
    before = quadrant.copy()
    assert np.array_equal(augment(quadrant, NOTHING, np.random.default_rng(1)), quadrant)
    augment(quadrant, Augmentation(), np.random.default_rng(2))
    assert np.array_equal(quadrant, before)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Augmentation)])
def test_a_change_is_its_generators(quadrant, name):
    changed = [augment(quadrant, only(name), np.random.default_rng(7)) for _ in range(2)]
    assert changed[0].dtype == np.uint8
    assert changed[0].shape == quadrant.shape
    assert np.array_equal(*changed)
    assert not np.array_equal(changed[0], quadrant)


def test_the_mirror_is_about_the_diagonal(quadrant):
    assert np.array_equal(augment(quadrant, only("mirror"), np.random.default_rng(0)), quadrant.T)


def test_a_background_is_counts_on_counts(quadrant):
    """It is brighter where something was measured, and stays dark where nothing was."""
    dark = quadrant.copy()
    dark[:, :100] = 0
    for seed in range(4):
        changed = augment(dark, only("background"), np.random.default_rng(seed))
        assert (changed[:, :100] == 0).all()
        assert (changed >= dark).all()
        # less signal over noise, but the spot is still there
        assert changed[100:104, 200:204].mean() > changed.mean() + 5


def test_gain_is_of_counts(quadrant):
    changed = augment(quadrant, only("gain"), np.random.default_rng(3)).astype(float)
    ratio = changed[100:104, 200:204].mean() ** 2 / 400.0
    assert np.exp(-1) <= ratio <= np.exp(1)


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found(true_temperature):
    random = np.random.default_rng(1)
    right = random.normal(0.0, 2.0, 20_000)
    truth = random.random(20_000) < 1.0 / (1.0 + np.exp(-right))
    found = fit_temperature(right * true_temperature, truth)
    assert found == pytest.approx(true_temperature, rel=0.08)
    assert fit_temperature(right, np.ones(20_000, bool)) == 1.0


def test_interval_holds_what_it_says():
    """On other shots of the same kind, whatever the errors' distribution is."""
    random = np.random.default_rng(2)
    spread = random.uniform(0.5, 2.0, 4000)
    distance = np.abs(random.standard_t(3, 4000)) * spread
    factor = conformal_factor(distance[:2000], spread[:2000])
    inside = distance[2000:] <= factor * spread[2000:]
    assert 0.88 < inside.mean() < 0.93
    assert conformal_factor(distance[:0], spread[:0]) == pytest.approx(1.645)


def test_calibration_error_of_what_is_always_half_sure():
    truth = np.arange(100) % 2 == 0
    assert calibration_error(np.full(100, 0.5), truth) == pytest.approx(0.0)
    assert calibration_error(np.full(100, 0.9), truth) == pytest.approx(0.4)


def test_scores():
    truths = {
        "true_hit": np.array([1, 1, 1, 1, 0]),
        "true_resolution": np.array([2.0, 2.5, 4.0, 5.0, np.nan]),
        "true_lattices": np.array([1, 2, 1, 3, 0]),
    }
    outputs = {
        "inverse_resolution": np.array([0.5, 0.4, 0.25, 0.1, 9.0]),
        "several_lattices": np.array([-1.0, 2.0, 3.0, 4.0, 9.0]),
        "hit": np.array([1.0, 1.0, -1.0, 1.0, -2.0]),
    }
    found = score(outputs, truths, ("resolution", "lattices", "hit"))
    assert found["resolution_distance"] == pytest.approx(0.025)
    assert found["resolution_right"] == 0.75
    assert found["lattices_accuracy"] == 0.75
    assert found["lattices_area"] == 0.75
    assert found["hit_accuracy"] == pytest.approx(0.8)
    assert found["hit_area"] == 1.0
    truth = 1.0 / truths["true_resolution"][:4]
    expected = np.corrcoef(outputs["inverse_resolution"][:4], truth)[0, 1]
    assert found["resolution_pearson"] == pytest.approx(expected)
    assert set(score(outputs, truths, ("hit",))) == {"hit_accuracy", "hit_area"}


def test_figures_of_nothing():
    assert np.isnan(pearson(np.ones(3), np.arange(3.0)))
    assert np.isnan(area_under_curve(np.ones(3), np.ones(3, bool)))
    assert area_under_curve(np.ones(4), np.array([True, False, True, False])) == 0.5


def test_card_tells_figures_data_and_limits():
    from hpdp_dask.crystallography.model_file import Model
    from hpdp_dask.crystallography.train.card import write_card

    class Network:
        name = "small"

    metrics = {"shots_judged": 400, "shots_learnt_from": 9000, "hit_accuracy": 0.991}
    training = {
        "command": "hpdp crystals train -o model --recipe small",
        "data": {"resolution": [1.4, 6.0], "detectors": ["pilatus-6m", "ccd-3840"]},
        "settings": {"epochs": 12},
    }
    card = write_card(Model(Network(), ("hit",), Calibration(), training, metrics), "Model small")
    for said in (
        "99.1%",
        "1.4 to 6.0",
        "pilatus-6m, ccd-3840",
        "--recipe small",
        "Limits",
        "9,000",
    ):
        assert said in card
