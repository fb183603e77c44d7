"""The model that comes with the package, on real images and on shots that it never saw."""

import csv

import numpy as np
import pytest

pytest.importorskip("torch")

from hpdp_dask.crystallography.inference import Predictor
from hpdp_dask.crystallography.model_file import TASKS, load_model
from hpdp_dask.crystallography.predict import combine, predict_measure
from hpdp_dask.crystallography.prediction_table import predict_images
from hpdp_dask.crystallography.simulate import Settings, simulate_shot
from hpdp_dask.crystallography.train.recipes import RECIPES
from hpdp_dask.crystallography.train.scores import pearson
from hpdp_dask.frames.sources import open_sources
from hpdp_dask.numerics.quadrants import plan_quadrants, pool_quadrants

HITS, BLANKS = ("0003", "0008", "0012", "0015"), ("0016", "0018")
SHOTS = 48


@pytest.fixture(scope="module")
def thaumatin(test_data):
    return test_data / "crystallography" / "thaumatin"


@pytest.fixture(scope="module")
def answers(thaumatin):
    """The table of the six images, in the order of their numbers."""
    return predict_images(predict_measure("small"), [thaumatin]).images


def test_hits_and_blanks_of_thaumatin(answers):
    assert (answers["hit_probability"].values >= 0.5).tolist() == [True] * 4 + [False] * 2
    assert np.isnan(answers["resolution"].values[4:]).all()


def test_resolution_of_thaumatin(answers, thaumatin):
    with (thaumatin / "distl.csv").open() as file:
        distl = {row["image"][-4:]: float(row["d_method1"]) for row in csv.DictReader(file)}
    found = dict(zip(HITS, answers["resolution"].values[:4], strict=True))
    for image in HITS[:3]:
        assert found[image] == pytest.approx(distl[image], abs=0.5)
    assert found["0015"] > 2.8
    low, high = answers["resolution_low"].values[:4], answers["resolution_high"].values[:4]
    assert ((high < answers["resolution"].values[:4]) & (answers["resolution"][:4] < low)).all()


def test_two_frames_one_upon_the_other_are_several_lattices(answers, thaumatin):
    """One of them is turned by 180 degrees about the beam."""
    assert (answers["several_lattices_probability"].values[:4] < 0.5).all()
    source = open_sources([thaumatin])[0]
    detector = source.detector
    frames = source.read(0, 3).astype(np.int64)
    size = detector.pixel_size
    row = np.rint((-detector.pixel_y - detector.pixel_y[0, 0]) / size / _step(detector.pixel_y, 0))
    column = np.rint(
        (-detector.pixel_x - detector.pixel_x[0, 0]) / size / _step(detector.pixel_x, 1)
    )
    rows, columns = detector.shape
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    place = np.where(inside, row * columns + column, 0).astype(int)
    good = inside & (detector.mask == 0) & (detector.mask.ravel()[place] == 0)
    plan = plan_quadrants(
        *(detector.pixel_x, detector.pixel_y, detector.pixel_z),
        *((~good).astype(np.uint8), size),
    )
    sums = [a + b.ravel()[place] for a, b in ((0, 1), (0, 2), (1, 2)) for a, b in [frames[[a, b]]]]
    quadrants = pool_quadrants(np.where(good, np.stack(sums), 0), plan).reshape(12, 512, 512)
    geometry = np.array([detector.wavelength, plan.distance, plan.pixel_size], np.float32)
    model = load_model("small")
    given = Predictor(model.network)(quadrants, np.tile(geometry, (12, 1)))
    found = combine(given, np.ones((3, 4), bool), model.calibration, TASKS)
    assert (found["several_lattices_probability"] > 0.5).all()


def _step(positions, axis):
    """Tell whether positions go up or down along an axis."""
    return np.sign(np.diff(positions, axis=axis).mean())


def test_shots_that_it_never_saw():
    recipe = RECIPES["small"].simulation
    settings = Settings(number=SHOTS, seed=recipe.seed + 1, blanks=recipe.blanks)
    shots = [simulate_shot(settings, index) for index in range(SHOTS)]
    names = ("shot_wavelength", "shot_distance", "shot_pixel_size")
    geometry = np.array([[truth[name] for name in names] for _, truth in shots], np.float32)
    given = Predictor(load_model("small").network)(np.stack([q for q, _ in shots]), geometry)
    hit = np.array([truth["true_hit"] for _, truth in shots]) == 1
    truth = np.array([1.0 / truth["true_resolution"] for _, truth in shots])[hit]
    assert ((given.hit > 0) == hit).mean() > 0.9
    assert pearson(given.inverse_resolution[hit], truth) > 0.9
