"""Orders in which the label page shows frames, and filters that leave some out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

#: Orders by a column: what it is called, its name, and whether the largest come first.
_SCORES: Mapping[str, tuple[str, str, bool]] = {
    "lit": ("Most lit pixels", "lit_pixels", True),
    "hit": ("Highest hit score", "hit_score", True),
    "lambda": ("Highest lambda score", "lambda_score", True),
    "largest": ("Largest particles", "particle_size", True),
    "smallest": ("Smallest particles", "particle_size", False),
    "fit": ("Best fit of the size", "size_score", True),
    "unsure": ("Least certain prediction", "label_probability", False),
}

#: Hits that make it worth while to begin with hits alone.
_ENOUGH_HITS = 100

Columns = Mapping[str, np.ndarray]


def name_orders(columns: Columns) -> dict[str, str]:
    """Name the orders that there are, by their keys.

    Parameters
    ----------
    columns : mapping of str to (n,) ndarray
        What is known of the frames.
    """
    scores = {key: title for key, (title, name, _) in _SCORES.items() if name in columns}
    return {
        "instructive": "Most instructive first",
        "random": "Random",
        "stored": "As they were taken",
        **scores,
        "review": "Labelled, the last first",
    }


def name_filters(columns: Columns, classes: Sequence[str]) -> dict[str, str]:
    """Name the filters that there are, by their keys.

    Parameters
    ----------
    columns : mapping of str to (n,) ndarray
    classes : sequence of str
        That frames may be labelled.
    """
    given = {f"given:{name}": f"Labelled {name}" for name in classes}
    predicted = {}
    if "label" in columns and np.asarray(columns["label"]).dtype.kind == "U":
        names = [str(name) for name in np.unique(columns["label"]) if name]
        predicted = {f"predicted:{name}": f"Predicted {name}" for name in names}
    hits = {"hit": "Hits"} if "hit" in columns else {}
    return {"": "All frames", "open": "Without a label", **hits, **given, **predicted}


def first_filter(columns: Columns) -> str:
    """Give the key of the filter to begin with: hits, where so many were found that they teach."""
    return "hit" if np.sum(columns.get("hit", 0)) >= _ENOUGH_HITS else ""


def passing(only: str, columns: Columns, labels: np.ndarray) -> np.ndarray:
    """Tell which frames pass a filter.

    Parameters
    ----------
    only : str
        A key of `name_filters`.
    columns : mapping of str to (n,) ndarray
    labels : (n,) ndarray of str

    Returns
    -------
    (n,) ndarray of bool
    """
    kind, _, name = only.partition(":")
    if kind == "open":
        return labels == ""
    if kind == "given":
        return labels == name
    if kind == "hit":
        return np.asarray(columns["hit"])[: len(labels)] == 1
    if kind == "predicted":
        return np.asarray(columns["label"])[: len(labels)] == name
    return np.ones(len(labels), bool)


def arrange(order: str, frames: np.ndarray, columns: Columns, seed: int) -> np.ndarray:
    """Put frames in an order that does not depend on labels.

    Parameters
    ----------
    order : str
        A key of `name_orders`.
    frames : (m,) ndarray of int
        Sorted.
    columns : mapping of str to (n,) ndarray
    seed : int
        Of the random order; a frame that a filter leaves out moves no other.

    Returns
    -------
    (m,) ndarray of int
    """
    if order == "random" and len(frames):
        drawn = np.random.default_rng(seed).random(int(frames[-1]) + 1)
        return frames[np.argsort(drawn[frames], kind="stable")]
    if order in _SCORES:
        _, name, largest_first = _SCORES[order]
        values = np.asarray(columns[name], np.float64)[frames]
        values = np.where(np.isnan(values), np.inf, -values if largest_first else values)
        return frames[np.argsort(values, kind="stable")]
    return frames
