"""Support vectors rebuilt from arrays decide as scikit-learn does."""

import time

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from hpdp_dask.spi.classify.space import Space, fit_space
from hpdp_dask.spi.classify.svm import FOLDS, PENALTY, fit_support_vectors


def blobs(classes: int, number: int, seed: int = 0, apart: float = 3.0, features: int = 12):
    """Make features of classes about random centres, and the class of each."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(0.0, apart, (classes, features))
    indices = np.arange(number) % classes
    return centers[indices] + rng.normal(0.0, 1.0, (number, features)), indices


@pytest.mark.parametrize("classes", [2, 4])
def test_probabilities_are_those_of_scikit_learn(classes: int) -> None:
    features, indices = blobs(classes, 160, apart=0.8)
    labelled = np.arange(80)
    found = fit_support_vectors(features, labelled, indices[labelled], seed=3)

    places = Space(found.mean, found.matrix).project(features)
    learnt, classes_learnt = places[labelled], indices[labelled]
    gamma = SVC(gamma="scale").fit(learnt, classes_learnt)._gamma
    assert found.gamma == pytest.approx(gamma)
    peer = CalibratedClassifierCV(
        OneVsRestClassifier(SVC(C=PENALTY, gamma=gamma)),
        method="sigmoid",
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=3),
        ensemble=False,
    ).fit(learnt, classes_learnt)
    expected = peer.predict_proba(places)
    np.testing.assert_allclose(found.probabilities(features), expected, atol=1e-7)


def test_space_is_standardised_and_keeps_distances() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(5.0, 2.0, (400, 6)) * np.array([1.0, 10.0, 0.1, 1.0, 1.0, 1.0])
    space = fit_space(features, seed=0)
    places = space.project(features)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    np.testing.assert_allclose(places.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(
        np.linalg.norm(places[:50] - places[50:100], axis=1),
        np.linalg.norm(standard[:50] - standard[50:100], axis=1),
        rtol=1e-6,
    )


def test_a_feature_that_never_varies_does_no_harm() -> None:
    features, indices = blobs(2, 40)
    features[:, 3] = 7.0
    found = fit_support_vectors(features, np.arange(20), indices[:20], seed=0)
    assert np.isfinite(found.probabilities(features)).all()


@pytest.mark.parametrize(("classes", "labels"), [(2, 4), (2, 10), (5, 10), (5, 40)])
def test_few_labels_suffice_where_classes_lie_apart(classes: int, labels: int) -> None:
    features, indices = blobs(classes, 400)
    found = fit_support_vectors(features, np.arange(labels), indices[:labels], seed=0)
    given = found.probabilities(features)
    np.testing.assert_allclose(given.sum(axis=1), 1.0)
    assert np.mean(np.argmax(given, axis=1) == indices) > 0.97


def test_a_frame_takes_less_than_a_tenth_of_a_millisecond() -> None:
    features, indices = blobs(4, 4000, apart=0.7, features=60)
    found = fit_support_vectors(features[:1000], np.arange(400), indices[:400], seed=0)
    found.probabilities(features[:10])
    start = time.process_time()
    found.probabilities(features)
    assert (time.process_time() - start) / len(features) < 1e-4
