"""Probabilities of poses: normalised, as Bayes has them; the significant ones as by sorting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from hpdp_dask.numerics.likelihood import posterior_of, significant_poses


def make(seed=0, spread=5.0, shape=(6, 4, 9)):
    random = np.random.default_rng(seed)
    n, t, r = shape
    log_likelihoods = (1000 + spread * random.standard_normal(shape)).astype(np.float32)
    return log_likelihoods, random.normal(0, 2, (n, r)), random.normal(0, 2, (n, t))


@pytest.mark.parametrize("spread", [0.1, 5.0, 100.0])
def test_probabilities_are_those_of_float64(spread) -> None:
    values, on_references, on_shifts = make(spread=spread)
    joint = values + on_shifts[:, :, None] + on_references[:, None, :].astype(float)
    evidence = logsumexp(joint, axis=(1, 2))
    expected = np.exp(joint - evidence[:, None, None])
    mean = (expected * values).sum(axis=(1, 2))
    after = posterior_of(values, on_references, on_shifts)
    assert after.responsibilities is values
    np.testing.assert_allclose(after.responsibilities, expected, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(after.responsibilities.sum(axis=(1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(after.log_evidence, evidence, atol=1e-3)
    np.testing.assert_allclose(after.expected_log_likelihood, mean, atol=3e-3)
    np.testing.assert_allclose(after.reference_probability, expected.sum(axis=1), atol=1e-3)
    np.testing.assert_allclose(after.shift_probability, expected.sum(axis=2), atol=1e-3)
    best = expected.reshape(6, -1).argmax(axis=1)
    np.testing.assert_array_equal(after.best_shift * 9 + after.best_reference, best)
    np.testing.assert_allclose(after.highest, expected.max(axis=(1, 2)), rtol=2e-3)
    number = 1 / (expected**2).sum(axis=(1, 2))
    np.testing.assert_allclose(after.effective_number, number, rtol=3e-3)


def test_what_is_alike_is_equally_probable_and_what_is_excluded_not_at_all() -> None:
    prior = np.zeros((1, 10))
    prior[0, 4:] = -np.inf
    after = posterior_of(np.full((3, 5, 10), 7.0, np.float32), prior, np.zeros((1, 5)))
    np.testing.assert_allclose(after.responsibilities[..., :4], 1 / 20, rtol=1e-6)
    assert not after.responsibilities[..., 4:].any()
    np.testing.assert_allclose(after.effective_number, 20, rtol=1e-5)
    np.testing.assert_allclose(after.log_evidence, 7 + np.log(20), rtol=1e-6)
    np.testing.assert_allclose(after.expected_log_likelihood, 7, rtol=1e-6)


def test_the_hopeless_is_exactly_zero() -> None:
    values = np.zeros((1, 1, 100), np.float32)
    values[0, 0] = -np.arange(100)
    after = posterior_of(values, np.zeros((1, 100)), np.zeros((1, 1)))
    assert np.count_nonzero(after.responsibilities) == 40
    assert (after.responsibilities >= 0).all()


def test_an_image_without_any_possible_pose_is_refused() -> None:
    values, _, _ = make()
    with pytest.raises(ValueError, match="no pose"):
        posterior_of(values, np.full((1, 9), -np.inf), np.zeros((1, 4)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), offset=st.floats(-500, 500), spread=st.floats(0, 50))
def test_constants_of_images_and_the_order_of_poses_do_not_matter(seed, offset, spread) -> None:
    values, on_references, on_shifts = make(seed, spread)
    expected = posterior_of(values.copy(), on_references, on_shifts).responsibilities
    order = np.random.default_rng(seed).permutation(9)
    moved = values[:, :, order] + np.float32(offset)
    found = posterior_of(moved, on_references[:, order], on_shifts).responsibilities
    np.testing.assert_allclose(found, expected[:, :, order], atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    spread=st.floats(0.1, 40),
    fraction=st.sampled_from([0.5, 0.9, 0.999, 1.0]),
)
def test_the_significant_poses_are_those_of_a_sort(seed, spread, fraction) -> None:
    values, on_references, on_shifts = make(seed, spread, (5, 3, 40))
    after = posterior_of(values, on_references, on_shifts)
    found = significant_poses(after.responsibilities, fraction)
    for n, row in enumerate(after.responsibilities.reshape(5, -1).astype(float)):
        order = np.argsort(-row, kind="stable")
        enough = np.flatnonzero(np.cumsum(row[order]) >= fraction)
        last = enough[0] if len(enough) else len(row) - 1
        wanted = np.flatnonzero((row >= row[order[last]]) & (row > 0))
        mine = found.image == n
        poses = found.shift[mine] * 40 + found.reference[mine]
        np.testing.assert_array_equal(np.sort(poses), wanted)
        np.testing.assert_array_equal(found.probability[mine], row[poses].astype(np.float32))
    assert (np.diff(found.image) >= 0).all()


def test_ties_are_kept_together() -> None:
    found = significant_poses(np.full((2, 5, 10), 1 / 50, np.float32), 0.5)
    assert len(found.image) == 100


def test_one_certain_pose_is_enough() -> None:
    certain = np.zeros((4, 5, 10), np.float32)
    certain[np.arange(4), 2, [1, 3, 5, 7]] = 1.0
    found = significant_poses(certain)
    np.testing.assert_array_equal(found.image, np.arange(4))
    np.testing.assert_array_equal(found.shift, 2)
    np.testing.assert_array_equal(found.reference, [1, 3, 5, 7])
