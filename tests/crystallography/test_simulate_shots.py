"""Simulated stills: the truth holds, and only the seed and the place of a shot matter."""

from dataclasses import replace

import numpy as np
import pytest

from hpdp_dask.crystallography.simulate import (
    DETECTORS,
    Settings,
    read_settings,
    simulate_frames,
    simulate_shot,
    simulate_shots,
)
from hpdp_dask.crystallography.simulate.instrument import (
    draw_instrument,
    quadrant_view,
    whole_view,
)
from hpdp_dask.crystallography.simulate.shot import draw_shot, expose, sample_spots, shot_rng
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import BAD, GOOD, flat_detector
from hpdp_dask.numerics.quadrants import plan_quadrants, pool_quadrants
from hpdp_dask.numerics.rotations import angular_distance
from hpdp_dask.stacks.frames import detector_of, open_frames

SETTINGS = Settings(number=10, seed=11, detectors=("pilatus-6m",))


def test_a_shot_is_of_its_seed_and_place():
    first, truth = simulate_shot(SETTINGS, 3)
    again, same = simulate_shot(replace(SETTINGS, number=20), 3)
    np.testing.assert_array_equal(first, again)
    assert truth == pytest.approx(same, nan_ok=True)
    for other in (simulate_shot(SETTINGS, 4)[0], simulate_shot(replace(SETTINGS, seed=12), 3)[0]):
        assert (other != first).mean() > 0.1


def test_no_two_shots_share_noise():
    # all alike but for their noise: no crystal, one instrument, one background
    even = replace(
        SETTINGS,
        blanks=1.0,
        ice=0.0,
        distance=(0.2, 0.2),
        wavelength=(1.0, 1.0),
        background=(20.0, 20.0),
        beam_offset=0.0,
        beam_error=0.0,
        tilt=0.0,
    )
    shots = np.stack([simulate_shot(even, index)[0] for index in range(4)]).astype(float)
    seen = (shots > 0).all(axis=0)
    # what is left after neighbours are taken off is noise
    noise = shots[:, 1:, 1:] - shots[:, :-1, :-1]
    kept = seen[1:, 1:] & seen[:-1, :-1]
    correlation = np.corrcoef(noise[:, kept])
    assert np.abs(correlation - np.eye(4)).max() < 0.02


def test_a_set_does_not_depend_on_workers(tmp_path, client):
    settings = replace(SETTINGS, number=5)
    simulate_shots(settings, tmp_path / "alone.zarr")
    simulate_shots(settings, tmp_path / "spread.zarr", client=client)
    alone, spread = (open_frames(tmp_path / name) for name in ("alone.zarr", "spread.zarr"))
    for name in alone.data_vars:
        np.testing.assert_array_equal(alone[name].values, spread[name].values, err_msg=name)
    quadrant, truth = simulate_shot(settings, 4)
    np.testing.assert_array_equal(alone["photons"].values[4], quadrant)
    assert alone["photons"].dtype == np.uint8
    assert alone.attrs["preprocessing"] == 1
    assert alone["true_spots"].values[4] == truth["true_spots"]
    assert alone["shot_distance"].values[4] == pytest.approx(truth["shot_distance"])


@pytest.mark.parametrize("name", ["pilatus-2m", "eiger-9m"])
def test_a_quadrant_is_what_preprocessing_makes_of_the_whole_frame(name):
    settings = replace(
        SETTINGS,
        detectors=(name,),
        blanks=0.0,
        resolution=(2.0, 2.0),
        background=(30.0, 30.0),
        beam_error=0.0,
        tilt=0.0,
    )
    rng = shot_rng(settings, 0)
    instrument = draw_instrument(settings, rng)
    shot = draw_shot(settings, instrument, rng)
    view = whole_view(instrument)
    counts, _ = expose(shot, view, rng)
    model = instrument.model
    detector = flat_detector(
        model.shape,
        model.pixel_size,
        instrument.distance,
        center=instrument.center,
        mask=np.where(np.outer(view.good_rows, view.good_columns), GOOD, BAD),
    )
    plan = plan_quadrants(
        detector.pixel_x, detector.pixel_y, detector.pixel_z, detector.mask, model.pixel_size
    )
    wanted = pool_quadrants(counts[None], plan, [shot.quadrant])[0, 0].astype(float)
    found, truth = simulate_shot(settings, 0)
    assert plan.factor == model.factor
    assert plan.pixel_size == pytest.approx(truth["shot_pixel_size"])
    # the same gaps and, but for noise and a few bad pixels, the same picture
    lit = truth["true_background"] > 1.0
    assert ((wanted == 0) != (found == 0)).mean() < (0.002 if lit else 0.02)
    assert found.mean() == pytest.approx(wanted.mean(), rel=0.01)
    center = truth["shot_center_x"], truth["shot_center_y"]
    assert all(-1.0 <= place * model.factor + (model.factor - 1) / 2 <= 0.0 for place in center)


