"""Some samples of each image's transform, chosen by chance so that sums over all can be told."""

from __future__ import annotations

import numpy as np


def inclusion_probabilities(worth: np.ndarray, number: int, evenly: float) -> np.ndarray:
    """Give the probabilities with which samples are chosen.

    Parameters
    ----------
    worth : (n, m) ndarray
        What samples are worth, from 0; not all 0.
    number : int
        How many are chosen of the m, at most m.
    evenly : float
        Share of the choice that goes to all samples alike, above 0.

    Returns
    -------
    (n, m) ndarray of float64
        At most 1; each row sums to `number`.
    """
    samples = worth.shape[1]
    shares = evenly / samples + (1.0 - evenly) * worth / worth.sum(1, keepdims=True)
    chances = number * np.asarray(shares, dtype=np.float64)
    # what is above 1 is certain, and its excess goes to the others
    for _ in range(50):
        certain = chances >= 1.0
        over = number - np.minimum(chances, 1.0).sum(1)
        if (over < 1e-9 * number).all():
            break
        rest = np.where(certain, 0.0, chances)
        grow = 1.0 + over / np.maximum(rest.sum(1), 1e-300)
        chances = np.where(certain, 1.0, chances * grow[:, None])
    return np.minimum(chances, 1.0)


def choose(chances: np.ndarray, number: int, starts: np.ndarray) -> np.ndarray:
    """Choose samples by systematic sampling: evenly along the order of samples.

    Parameters
    ----------
    chances : (n, m) ndarray
        Of `inclusion_probabilities`.
    number : int
    starts : (n,) ndarray
        Drawn evenly from 0 to 1.

    Returns
    -------
    (n, number) ndarray of int64
        Ascending; none twice.

    References
    ----------
    Madow 1949, Ann. Math. Stat. 20, 333.
    """
    sums = np.cumsum(chances, axis=1)
    sums *= number / sums[:, -1:]
    steps = np.arange(number)
    found = np.empty((len(chances), number), np.int64)
    for row, (each, start) in enumerate(zip(sums, starts, strict=True)):
        found[row] = np.searchsorted(each, start + steps, side="right")
    return np.minimum(found, chances.shape[1] - 1)
