"""Elongated particles: their shadow's size, elongation and direction."""

import numpy as np
import pytest
from diffraction_patterns import Patterns, small_detector

from hpdp_dask.numerics.polar import gather, polar_cells
from hpdp_dask.numerics.size_tables import possible_diameters
from hpdp_dask.numerics.spheroid_fit import fit_spheroids, spheroid_table


@pytest.fixture(scope="module")
def patterns():
    return Patterns(small_detector(), seed=3)


@pytest.fixture(scope="module")
def cells(patterns):
    return polar_cells(patterns.q.mean(axis=1), patterns.share)


@pytest.fixture(scope="module")
def table(cells):
    return spheroid_table(cells, possible_diameters(cells))


def spheroids(patterns, number, photons):
    """Frames with mean diameter, elongation and direction of the shadows."""
    frames, shadows = [], []
    for size in np.geomspace(200.0, 2000.0, number):
        ratio = np.exp(patterns.random.uniform(-np.log(1.7), np.log(1.7)))
        equatorial, polar = size * ratio ** (-1 / 3), size * ratio ** (2 / 3)
        axis = patterns.direction()
        frames.append(patterns.photons(patterns.spheroid(equatorial, polar, axis), photons))
        along = np.hypot(axis[2] * equatorial, np.hypot(axis[0], axis[1]) * polar)
        turn = np.arctan2(axis[1], axis[0]) + (np.pi / 2 if along < equatorial else 0.0)
        shadows.append(
            (
                np.sqrt(equatorial * along),
                max(along, equatorial) / min(along, equatorial),
                np.degrees(turn) % 180,
            )
        )
    return np.array(frames), np.array(shadows).T


@pytest.mark.parametrize("photons", [300, 3000, 30_000])
def test_shadows(patterns, cells, table, photons):
    frames, (diameter, elongation, direction) = spheroids(patterns, 20, photons)
    fit = fit_spheroids(gather(frames, cells), table)
    assert np.median(np.abs(fit.diameter / diameter - 1.0)) < 0.02
    assert np.median(np.abs(fit.elongation / elongation - 1.0)) < 0.04
    long = elongation > 1.2
    turned = np.abs((fit.direction - direction + 90.0) % 180.0 - 90.0)
    assert np.median(turned[long]) < (10.0 if photons < 1000 else 3.0)
    assert np.median(np.abs(fit.diameter - diameter) / fit.error) < 1.5


def test_the_score_tells_spheroids_from_pairs(patterns, cells, table):
    frames, _ = spheroids(patterns, 12, 5000)
    pairs = [
        patterns.photons(
            patterns.cluster(size, [np.zeros(3), 1.02 * patterns.direction()]), 5000, 0.1
        )
        for size in np.geomspace(300.0, 1000.0, 12)
    ]
    good, bad = (fit_spheroids(gather(np.array(each), cells), table) for each in (frames, pairs))
    assert np.median(good.score) > 0.6 > 0.4 > np.median(bad.score)


def test_spheres_are_round(patterns, cells, table):
    true = np.geomspace(200.0, 2000.0, 8)
    frames = np.array([patterns.photons(patterns.sphere(size), 10_000) for size in true])
    fit = fit_spheroids(gather(frames, cells), table)
    np.testing.assert_allclose(fit.diameter, true, rtol=0.02)
    assert np.all(fit.elongation < 1.05)


def test_a_frame_without_photons(cells, table):
    fit = fit_spheroids(np.zeros((1, cells.rings, cells.angles), np.float32), table)
    assert np.isnan(fit.diameter[0])
    assert fit.score[0] == 0.0
