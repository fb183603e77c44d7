"""How good a network's answers are, by shots of which the truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

#: 1/d is called right within this, 1/Å (as the program resonet does).
RIGHT = 0.07


def score(
    outputs: Mapping[str, np.ndarray], truths: Mapping[str, np.ndarray], tasks: Sequence[str]
) -> dict[str, float]:
    """Compare answers with the truth.

    Parameters
    ----------
    outputs : mapping
        By the names of `networks.Outputs`, (n,) each.
    truths : mapping
        `true_hit`, `true_resolution`, `true_lattices`.
    tasks : sequence of str
        Of `model_file.TASKS`.

    Returns
    -------
    dict
        For resolution, on hits: Pearson's correlation of 1/d, mean distance (1/Å), share within
        `RIGHT`; for lattices, on hits, and for hit: accuracy at probability 0.5 and the area under
        the receiver operating characteristic.
    """
    hit = truths["true_hit"] == 1
    found: dict[str, float] = {}
    if "resolution" in tasks:
        truth = 1.0 / truths["true_resolution"][hit]
        given = outputs["inverse_resolution"][hit]
        distance = np.abs(given - truth)
        found["resolution_pearson"] = pearson(given, truth)
        found["resolution_distance"] = float(distance.mean())
        found["resolution_right"] = float((distance < RIGHT).mean())
    if "lattices" in tasks:
        several = truths["true_lattices"][hit] > 1
        logit = outputs["several_lattices"][hit]
        found["lattices_accuracy"] = float(((logit > 0) == several).mean())
        found["lattices_area"] = area_under_curve(logit, several)
    if "hit" in tasks:
        found["hit_accuracy"] = float(((outputs["hit"] > 0) == hit).mean())
        found["hit_area"] = area_under_curve(outputs["hit"], hit)
    return found


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Give Pearson's correlation; NaN where one does not vary."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    length = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / length) if length > 0 else float("nan")


def area_under_curve(score: np.ndarray, truth: np.ndarray) -> float:
    """Give the probability that a true one scores higher than a false one; NaN without both."""
    from scipy.stats import rankdata

    number, others = int(truth.sum()), int((~truth).sum())
    if not number or not others:
        return float("nan")
    above = rankdata(score)[truth].sum() - number * (number + 1) / 2
    return float(above / (number * others))
