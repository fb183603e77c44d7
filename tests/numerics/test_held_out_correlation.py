"""Correlations that are found in some rows and told by others."""

import numpy as np
import pytest

from hpdp_dask.numerics.canonical import canonical_pairs
from hpdp_dask.numerics.held_out_correlation import held_out_correlations


def test_what_is_in_common_is_told_and_noise_is_not():
    random = np.random.default_rng(3)
    common = random.standard_normal((4000, 2))
    # two sets of variables that know the common ones with noise, each in a frame of its own
    noisy = [
        np.c_[common * (1.0, 0.4) + 0.5 * random.standard_normal(common.shape), random.random(4000)]
        @ random.standard_normal((3, 3))
        + 7.0
        for _ in range(2)
    ]
    found = held_out_correlations(*noisy)
    expected = np.array([1.0, 0.16]) / (np.array([1.0, 0.16]) + 0.25)
    np.testing.assert_allclose(found[:2], expected, atol=0.04)
    assert abs(found[2]) < 0.05


def test_few_rows_of_noise_correlate_only_where_they_were_looked_at():
    random = np.random.default_rng(4)
    found = [
        (canonical_pairs(a, b).correlations[0], held_out_correlations(a, b)[0])
        for a, b in random.standard_normal((20, 2, 60, 6))
    ]
    looked_at, held_out = np.mean(found, axis=0)
    assert looked_at > 0.4
    assert abs(held_out) < 0.1


def test_variables_that_follow_from_others():
    random = np.random.default_rng(5)
    one = random.standard_normal((200, 1))
    assert held_out_correlations(np.c_[one, 2.0 * one, np.ones(200)], one) == pytest.approx(1.0)
    assert held_out_correlations(np.ones((200, 2)), one) == pytest.approx(0.0, abs=0.2)
