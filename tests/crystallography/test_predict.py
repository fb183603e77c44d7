"""Answers for quadrants put together, and networks run over frames."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from frame_stacks import make_frames  # noqa: E402

from hpdp_dask.crystallography.inference import Answers  # noqa: E402
from hpdp_dask.crystallography.model_file import Calibration, Model, save_model  # noqa: E402
from hpdp_dask.crystallography.networks import build_network  # noqa: E402
from hpdp_dask.crystallography.predict import (  # noqa: E402
    choose_quadrants,
    combine,
    predict_measure,
    usable,
)
from hpdp_dask.crystallography.prediction_table import predict_images, summarize  # noqa: E402
from hpdp_dask.dataflow.columns import measure_images  # noqa: E402
from hpdp_dask.errors import InputError  # noqa: E402
from hpdp_dask.stacks.frames import open_frames  # noqa: E402

TASKS = ("resolution", "lattices", "hit")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, Model(build_network("small", 2)), "# A model of random weights\n")
    return folder


@pytest.fixture
def frames():
    """Noise, a dark frame, and one with all pixels saturated."""
    frames = np.random.default_rng(0).poisson(2.0, (7, 420, 430)).astype(np.uint32)
    frames[4], frames[5] = 0, 2**20
    return frames


def answers_of(used, inverse, spread, several, hit):
    values = (inverse, np.log(spread), several, hit)
    return Answers(*(np.asarray(np.broadcast_to(v, used.shape), np.float32)[used] for v in values))


def test_quadrants_are_put_together():
    used = np.array([[True] * 4, [True, False, True, False], [True] * 4, [False] * 4])
    inverse = np.array([[0.5, 0.4, 0.5, 0.5]] * 4)
    spread = np.array([[0.02, 0.01, 0.02, 0.02]] * 4)
    several = np.array([[3.0, 1.0, -1.0, 1.0]] * 4)
    hit = np.array([[4.0, 4.0, 4.0, 4.0], [-4.0, 9.0, 4.0, 9.0], [-4.0] * 4, [9.0] * 4])
    answers = answers_of(used, inverse, spread, several, hit)
    found = combine(answers, used, Calibration(2.0, 1.0, 1.5), TASKS)
    assert found["quadrants_used"].tolist() == [4, 2, 4, 0]
    np.testing.assert_allclose(
        found["hit_probability"], [*1 / (1 + np.exp([-2.0, -2.0, 2.0])), np.nan]
    )
    # weights are 1, 4, 1, 1
    middle, half = (1.5 + 1.6) / 7, 1.5 * (0.06 + 0.04) / 7
    wanted = np.array([[middle, 0.5], [half, 0.03]])
    for name, side in (("resolution", 0), ("resolution_low", -1), ("resolution_high", 1)):
        np.testing.assert_allclose(found[name][:2], 1 / (wanted[0] + side * wanted[1]), rtol=1e-6)
        # neither what is no hit nor what is not seen
        assert np.isnan(found[name][2:]).all()
    several = found["several_lattices_probability"]
    np.testing.assert_allclose(several[:2], 1 / (1 + np.exp([-1.0, 1.0])))
    assert np.isnan(several[2:]).all()


def test_without_the_task_of_hits_all_count():
    used = np.ones((1, 2), bool)
    answers = answers_of(used, 0.4, 0.01, 0.0, -9.0)
    found = combine(answers, used, Calibration(), ("resolution",))
    np.testing.assert_allclose(found["resolution"], 2.5)
    assert found["resolution_low"] > 2.5 > found["resolution_high"]


def test_an_interval_ends_before_infinity():
    used = np.ones((1, 1), bool)
    found = combine(answers_of(used, 0.05, 0.1, 0.0, 9.0), used, Calibration(), TASKS)
    assert found["resolution_low"] == pytest.approx(100.0)


def test_dark_and_saturated_quadrants_are_left_out():
    quadrants = np.zeros((1, 4, 512, 512), np.uint8)
    quadrants[0, 0, 3, 3] = 1
    quadrants[0, 2] = 255
    quadrants[0, 3, :100, :100] = 255
    assert usable(quadrants, np.array([1.0, 1.0, 1.0, 0.05])).tolist() == [
        [True, False, False, False]
    ]


def test_quadrants_are_chosen_by_what_the_detector_covers():
    assert choose_quadrants(np.array([0.5, 0.9, 0.9, 0.9]), 4) == (1, 3, 2, 0)
    assert choose_quadrants(np.array([0.5, 0.9, 0.9, 0.9]), 2) == (1, 3)
    assert choose_quadrants(np.array([0.91104, 0.91103, 0.91103, 0.91103]), 1) == (0,)
    assert choose_quadrants(np.array([0.02, 0.05, 0.9, 0.0]), 4) == (2,)


def test_a_stack_gets_columns(model, frames, client, tmp_path):
    here, there = (make_frames(tmp_path / name, frames) for name in ("a.zarr", "b.zarr"))
    measure = predict_measure(model)
    measure_images(here, [measure])
    measure_images(there, [measure], client=client)
    one, two = open_frames(here), open_frames(there)
    for name in measure.columns:
        np.testing.assert_array_equal(one[name].values, two[name].values)
    assert one["quadrants_used"].values.tolist() == [4, 4, 4, 4, 0, 0, 4]
    unseen = np.isnan(one["hit_probability"].values)
    assert unseen.tolist() == [False, False, False, False, True, True, False]
    known = ~np.isnan(one["resolution"].values)
    assert (one["resolution_low"] > one["resolution"]).values[known].all()
    assert (one["resolution_high"] < one["resolution"]).values[known].all()


def test_real_numbers_will_do(model, frames, tmp_path):
    counts = make_frames(tmp_path / "counts.zarr", frames)
    adu = make_frames(tmp_path / "adu.zarr", frames.astype(np.float32), unit="adu")
    measure = predict_measure(model, 2)
    for path in (counts, adu):
        measure_images(path, [measure])
    one, two = (open_frames(path)["hit_probability"].values for path in (counts, adu))
    np.testing.assert_array_equal(one, two)


def test_simulated_quadrants_have_a_geometry_each(model, tmp_path):
    quadrants = np.random.default_rng(1).poisson(2.0, (5, 512, 512)).astype(np.uint8)
    rng = np.random.default_rng(2)
    columns = {
        "shot_wavelength": rng.uniform(0.9, 1.3, 5),
        "shot_distance": rng.uniform(0.1, 0.3, 5),
        "shot_pixel_size": np.full(5, 3e-4),
    }
    path = make_frames(tmp_path / "shots.zarr", quadrants, columns=columns)
    found = predict_images(predict_measure(model), [path])
    network = build_network("small", 2).eval()
    geometry = np.stack(list(columns.values()), axis=1).astype(np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(quadrants), torch.from_numpy(geometry))
    hit = torch.sigmoid(wanted.hit).numpy()
    np.testing.assert_allclose(found.images["hit_probability"], hit, atol=0.01)
    assert found.images["frame"].tolist() == [0, 1, 2, 3, 4]
    assert found.data_sets["images"].tolist() == [5]


def test_a_detector_that_covers_nothing(model, tmp_path):
    path = make_frames(tmp_path / "far.zarr", np.ones((2, 60, 60), np.uint16))
    with pytest.raises(InputError, match=r"far\.zarr: good pixels cover less than 10%"):
        measure_images(path, [predict_measure(model)])


def test_a_number_of_quadrants_that_makes_no_sense(model):
    with pytest.raises(InputError, match="3 quadrants of each image; expected 1, 2 or 4"):
        predict_measure(model, 3)


def test_data_sets_are_summarized():
    import pandas as pd

    resolution = [2.0, 3.0, np.nan, *[4.0] * 9, 5.0]
    images = pd.DataFrame(
        {
            "data_set": ["a"] * 12 + ["b"],
            "resolution": resolution,
            "hit_probability": [0.9, 0.9, 0.1] + [0.9] * 9 + [0.9],
            "several_lattices_probability": [0.9, 0.2, np.nan] + [0.2] * 9 + [0.7],
        }
    )
    found = summarize(images).set_index("data_set")
    assert found["images"].tolist() == [12, 1]
    assert found["hits"].tolist() == [11, 1]
    np.testing.assert_allclose(found["resolution"], [41 / 11, 5.0])
    np.testing.assert_allclose(found["resolution_best_tenth"], [2.5, 5.0])
    np.testing.assert_allclose(found["several_lattices"], [1 / 11, 1.0])
