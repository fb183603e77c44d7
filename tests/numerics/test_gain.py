"""The peak of single photons in histograms of known gain."""

import numpy as np
import pytest

from hpdp_dask.numerics.gain import BIN, BINS, HIGHEST, LOWEST, find_gain


def histogram(random, gain, noise=1.6, mean=0.15, pixels=400_000, share=0.0, slope=0.0):
    """Make a histogram of pixels with Poisson counts; `share` of the photons spread over two."""
    photons = random.poisson(mean * random.exponential(1.0, pixels) if slope else mean, pixels)
    adu = gain * photons + noise * random.standard_normal(pixels)
    spread = random.random(pixels) < share
    adu[spread] += gain * random.random(spread.sum())
    counts, _ = np.histogram(adu / noise, BINS, (LOWEST, HIGHEST))
    return counts


@pytest.mark.parametrize("gain", [8.0, 9.0, 20.0, 130.0])
@pytest.mark.parametrize("mean", [0.02, 0.15, 1.0])
def test_gain_of_photons(gain, mean):
    found = find_gain(histogram(np.random.default_rng(0), gain, mean=mean), 1.6)
    assert found.gain == pytest.approx(gain, abs=max(4.0 * found.error, 0.01 * gain))
    assert found.error < 0.02 * gain
    assert found.significance > 6.0


def test_gain_of_photons_that_spread():
    counts = histogram(np.random.default_rng(1), 8.0, share=0.05)
    found = find_gain(counts, 1.6)
    assert found.gain == pytest.approx(8.0, rel=0.03)
    assert found.doubled


def test_no_gain_without_photons_or_with_too_much_noise():
    random = np.random.default_rng(2)
    assert find_gain(histogram(random, 8.0, mean=0.0), 1.6) is None
    assert find_gain(histogram(random, 3.0), 1.6) is None
    assert find_gain(np.zeros(BINS, int), 1.6) is None


def test_bins():
    assert HIGHEST == LOWEST + BINS * BIN
