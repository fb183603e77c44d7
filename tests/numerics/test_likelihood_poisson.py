"""The Poisson likelihood, against SciPy's distribution, and what EMC does with it."""

import numpy as np
import pytest
from scipy.stats import poisson

from hpdp_dask.numerics.likelihood import PoissonImages, posterior_of


def make(number=40, references=5, pixels=300, photons=200.0, seed=0):
    random = np.random.default_rng(seed)
    intensities = random.gamma(2.0, 0.5, (references, pixels)) * photons / pixels
    fluence = random.gamma(4.0, 0.25, number)
    shown = random.integers(0, references, number)
    counts = random.poisson(fluence[:, None] * intensities[shown]).astype(np.float32)
    return PoissonImages(counts, fluence, intensities.mean(axis=0)), intensities, shown


@pytest.mark.parametrize("baseline", ["mean", "flat"])
def test_match_and_baseline_give_the_log_likelihood_of_scipy(baseline) -> None:
    frames, intensities, shown = make()
    if baseline == "flat":
        frames = PoissonImages(frames.counts, frames.fluence, np.full(300, 0.3))
    expected = poisson.logpmf(
        frames.counts[:, None], frames.fluence[:, None, None] * intensities
    ).sum(axis=2)
    ratios = frames.match(intensities)
    assert ratios.shape == (40, 1, 5)
    assert ratios.dtype == np.float32
    found = frames.baseline_log_likelihood()[:, None] + ratios[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    wanted = expected - expected[:, :1]
    np.testing.assert_allclose(
        ratios[:, 0] - ratios[:, 0, :1], wanted, rtol=1e-4, atol=1e-4 * wanted.std()
    )
    np.testing.assert_array_equal(ratios[:, 0].argmax(axis=1), shown)


def test_a_photon_where_none_can_be_makes_a_reference_hopeless() -> None:
    frames = PoissonImages(np.ones((1, 2), np.float32), np.ones(1), np.ones(2))
    ratios = frames.match(np.array([[1.0, 1.0], [2.0, 0.0]]))[0, 0]
    assert np.isfinite(ratios).all()
    assert ratios[1] < -40


def test_compression_gives_intensities_and_fluences_back() -> None:
    frames, intensities, shown = make(number=4000, pixels=100)
    after = posterior_of(frames.match(intensities), np.zeros((1, 5)), np.zeros((1, 1)))
    sums = frames.compress(after, intensities)
    for r in range(5):
        mine = after.reference_probability[:, r].astype(float)
        np.testing.assert_allclose(sums.signal[r], mine @ frames.counts, rtol=1e-4)
        assert sums.weight[r, 0] == pytest.approx(mine @ frames.fluence, rel=1e-4)
    error = np.sqrt(intensities / sums.weight)
    assert np.abs((sums.signal / sums.weight - intensities) / error).max() < 5
    expected = frames.fluence * intensities[shown].sum(axis=1)
    sure = after.highest > 0.999
    np.testing.assert_allclose(sums.scale_power[sure], expected[sure], rtol=5e-3)
    assert sums.scale_product.sum() / sums.scale_power.sum() == pytest.approx(1.0, abs=0.01)


def test_a_baseline_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        PoissonImages(np.ones((1, 2), np.float32), np.ones(1), np.array([1.0, 0.0]))
