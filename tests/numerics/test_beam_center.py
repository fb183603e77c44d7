"""Beam centres of simulated patterns on detectors with gaps, and of real ones."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpdp_dask.numerics.beam_center import friedel_center, ring_center
from hpdp_dask.numerics.diffraction import scattering_vectors
from hpdp_dask.numerics.form_factors import icosahedron, sphere
from hpdp_dask.numerics.pixel_grid import to_grid
from hpdp_dask.numerics.sphere_center import sphere_center

PIXEL, DISTANCE, WAVELENGTH = 6e-4, 0.586, 7.75


def flat(random):
    return np.meshgrid((np.arange(128) - 63.5) * PIXEL, (np.arange(128) - 63.5) * PIXEL)


def modules(random):
    """Four modules around a gap, each a little turned and out of place, one after another."""
    across, up = [], []
    for side_x, side_y in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        u, v = np.meshgrid(np.arange(64) + 3.3, np.arange(64) + 3.3)
        u, v = u * side_x + random.normal(0, 0.3), v * side_y + random.normal(0, 0.3)
        turn = np.deg2rad(random.normal(0, 0.7))
        across.append(np.cos(turn) * u - np.sin(turn) * v)
        up.append(np.sin(turn) * u + np.cos(turn) * v)
    return np.concatenate(across) * PIXEL, np.concatenate(up) * PIXEL


def shot(random, x, y, center, body, frames):
    """Sum frames of particles of 60 nm, 1000 photons each, about a centre in pixels."""
    q = scattering_vectors(
        x - center[0] * PIXEL, y - center[1] * PIXEL, np.full(x.shape, DISTANCE), WAVELENGTH
    )
    total = np.zeros(x.shape)
    for _ in range(frames):
        turn = Rotation.random(random_state=random).as_matrix()
        turned = np.einsum("ij,i...->j...", turn, q)
        intensity = body(turned, 600.0 * random.normal(1.0, 0.01)) ** 2
        total += random.poisson(1000.0 * intensity / intensity.sum() + 0.02)
    good = np.hypot(x, y) > 4.5 * PIXEL
    good &= ~((np.abs(y) < 1.6 * PIXEL) & (x > 0))
    return total, good & (random.random(x.shape) > 0.02)


@pytest.mark.parametrize("detector", [flat, modules])
@pytest.mark.parametrize("body", [sphere, icosahedron])
@pytest.mark.parametrize("center", [(0.31, -0.47), (-6.3, 5.6)])
def test_centres_within_a_tenth_of_a_pixel(detector, body, center):
    random = np.random.default_rng(1)
    x, y = detector(random)
    image, good = shot(random, x, y, center, body, 100)
    places = good, x, y, PIXEL

    rough = friedel_center(image, *places)
    rings = ring_center(image, *places, (rough.x, rough.y))
    friedel = friedel_center(image, *places, (rings.x, rings.y))
    pixels = x, y, np.full(x.shape, DISTANCE)
    fitted = sphere_center(image, good, pixels, PIXEL, WAVELENGTH, (rough.x, rough.y))
    for found in (rings, friedel, fitted):
        off = np.hypot(found.x / PIXEL - center[0], found.y / PIXEL - center[1])
        assert off < 0.1
        assert 0.8 < found.score < 1.05
    if body is sphere:
        assert fitted.diameter == pytest.approx(600.0, rel=0.01)


def test_real_frames(test_data):
    labelled = np.load(test_data / "spi/pr772/pr772_30_labelled.npz")
    image, good = labelled["patterns"].sum(axis=0), labelled["mask"] == 0
    x, y = np.meshgrid(np.arange(128.0), np.arange(128.0))
    rough = friedel_center(image, good, x, y, 1.0)
    rings = ring_center(image, good, x, y, 1.0, (rough.x, rough.y))
    metres = x * PIXEL, y * PIXEL, np.full(x.shape, DISTANCE)
    start = rough.x * PIXEL, rough.y * PIXEL
    fitted = sphere_center(image, good, metres, PIXEL, WAVELENGTH, start)
    for found in ((rough.x, rough.y), (rings.x, rings.y), (fitted.x / PIXEL, fitted.y / PIXEL)):
        np.testing.assert_allclose(found, (63.79, 63.20), atol=0.05)
    assert 580 < fitted.diameter < 640


def test_an_empty_detector_has_no_centre():
    x, y = np.meshgrid(np.arange(16.0), np.arange(16.0))
    good = np.ones((16, 16), bool)
    empty = np.zeros((16, 16))
    assert friedel_center(empty, good, x, y, 1.0) is None
    assert ring_center(empty, good, x, y, 1.0, (7.0, 7.0)) is None


def test_a_flat_detector_is_its_own_grid():
    x, y = np.meshgrid(np.arange(9) * 2e-4 + 0.013, np.arange(7) * 2e-4 - 0.002)
    image = np.random.default_rng(0).random((7, 9))
    good = image > 0.1
    grid = to_grid(image, good, x, y, 2e-4)
    row, column = (
        round((at - first) / 2e-4)
        for at, first in ((y[0, 0], grid.origin[1]), (x[0, 0], grid.origin[0]))
    )
    part = (slice(row, row + 7), slice(column, column + 9))
    np.testing.assert_allclose(grid.values[part][good], image[good])
    np.testing.assert_allclose(grid.weights[part], good, atol=1e-6)
    assert grid.weights.sum() == pytest.approx(good.sum())
