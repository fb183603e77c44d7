"""Canonical correlations against what the construction makes them."""

import numpy as np
import pytest

from hpdp_dask.numerics.canonical import canonical_pairs, chance_correlations


def test_known_correlations_in_any_coordinates():
    random = np.random.default_rng(1)
    true = np.array([0.9, 0.5, 0.0])
    shared = random.standard_normal((40_000, 3))
    noise = random.standard_normal((2, 40_000, 3))
    first, second = (np.sqrt(true) * shared + np.sqrt(1 - true) * each for each in noise)
    turned = first @ random.standard_normal((3, 3)) + 5.0
    # a variable that follows from others, and one that is constant
    more = np.concatenate([second, second[:, :1] - second[:, 1:2], np.ones((40_000, 1))], axis=1)
    found = canonical_pairs(turned, more)
    np.testing.assert_allclose(found.correlations, true, atol=0.02)
    together = found.first.T @ found.second / 40_000
    np.testing.assert_allclose(together, np.diag(found.correlations), atol=1e-6)
    np.testing.assert_allclose(found.first.T @ found.first / 40_000, np.eye(3), atol=1e-6)
    assert abs(np.corrcoef(found.first[:, 0], first[:, 0])[0, 1]) > 0.99


def test_chance_is_that_of_unrelated_variables():
    random = np.random.default_rng(2)
    first = random.standard_normal((500, 3))
    chance = chance_correlations(first, first + 0.1, 200, seed=3)
    unrelated = [
        canonical_pairs(first, random.standard_normal((500, 3))).correlations[0] for _ in range(200)
    ]
    assert np.quantile(chance, 0.5) == pytest.approx(np.quantile(unrelated, 0.5), rel=0.1)
    np.testing.assert_array_equal(chance, chance_correlations(first, first + 0.1, 200, seed=3))