def test_spots_end_about_where_the_resolution_says():
    seen = []
    for index in range(6):
        settings = replace(SETTINGS, blanks=0.0, several=0.0, resolution=(2.5, 2.5), seed=5)
        rng = shot_rng(settings, index)
        instrument = draw_instrument(settings, rng)
        shot = draw_shot(settings, instrument, rng)
        spots = sample_spots(shot.sample, instrument, quadrant_view(instrument, shot.quadrant))
        area = 2.0 * np.pi / np.sqrt(spots[:, 2] * spots[:, 4] - spots[:, 3] ** 2)
        photons = spots[:, 5] * area
        under = 2.0 * area * shot.diffuse.at(instrument.tangent(spots[:, 6]))
        clear = spots[photons > 5.0 * np.sqrt(photons + under), 6]
        seen.append(np.quantile(clear, 0.02))
    assert np.median(seen) == pytest.approx(2.5, abs=0.35)


def test_lattices_lie_as_the_set_says():
    for kind, low, high in (("uniform", 1.0, 180.0), ("gaussian", 0.0, 60.0)):
        settings = replace(SETTINGS, misorientation=kind, blanks=0.0, several=1.0, split=0.0)
        rng = shot_rng(settings, 1)
        instrument = draw_instrument(settings, rng)
        sample = draw_shot(settings, instrument, rng).sample
        angles = [angular_distance(sample.rotations[0][0], r[0]) for r in sample.rotations[1:]]
        assert max(angles) == pytest.approx(sample.misorientation, abs=1e-6)
        assert all(low <= angle <= high for angle in angles)
    single = replace(SETTINGS, misorientation="single", blanks=0.0)
    assert all(simulate_shot(single, index)[1]["true_lattices"] == 1 for index in range(3))


def test_whole_frames_are_as_an_import_would_leave_them(tmp_path):
    settings = Settings(2, seed=3, detectors=("pilatus-2m",), distance=(0.2, 0.2), blanks=0.0)
    simulate_frames(settings, tmp_path / "frames.zarr")
    stack = open_frames(tmp_path / "frames.zarr")
    detector = detector_of(stack)
    assert stack["photons"].shape == (2, *DETECTORS["pilatus-2m"].shape)
    assert detector.distance == pytest.approx(0.2)
    assert (detector.mask == BAD).mean() == pytest.approx(
        1.0 - (8 * 195 / 1679) * (3 * 487 / 1475), abs=2e-3
    )
    assert not stack["photons"].values[:, detector.mask == BAD].any()
    assert (stack["true_lattices"].values >= 1).all()


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"number": 0}, "1 shot or more"),
        ({"distance": 300}, "check its unit"),
        ({"distance": "0.4,0.1"}, "a lower and a higher"),
        ({"wavelength": "x"}, "a number or two"),
        ({"blanks": 1.5}, "from 0 to 1"),
        ({"detectors": ["pilatus"]}, "no detector pilatus"),
        ({"misorientation": "many"}, "uniform, gaussian or single"),
        ({"distances": 0.1}, "no setting 'distances'"),
        ({"seed": 1.5}, "a whole number"),
        ({"most_lattices": 1}, "2 or more"),
    ],
)
def test_a_setting_that_makes_no_sense_is_told(told, sentence):
    with pytest.raises(InputError, match=sentence):
        read_settings(told, "settings.yaml")


def test_ranges_are_read_as_people_write_them():
    settings = read_settings(
        {"distance": 0.2, "resolution": "2,3", "detectors": "eiger-4m", "background": [1, 2]}, ""
    )
    assert settings.distance == (0.2, 0.2)
    assert settings.resolution == (2.0, 3.0)
    assert settings.detectors == ("eiger-4m",)
    assert settings.background == (1.0, 2.0)


def test_whole_frames_want_one_detector(tmp_path):
    with pytest.raises(InputError, match="a single one for whole frames"):
        simulate_frames(Settings(1), tmp_path / "frames.zarr")
    assert not (tmp_path / "frames.zarr").exists()
