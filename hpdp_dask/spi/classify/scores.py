"""How good a classifier is: confusion, precision and recall, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Precision and recall of a classifier that may reject.

    Attributes
    ----------
    precision : (k,) ndarray
        Of the frames that were given a class and accepted, the share that are of it; NaN where
        none was.
    recall : (k,) ndarray
        Of the frames of a class, the share that were given it and accepted: the rejected are
        missed.
    accuracy : float
        Share of all frames whose likeliest class is right, accepted or not.
    accepted : float
        Share of all frames.
    """

    precision: np.ndarray
    recall: np.ndarray
    accuracy: float
    accepted: float

    @property
    def mean_precision(self) -> float:
        """The mean over the classes; one that no frame was given counts as 0."""
        return float(np.nan_to_num(self.precision).mean())

    @property
    def mean_recall(self) -> float:
        """The mean over the classes."""
        return float(self.recall.mean())


def score(probabilities: np.ndarray, indices: np.ndarray, threshold: float) -> Scores:
    """Score probabilities of frames whose class is known.

    Parameters
    ----------
    probabilities : (n, k) ndarray
    indices : (n,) ndarray of int
        The true classes.
    threshold : float
        A frame is accepted if its likeliest class has this probability or more.

    Returns
    -------
    Scores
    """
    matrix = confusion(probabilities, indices, threshold)
    right, given = np.diag(matrix[:, :-1]), matrix[:, :-1].sum(axis=0)
    return Scores(
        precision=np.divide(right, given, out=np.full(len(right), np.nan), where=given > 0),
        recall=right / np.maximum(matrix.sum(axis=1), 1),
        accuracy=float(np.mean(np.argmax(probabilities, axis=1) == indices)),
        accepted=float(given.sum() / len(indices)),
    )


def confusion(probabilities: np.ndarray, indices: np.ndarray, threshold: float) -> np.ndarray:
    """Count frames by their class and the one they were given, (k, k + 1); the last: rejected."""
    classes = probabilities.shape[1]
    given = np.argmax(probabilities, axis=1)
    given = np.where(np.max(probabilities, axis=1) >= threshold, given, classes)
    matrix = np.zeros((classes, classes + 1), np.int64)
    np.add.at(matrix, (indices, given), 1)
    return matrix


@dataclass(frozen=True)
class Reliability:
    """What becomes of probabilities: frames in bins of the probability of their class.

    Attributes
    ----------
    stated : (b,) ndarray
        Mean probability of the likeliest class.
    right : (b,) ndarray
        Share of the frames for which it was right.
    number : (b,) ndarray of int
        Frames.
    error : float
        Mean difference of the two, each bin by its frames (expected calibration error).
    """

    stated: np.ndarray
    right: np.ndarray
    number: np.ndarray
    error: float


def reliability(probabilities: np.ndarray, indices: np.ndarray, bins: int = 10) -> Reliability:
    """Compare the probabilities of frames whose class is known with how often they were right.

    Parameters
    ----------
    probabilities : (n, k) ndarray
    indices : (n,) ndarray of int
        The true classes.
    bins : int, optional
        Of equal width, from the least probability to 1.

    Returns
    -------
    Reliability
    """
    stated = np.max(probabilities, axis=1)
    right = np.argmax(probabilities, axis=1) == indices
    low = float(stated.min())
    which = np.minimum((stated - low) / max(1.0 - low, 1e-9) * bins, bins - 1).astype(np.int64)
    number = np.bincount(which, minlength=bins)
    means = [
        np.bincount(which, weights=values, minlength=bins) / np.maximum(number, 1)
        for values in (stated, right.astype(float))
    ]
    used = number > 0
    error = float(np.sum(number * np.abs(means[0] - means[1])) / len(stated))
    return Reliability(means[0][used], means[1][used], number[used], error)
