"""How good a classifier is that learns from the labels there are: a running estimate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Labelled frames of a class from which on it counts, and folds of the estimate at most.
LEAST_OF_A_CLASS = 4
_FOLDS = 5

#: Frames without a label that help to find the space in a cross-validation.
_HELPERS = 1000


@dataclass(frozen=True)
class Estimate:
    """What a classifier does that is trained on the labels.

    Attributes
    ----------
    labelled : int
        Frames it is trained on.
    accepted : float
        Share of the frames without a label that reach the threshold.
    precision : float
        Of the labelled frames that would be accepted, the share whose class would be right; NaN
        if there are none.
    interval : tuple of float
        In which the precision is with 95 % probability, by the number of frames alone (Wilson
        1927, J. Am. Stat. Assoc. 22, 209).
    """

    labelled: int
    accepted: float
    precision: float
    interval: tuple[float, float]


def missing_labels(labels: np.ndarray, classes: tuple[str, ...] = ()) -> dict[str, int]:
    """Tell how many more labels an estimate needs.

    Parameters
    ----------
    labels : (n,) ndarray of str
    classes : tuple of str, optional
        Those that are expected; others count too.

    Returns
    -------
    dict of str to int
        Frames of each class; empty if two classes have enough.
    """
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    found = dict.fromkeys(classes, 0) | dict(zip(names.tolist(), counts.tolist(), strict=True))
    if len(found) < 2:
        found["of another class"] = 0
    lacking = {name: LEAST_OF_A_CLASS - count for name, count in found.items()}
    if sum(more <= 0 for more in lacking.values()) >= 2:
        return {}
    # the two that are nearest to enough
    nearest = sorted(lacking, key=lambda name: lacking[name])[:2]
    return {name: lacking[name] for name in nearest if lacking[name] > 0}


def estimate(
    features: np.ndarray, labels: np.ndarray, *, threshold: float = 0.75, seed: int = 0
) -> Estimate | None:
    """Estimate precision and accepted share of `svm-threshold` with the labels there are.

    The precision is by cross-validation: each labelled frame is judged by a classifier that did
    not see it. Frames of classes with fewer than four labels are judged too, and are wrong where
    they are accepted. Frames that were chosen since they are hard make it lower than it will be
    for all frames.

    Parameters
    ----------
    features : (n, f) ndarray
    labels : (n,) ndarray of str
        Empty for a frame without a label.
    threshold : float, optional
        Probability from which on a frame is accepted.
    seed : int, optional

    Returns
    -------
    Estimate or None
        None while there are too few labels (`missing_labels`).
    """
    from hpdp_dask.spi.classify import train

    usable = np.isfinite(features).all(axis=1)
    labels = np.where(usable, labels, "")
    if missing_labels(labels):
        return None
    labelled, others = np.flatnonzero(labels != ""), np.flatnonzero(usable & (labels == ""))
    judged = _judge(features, labels, labelled, others, threshold, seed)
    given = labels[labelled]
    accepted, right = int(np.sum(judged != "")), int(np.sum(judged == given))
    share = accepted / len(labelled)
    if len(others):
        enough = np.isin(given, _common(given))
        rows = np.concatenate([labelled[enough], others])
        learned = np.concatenate([given[enough], np.full(len(others), "")])
        model = train(
            features[rows], learned, method="svm-threshold", threshold=threshold, seed=seed
        )
        share = float(np.mean(model.predict(features[others])[0] != ""))
    return Estimate(
        labelled=len(labelled),
        accepted=share,
        precision=right / accepted if accepted else float("nan"),
        interval=_wilson(right, accepted),
    )


def _judge(
    features: np.ndarray,
    labels: np.ndarray,
    labelled: np.ndarray,
    others: np.ndarray,
    threshold: float,
    seed: int,
) -> np.ndarray:
    """Give each labelled frame the class that it would have; empty where it is rejected."""
    from sklearn.model_selection import StratifiedKFold

    from hpdp_dask.spi.classify import train

    helpers = np.random.default_rng(seed).permutation(others)[:_HELPERS]
    given = labels[labelled]
    enough = np.isin(given, _common(given))
    common, rare = labelled[enough], labelled[~enough]
    _, counts = np.unique(labels[common], return_counts=True)
    folds = min(_FOLDS, int(counts.min()))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    found = np.full(len(labels), "", dtype=labels.dtype)
    for fold, (learned, held_out) in enumerate(split.split(common, labels[common])):
        rows = np.concatenate([common[learned], helpers])
        known = np.concatenate([labels[common[learned]], np.full(len(helpers), "")])
        model = train(features[rows], known, method="svm-threshold", threshold=threshold, seed=seed)
        judged = np.concatenate([common[held_out], rare[fold::folds]])
        found[judged] = model.predict(features[judged])[0]
    return found[labelled]


def _common(given: np.ndarray) -> np.ndarray:
    """Name the classes with enough labels."""
    names, counts = np.unique(given, return_counts=True)
    return names[counts >= LEAST_OF_A_CLASS]


def _wilson(right: int, number: int, deviations: float = 1.96) -> tuple[float, float]:
    """Give the interval in which a share is, with 95 % probability."""
    if number == 0:
        return 0.0, 1.0
    share, squared = right / number, deviations**2 / number
    middle = (share + squared / 2) / (1 + squared)
    half = deviations * np.sqrt(share * (1 - share) / number + squared / number / 4) / (1 + squared)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))
