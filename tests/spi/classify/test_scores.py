"""Precision, recall, confusion and calibration against counts by hand."""

import numpy as np
import pytest

from hpdp_dask.spi.classify.scores import confusion, reliability, score

#: Three of class 0, two of class 1.
TRUTH = np.array([0, 0, 0, 1, 1])
GIVEN = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9], [0.6, 0.4]])


def test_without_a_threshold_all_are_accepted() -> None:
    found = score(GIVEN, TRUTH, 0.0)
    np.testing.assert_allclose(found.precision, [2 / 3, 1 / 2])
    np.testing.assert_allclose(found.recall, [2 / 3, 1 / 2])
    assert found.accuracy == 3 / 5
    assert found.accepted == 1.0
    np.testing.assert_array_equal(confusion(GIVEN, TRUTH, 0.0), [[2, 1, 0], [1, 1, 0]])


def test_what_is_rejected_is_missed_and_spoils_no_precision() -> None:
    found = score(GIVEN, TRUTH, 0.75)
    np.testing.assert_allclose(found.precision, [1.0, 1.0])
    np.testing.assert_allclose(found.recall, [2 / 3, 1 / 2])
    assert (found.mean_precision, found.accepted) == (1.0, 3 / 5)
    assert found.mean_recall == pytest.approx(7 / 12)
    np.testing.assert_array_equal(confusion(GIVEN, TRUTH, 0.75), [[2, 0, 1], [0, 1, 1]])


def test_a_class_that_nothing_is_given_has_no_precision() -> None:
    found = score(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), 0.0)
    np.testing.assert_allclose(found.precision, [0.5, np.nan])
    assert found.mean_precision == 0.25


def test_probabilities_that_come_true_are_reliable() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0.0, 1.0, 50_000)
    given = np.stack([first, 1.0 - first], axis=1)
    honest = reliability(given, (rng.uniform(size=50_000) > first).astype(int))
    np.testing.assert_allclose(honest.right, honest.stated, atol=0.03)
    assert honest.error < 0.01
    assert honest.number.sum() == 50_000
    always = reliability(given, np.argmin(given, axis=1))
    assert always.error == pytest.approx(always.number @ always.stated / 50_000)
