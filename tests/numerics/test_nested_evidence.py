"""Evidence of directions and weights of images, against normal distributions written out."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from hpdp_dask.numerics.nested_evidence import (
    correlate,
    distance_of_halves,
    nested_gains,
    weights_of,
)


def complex_normal(random, *shape):
    """Noise whose samples have the variance 1."""
    parts = random.standard_normal((*shape, 2)) / np.sqrt(2.0)
    return (parts[..., 0] + 1j * parts[..., 1]).astype(np.complex64)


def drawn(random, images, basis, share=1.0):
    """Images that vary along directions, with noise."""
    weights = random.standard_normal((images, basis.shape[1]))
    varied = share * np.einsum("nq,nqm->nm", weights, basis)
    return weights, (varied + complex_normal(random, *varied.shape)).astype(np.complex64)


def test_gains_are_differences_of_normal_densities():
    random = np.random.default_rng(1)
    basis = 0.5 * complex_normal(random, 3, 4, 9)
    _, seen = drawn(random, 3, basis)
    found = nested_gains(*correlate(seen, basis))
    given = nested_gains(*correlate(seen, basis), known=1)
    np.testing.assert_allclose(given, found[:, 1:])
    for image in range(3):
        real = seen[image].view(np.float32).astype(float)
        flat = basis[image].view(np.float32).astype(float)
        before = None
        for k in range(5):
            covariance = 0.5 * np.eye(18) + flat[:k].T @ flat[:k]
            logarithm = multivariate_normal(np.zeros(18), covariance).logpdf(real)
            if before is not None:
                assert found[image, k - 1] == pytest.approx(logarithm - before, abs=1e-4)
            before = logarithm


def test_what_is_not_there_costs_what_theory_says():
    """The expected gain of noise is (l / (1 + l) - log(1 + l)) / 2, l twice the power."""
    random = np.random.default_rng(2)
    direction = complex_normal(random, 1, 1, 40) * 0.15
    basis = np.repeat(direction, 20_000, axis=0)
    gains = nested_gains(*correlate(complex_normal(random, 20_000, 40), basis))[:, 0]
    power = 2.0 * float((np.abs(direction) ** 2).sum())
    expected = 0.5 * (power / (1 + power) - np.log1p(power))
    assert expected < 0
    error = gains.std() / np.sqrt(len(gains))
    assert abs(gains.mean() - expected) < 4 * error


def test_weights_and_their_widths():
    random = np.random.default_rng(3)
    basis = 0.4 * complex_normal(random, 4000, 3, 30)
    weights, seen = drawn(random, 4000, basis)
    products, projected = correlate(seen, basis)
    mean, covariance = weights_of(products, projected)
    spread = (mean - weights)[:, :, None] * (mean - weights)[:, None]
    np.testing.assert_allclose(spread.mean(0), covariance.mean(0), atol=0.01)
    partly, _ = weights_of(products, projected, known=2)
    np.testing.assert_allclose(partly, mean[:, 2:])
    halves = [correlate(seen[:, first::2], basis[:, :, first::2]) for first in (0, 1)]
    np.testing.assert_allclose(halves[0][0] + halves[1][0], products, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(halves[0][1] + halves[1][1], projected, rtol=1e-3, atol=1e-3)
    distance = distance_of_halves(*(weights_of(*half) for half in halves))
    assert distance.mean() == pytest.approx(1.0, abs=4 * distance.std() / np.sqrt(4000))
    # noise that is stronger than it is taken for
    louder = [weights_of(*correlate(1.5 * seen[:, k::2], basis[:, :, k::2])) for k in (0, 1)]
    assert distance_of_halves(*louder).mean() > 1.5
