"""The support vector machine: radial basis functions and calibrated probabilities.

scikit-learn fits; what it found is kept as plain arrays, from which decisions and probabilities
are computed again without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from hpdp_dask.spi.classify.space import Space, fit_space

#: Weight of a labelled frame on the wrong side of a margin.
PENALTY = 3.0

#: Folds of the calibration at most; fewer where a class has fewer labelled frames.
FOLDS = 10


@dataclass(frozen=True)
class SupportVectors:
    """Machines of one class against the others, and how sure their decisions are.

    Attributes
    ----------
    mean, matrix : ndarray
        Of the `Space` of the features.
    vectors : (m, d) ndarray
        Support vectors of all machines, in the space.
    weights : (m, j) ndarray
        Of each vector in each decision: one decision for each class, or one alone, for the
        second of two classes.
    offsets : (j,) ndarray
        Of the decisions.
    gamma : () ndarray
        Of the kernel exp(-gamma d²).
    slopes, shifts : (j,) ndarray
        Of each decision; the logarithm of its odds is slope decision + shift.
    """

    mean: np.ndarray
    matrix: np.ndarray
    vectors: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    gamma: np.ndarray
    slopes: np.ndarray
    shifts: np.ndarray

    def decisions(self, features: np.ndarray) -> np.ndarray:
        """Give how far (n, f) features are on a class's side of each margin, (n, j)."""
        places = Space(self.mean, self.matrix).project(features)
        squared = (
            np.sum(places**2, axis=1)[:, None]
            - 2.0 * (places @ self.vectors.T)
            + np.sum(self.vectors**2, axis=1)
        )
        return np.exp(-self.gamma * squared) @ self.weights + self.offsets

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Give the probability of each class for (n, f) features, (n, k)."""
        each = expit(self.slopes * self.decisions(features) + self.shifts)
        if each.shape[1] == 1:
            return np.hstack([1.0 - each, each])
        return np.asarray(each / each.sum(axis=1, keepdims=True))


def fit_support_vectors(
    features: np.ndarray, labelled: np.ndarray, indices: np.ndarray, seed: int
) -> SupportVectors:
    """Train support vector machines on the labelled frames of a set.

    Each class is held against all others. A decision becomes a probability by the sigmoid that
    fits those on frames that were held out (Platt 1999). His estimate of it is careful where
    there are few labels: then less is accepted, not more wrong.

    Parameters
    ----------
    features : (n, f) ndarray
        Of all frames; those without a label go into the space.
    labelled : (m,) ndarray of int
        Frames with a label.
    indices : (m,) ndarray of int
        Their classes, 0 to k - 1, two or more of each.
    seed : int

    Returns
    -------
    SupportVectors
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import SVC

    space = fit_space(features, seed)
    places = space.project(features[labelled])
    gamma = 1.0 / (places.shape[1] * max(places.var(), 1e-12))
    counts = np.bincount(indices)
    calibrated = CalibratedClassifierCV(
        OneVsRestClassifier(SVC(C=PENALTY, gamma=gamma)),
        method="sigmoid",
        cv=StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed),
        ensemble=False,
    ).fit(places, indices)
    fitted = calibrated.calibrated_classifiers_[0]
    machines = fitted.estimator.estimators_
    vectors, weights = _join(machines, places)
    return SupportVectors(
        mean=space.mean,
        matrix=space.matrix,
        vectors=vectors,
        weights=weights,
        offsets=np.array([machine.intercept_[0] for machine in machines]),
        gamma=np.asarray(gamma),
        slopes=np.array([-calibrator.a_ for calibrator in fitted.calibrators]),
        shifts=np.array([-calibrator.b_ for calibrator in fitted.calibrators]),
    )


def _join(machines: list, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the support vectors of all machines, each once, and their weights in each."""
    weights = np.zeros((len(places), len(machines)))
    for column, machine in enumerate(machines):
        weights[machine.support_, column] = machine.dual_coef_[0]
    used = np.flatnonzero(weights.any(axis=1))
    return places[used], weights[used]
