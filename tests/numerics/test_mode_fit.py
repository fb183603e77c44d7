"""Modes of pixels: against scipy's fit, and against the background that was put in."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from hpdp_dask.numerics.arrays import to_host
from hpdp_dask.numerics.mode_fit import (
    add_to_histogram,
    background_of_histogram,
    fit_gaussian,
)

BINS = 50


def histogram_of(photons, bins=BINS):
    histogram = np.zeros((bins, *photons.shape[1:]), np.uint32)
    add_to_histogram(histogram, photons)
    return histogram


def recovered(random, level, frames=1000, pixels=400, fluctuation=0.0, hits=0.0, signal=0.0):
    """Give backgrounds found of pixels that all have the same, over the true one."""
    pulses = np.clip(1.0 + fluctuation * random.standard_normal((frames, 1, 1)), 0.1, None)
    expected = np.broadcast_to(level * pulses, (frames, 1, pixels)).copy()
    expected[: int(hits * frames)] += signal * random.exponential(1.0, (int(hits * frames), 1, 1))
    photons = random.poisson(expected).astype(np.uint16)
    return background_of_histogram(histogram_of(photons)) / (level * pulses.mean())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_histograms_are_what_numpy_counts(dtype):
    photons = np.random.default_rng(0).poisson(6.0, (37, 9, 23)).astype(dtype)
    photons[3, 2, 1] = 255
    histogram = histogram_of(photons[:20], 12)
    add_to_histogram(histogram, photons[20:])
    for count in range(12):
        np.testing.assert_array_equal(histogram[count], (photons == count).sum(axis=0))


def test_gaussians_are_those_of_scipy():
    random = np.random.default_rng(1)
    level = random.uniform(3.0, 30.0, (4, 8))
    histogram = histogram_of(random.poisson(level, (600, 4, 8)).astype(np.uint8))
    found = fit_gaussian(histogram)

    def curve(k, centre, height, width):
        return height * np.exp(-0.5 * ((k - centre) / width) ** 2)

    for place in np.ndindex(4, 8):
        counts = histogram[(slice(None), *place)].astype(float)
        mode = counts.argmax()
        expected, _ = curve_fit(curve, np.arange(BINS), counts, (mode, counts.max(), mode / 5))
        assert found.centre[place] == pytest.approx(expected[0], abs=2e-3)
        assert found.width[place] == pytest.approx(abs(expected[2]), abs=2e-3)
        assert found.height[place] == pytest.approx(expected[1], rel=1e-3)


def test_pixels_without_photons_have_no_gaussian_and_no_background():
    photons = np.zeros((20, 2, 3), np.uint8)
    photons[:, 0, 0] = 5
    photons[:4, 1, 1] = 1
    histogram = histogram_of(photons)
    assert np.isnan(fit_gaussian(histogram).centre[1, 2])
    background = background_of_histogram(histogram)
    assert background[0, 0] == pytest.approx(5.0, abs=0.6)
    assert background[1, 1] == pytest.approx(0.25, abs=0.05)
    assert background[1, 2] == 0.0


@pytest.mark.parametrize("level", [0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 12.0, 30.0])
def test_background_without_hits(level):
    found = recovered(np.random.default_rng(2), level)
    assert np.median(found) == pytest.approx(1.0, abs=0.02)
    # a mode knows less than a mean does, but not much
    assert np.std(found) < 2.0 * (level * 1000) ** -0.5


@pytest.mark.parametrize("level", [1.0, 2.0, 4.0, 10.0, 25.0])
def test_background_with_three_tenths_of_hits(level):
    found = recovered(np.random.default_rng(3), level, hits=0.3, signal=30.0 * level)
    assert np.median(found) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("level", [1.0, 2.0, 4.0, 10.0, 25.0])
def test_background_of_uneven_pulses(level):
    found = recovered(np.random.default_rng(4), level, fluctuation=0.2)
    assert np.median(found) == pytest.approx(1.0, abs=0.05)


@pytest.mark.gpu
def test_a_device_gives_the_same():
    import cupy

    random = np.random.default_rng(5)
    level = random.uniform(0.1, 30.0, (16, 16))
    histogram = histogram_of(random.poisson(level, (500, 16, 16)).astype(np.uint8))
    found = to_host(background_of_histogram(cupy.asarray(histogram)))
    np.testing.assert_allclose(found, background_of_histogram(histogram), rtol=1e-3, atol=1e-4)
