"""How good a method is on these frames: cross-validation, and how many labels suffice.

Every judgement is on labelled frames that the model was not trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.spi.classify.labelled import LEAST_LABELS, Labelled
from hpdp_dask.spi.classify.model import PICTURE_METHODS
from hpdp_dask.spi.classify.scores import Scores, score
from hpdp_dask.spi.classify.trainings import Training, judge_all

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Folds of the cross-validation at most, and how often it is repeated with others; networks take
#: a thousand times as long to train.
FOLDS, REPEATS = 5, 5
NETWORK_FOLDS, NETWORK_REPEATS = 3, 1

#: Sizes of training sets on the learning curve, how often each is drawn, and the part of the
#: labelled frames that judges.
SIZES, DRAWS = 8, 10
NETWORK_SIZES, NETWORK_DRAWS = 4, 1
JUDGING = 0.25

#: The part of the final precision that is as good as all of it.
ENOUGH = 0.99


@dataclass(frozen=True)
class Validation:
    """What a method says of labelled frames that it has not learnt from.

    Attributes
    ----------
    frames : (v,) ndarray of int
        Each labelled frame as often as it was held out.
    indices : (v,) ndarray of int
        True classes.
    probabilities : (v, k) ndarray
    folds, repeats : int
    """

    frames: np.ndarray
    indices: np.ndarray
    probabilities: np.ndarray
    folds: int
    repeats: int

    def score(self, threshold: float) -> Scores:
        """Score it, with frames below a threshold rejected."""
        return score(self.probabilities, self.indices, threshold)


@dataclass(frozen=True)
class LearningCurve:
    """What is reached with training sets of several sizes.

    Attributes
    ----------
    sizes : (s,) ndarray of int
        Labelled frames that were learnt from.
    precision, recall : (s,) ndarray
        Means over the classes.
    """

    sizes: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def enough(self) -> int:
        """The size from which on the precision stays above 99 % of the last."""
        short = np.flatnonzero(self.precision < ENOUGH * self.precision[-1])
        return int(self.sizes[short[-1] + 1 if len(short) else 0])


@dataclass(frozen=True)
class Quality:
    """How good a method is on frames that it has not learnt from, as far as labels tell.

    Attributes
    ----------
    validation : Validation or None
        None where a class has too few labels.
    curve : LearningCurve or None
        None where there are too few labels for one.
    lacking : str
        How many more labels of which classes a validation takes.
    """

    validation: Validation | None
    curve: LearningCurve | None
    lacking: str


def judge_quality(
    method: str,
    inputs: np.ndarray,
    labels: np.ndarray,
    labelled: Labelled,
    *,
    threshold: float,
    seed: int = 0,
    client: Client | None = None,
    progress: Progress | None = None,
) -> Quality:
    """Cross-validate a method and follow its learning, as far as there are labels.

    Parameters are those of `learning_curve`.

    Returns
    -------
    Quality
    """
    lacking = can_validate(labelled)
    if lacking:
        return Quality(None, None, lacking)
    known = method, inputs, labels, labelled
    validation = cross_validate(*known, seed=seed, client=client, progress=progress)
    curve = learning_curve(*known, threshold=threshold, seed=seed, client=client, progress=progress)
    return Quality(validation, curve, "")


def can_validate(labelled: Labelled) -> str:
    """Say what is missing for a cross-validation; nothing if it can be done."""
    lacking = {
        name: LEAST_LABELS + 1 - count
        for name, count in zip(labelled.classes, labelled.counts.tolist(), strict=True)
        if count <= LEAST_LABELS
    }
    return ", ".join(f"{count} more of {name}" for name, count in lacking.items())


def cross_validate(
    method: str,
    inputs: np.ndarray,
    labels: np.ndarray,
    labelled: Labelled,
    *,
    seed: int = 0,
    client: Client | None = None,
    progress: Progress | None = None,
) -> Validation:
    """Cross-validate a method, stratified and repeated.

    Parameters
    ----------
    method : str
    inputs : (n, ...) ndarray
        Features or pictures. Features of frames that are held out go into the space without
        their labels, as those of all frames do later.
    labels : (n,) ndarray of str
    labelled : Labelled
        Of the labels; three or more of each class (`can_validate`).
    seed : int, optional
    client : distributed.Client, optional
    progress : Progress, optional

    Returns
    -------
    Validation
    """
    slow = method in PICTURE_METHODS
    folds = min(NETWORK_FOLDS if slow else FOLDS, int(labelled.counts.min()))
    repeats = NETWORK_REPEATS if slow else REPEATS
    trainings = [
        Training(method, labelled.frames[learnt], labelled.frames[judged], seed)
        for repeat in range(repeats)
        for learnt, judged in _folds(labelled.indices, folds, seed + repeat)
    ]
    found = judge_all(trainings, inputs, labels, client=client, progress=progress)
    frames = np.concatenate([training.judged for training in trainings])
    indices = labelled.indices[np.searchsorted(labelled.frames, frames)]
    return Validation(frames, indices, np.concatenate(found), folds, repeats)


def learning_curve(
    method: str,
    inputs: np.ndarray,
    labels: np.ndarray,
    labelled: Labelled,
    *,
    threshold: float,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
    client: Client | None = None,
    progress: Progress | None = None,
) -> LearningCurve | None:
    """Learn from growing parts of the labelled frames, judged by a quarter that is held out.

    Parameters
    ----------
    threshold : float
        Frames below it are rejected.
    sizes : sequence of int, optional
        Of training sets; by default from three frames a class to all there are.
    others
        As for `cross_validate`.

    Returns
    -------
    LearningCurve or None
        None where there are too few labels for a curve.
    """
    slow = method in PICTURE_METHODS
    draws = NETWORK_DRAWS if slow else DRAWS
    orders = [_split(labelled.indices, seed + draw) for draw in range(draws)]
    if sizes is None:
        sizes = _sizes(labelled, len(orders[0][0]), NETWORK_SIZES if slow else SIZES)
    if len(sizes) < 3:
        return None
    trainings = [
        Training(method, labelled.frames[order[:size]], labelled.frames[judged], seed + draw)
        for size in sizes
        for draw, (order, judged) in enumerate(orders)
    ]
    found = judge_all(trainings, inputs, labels, client=client, progress=progress)
    indices = np.concatenate([labelled.indices[judged] for _, judged in orders])
    scores = [
        score(np.concatenate(found[place : place + draws]), indices, threshold)
        for place in range(0, len(found), draws)
    ]
    return LearningCurve(
        np.array(sizes),
        np.array([each.mean_precision for each in scores]),
        np.array([each.mean_recall for each in scores]),
    )


def _folds(indices: np.ndarray, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Divide labelled frames into folds that have all classes alike: what to learn, to judge."""
    rng = np.random.default_rng(seed)
    # the frames of each class one after the other, shuffled, are dealt out like cards
    order = rng.permutation(len(indices))
    order = order[np.argsort(indices[order], kind="stable")]
    fold = np.empty(len(indices), np.int64)
    fold[order] = np.arange(len(indices)) % folds
    for number in range(folds):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def _split(indices: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide labelled frames into those to learn from, in an order, and those to judge by.

    Any first part of the order has the classes in their shares, and as many of each as are needed.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount(indices)
    shuffled = rng.permutation(len(indices))
    rank = np.empty(len(indices), np.int64)
    for each in range(len(counts)):
        own = shuffled[indices[shuffled] == each]
        rank[own] = np.arange(len(own))
    share = (rank + 0.5) / counts[indices]
    judged = (share > 1.0 - JUDGING) & (rank >= LEAST_LABELS)
    first = np.where(rank < LEAST_LABELS, -1.0, share)
    order = np.lexsort((shuffled, first))
    return order[~judged[order]], np.flatnonzero(judged)


def _sizes(labelled: Labelled, most: int, number: int) -> list[int]:
    """Give sizes of training sets, from three a class to all there are."""
    least = (LEAST_LABELS + 1) * len(labelled.classes)
    if most < least:
        return []
    return np.unique(np.geomspace(least, most, number).round().astype(int)).tolist()
