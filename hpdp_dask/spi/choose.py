"""Which frames to label next: those that teach a classifier most.

At first the frames that stand for the most others, one of each part of the space of features;
once two classes can be told apart, those about which the classifier is least sure, spread over
that space, and with them some from parts where nobody has labelled anything.

References
----------
Lewis and Gale 1994, SIGIR, 3 (uncertainty); Settles 2009, Active Learning Literature Survey
(margins, density).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from hpdp_dask.errors import InputError

#: Frames among which is chosen, at most; more teach no more and take longer.
CANDIDATES = 20_000

#: Of those that are chosen, one in so many is from a part without labels.
_EXPLORED = 4

#: How many times the frames that are chosen are taken by their margin, to be spread.
_POOL = 5

#: Labelled frames that divide the space, at most.
_LANDMARKS = 60

#: Columns that say something of a frame where there are no features, with their scale.
_COLUMNS: Mapping[str, str] = {
    "lit_pixels": "log",
    "photon_count": "log",
    "particle_size": "log",
    "hit_score": "linear",
    "size_score": "linear",
}


def describe_by_columns(columns: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Make features of what else is known of frames: lit pixels, size, scores.

    Parameters
    ----------
    columns : mapping of str to (n,) ndarray

    Returns
    -------
    (n, c) ndarray of float64 or None
        None if nothing is known. What is not known of a frame is that of the median one.
    """
    found = []
    for name, scale in _COLUMNS.items():
        if name not in columns:
            continue
        values = np.asarray(columns[name], np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.log1p(np.maximum(values, 0.0)) if scale == "log" else values
        known = np.isfinite(values)
        if known.any():
            found.append(np.where(known, values, np.median(values[known])))
    return np.stack(found, axis=1) if found else None


def draw_candidates(frames: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw the frames among which is chosen, so that features of all need not be read.

    Parameters
    ----------
    frames : (n,) ndarray of int
        Frames that may be chosen, sorted.
    seed : int, optional

    Returns
    -------
    (m,) ndarray of int
        Sorted; all of them as long as they are not more than `CANDIDATES`.
    """
    if len(frames) <= CANDIDATES:
        return frames
    return np.sort(np.random.default_rng(seed).choice(frames, CANDIDATES, replace=False))


def choose_frames(
    features: np.ndarray | None,
    labels: np.ndarray,
    number: int,
    *,
    excluded: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Choose the frames that teach most, the most instructive first.

    Parameters
    ----------
    features : (n, f) ndarray or None
        Of all frames that may be chosen; rows that are not finite come last. Without any the
        choice is random.
    labels : (n,) ndarray of str
        Empty for a frame without a label.
    number : int
        How many to choose; fewer where fewer have no label.
    excluded : (n,) ndarray of bool, optional
        Not to be chosen, such as those that another person is looking at.
    seed : int, optional

    Returns
    -------
    (number,) ndarray of int
        Places in the arrays. The same for the same input.
    """
    labels = np.asarray(labels)
    free = labels == ""
    if excluded is not None:
        free &= ~excluded
    generator = np.random.default_rng(seed + int(np.count_nonzero(labels != "")))
    usable = free if features is None else free & np.isfinite(features).all(axis=1)
    last = generator.permutation(np.flatnonzero(free & ~usable))
    open_frames = generator.permutation(np.flatnonzero(usable))
    if (
        features is None
        or len(open_frames) <= number
        or np.all(features[usable] == features[open_frames[0]])
    ):
        return np.concatenate([open_frames, last])[:number]
    labelled = np.flatnonzero((labels != "") & np.isfinite(features).all(axis=1))
    among = np.concatenate([labelled, np.sort(open_frames)])
    chosen = _choose(features[among], labels[among], number, len(labelled), seed)
    return among[chosen]


def _choose(
    features: np.ndarray, labels: np.ndarray, number: int, labelled: int, seed: int
) -> np.ndarray:
    """Choose among finite features of which the first `labelled` have labels."""
    from hpdp_dask.spi.classify.space import fit_space

    places = fit_space(features, seed).project(features)
    margins = _margins(features, labels, labelled, seed)
    if margins is None:
        return _from_unknown_parts(places, labelled, number, seed)
    unknown = _from_unknown_parts(places, labelled, number // _EXPLORED, seed)
    nearest = np.argsort(margins, kind="stable") + labelled
    nearest = nearest[~np.isin(nearest, unknown)][: _POOL * number]
    unsure = _spread(places, nearest, number - len(unknown), seed)
    return _interleaved(unsure, unknown)


def _margins(
    features: np.ndarray, labels: np.ndarray, labelled: int, seed: int
) -> np.ndarray | None:
    """Give how sure a classifier is of each frame without a label; None if it cannot learn yet."""
    from hpdp_dask.spi.classify import train
    from hpdp_dask.spi.classify.labelled import LEAST_LABELS

    names, counts = np.unique(labels[:labelled], return_counts=True)
    learned = np.where(np.isin(labels, names[counts >= LEAST_LABELS]), labels, "")
    try:
        model = train(features, learned, method="svm-threshold", seed=seed)
    except InputError:  # one class alone
        return None
    sorted_ = np.sort(model.probabilities(features[labelled:]), axis=1)
    return np.asarray(sorted_[:, -1] - sorted_[:, -2])


def _from_unknown_parts(places: np.ndarray, labelled: int, number: int, seed: int) -> np.ndarray:
    """Divide the space and give the middle frame of each part without labels, largest first.

    The first `labelled` rows have labels.
    """
    if number <= 0:
        return np.empty(0, np.int64)
    parts = min(len(places), number + min(labelled, _LANDMARKS))
    which, centres = _divide(places, parts, seed)
    known = set(which[:labelled].tolist())
    sizes = np.bincount(which[labelled:], minlength=parts)
    order = [
        part
        for part in np.argsort(-sizes, kind="stable").tolist()
        if part not in known and sizes[part]
    ]
    chosen = [_middle(places, labelled, which, part, centres[part]) for part in order[:number]]
    if len(chosen) < number:
        # parts with labels too, the largest first, but not the same frames again
        left = np.setdiff1d(np.arange(labelled, len(places)), chosen)
        chosen += _spread(places, left, number - len(chosen), seed).tolist()
    return np.asarray(chosen, np.int64)


def _middle(
    places: np.ndarray, labelled: int, which: np.ndarray, part: int, centre: np.ndarray
) -> int:
    members = labelled + np.flatnonzero(which[labelled:] == part)
    return int(members[np.argmin(np.sum((places[members] - centre) ** 2, axis=1))])


def _spread(places: np.ndarray, ranked: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Choose among ranked frames: the first of each of `number` parts, in their order."""
    if len(ranked) <= number:
        return ranked
    which, _ = _divide(places[ranked], number, seed)
    _, firsts = np.unique(which, return_index=True)
    others = np.setdiff1d(np.arange(len(ranked)), firsts)[: number - len(firsts)]
    return ranked[np.sort(np.concatenate([firsts, others]))]


def _divide(places: np.ndarray, parts: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide a space by k-means; the part of each frame, and the centres."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    # the same for all numbers of threads, whose sums differ by their order
    rounded = np.round(places, 6)
    with warnings.catch_warnings():
        # fewer places than parts, where frames are the same; some parts are empty then
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(parts, n_init=1, max_iter=30, random_state=seed, copy_x=False).fit(rounded)
    return found.labels_, found.cluster_centers_


def _interleaved(unsure: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Put one from an unknown part after every few about which the classifier is unsure."""
    places = np.concatenate(
        [
            np.arange(len(unsure), dtype=np.float64),
            (np.arange(len(unknown)) + 0.9) * (_EXPLORED - 1),
        ]
    )
    return np.concatenate([unsure, unknown])[np.argsort(places, kind="stable")]
