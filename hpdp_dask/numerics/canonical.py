"""Which combinations of two sets of variables go together: canonical correlations.

Hotelling 1936, Biometrika 28, 321; by QR and singular values (Björck & Golub 1973, Math. Comp.
27, 579).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CanonicalPairs:
    """The combinations of two sets of variables that correlate most.

    Attributes
    ----------
    correlations : (k,) ndarray of float64
        Descending; k is the smaller number of variables.
    first, second : (n, k) ndarray of float64
        The combinations: the mean is 0, the variance 1.
    """

    correlations: np.ndarray
    first: np.ndarray
    second: np.ndarray


def canonical_pairs(first: np.ndarray, second: np.ndarray) -> CanonicalPairs:
    """Find the combinations of two sets of variables that correlate most.

    Parameters
    ----------
    first, second : (n, p), (n, q) ndarray
        Of the same n; variables that are constant, or follow from others, are of no harm.

    Returns
    -------
    CanonicalPairs
    """
    mine, other = _orthonormal(first), _orthonormal(second)
    left, correlations, right = np.linalg.svd(mine.T @ other, full_matrices=False)
    length = np.sqrt(len(first))
    return CanonicalPairs(
        np.minimum(correlations, 1.0), length * mine @ left, length * other @ right.T
    )


def chance_correlations(first: np.ndarray, second: np.ndarray, times: int, seed: int) -> np.ndarray:
    """Give the largest canonical correlations of rows that do not belong together.

    Parameters
    ----------
    first, second : (n, p), (n, q) ndarray
    times : int
        How often the rows are put in another order.
    seed : int

    Returns
    -------
    (times,) ndarray of float64
        The distribution of the largest if there is no relation (Good 2005, *Permutation,
        Parametric, and Bootstrap Tests of Hypotheses*).
    """
    mine, other = _orthonormal(first), _orthonormal(second)
    random = np.random.default_rng(seed)
    largest = [
        np.linalg.norm(mine.T @ other[random.permutation(len(other))], 2) for _ in range(times)
    ]
    return np.array(largest)


def _orthonormal(variables: np.ndarray) -> np.ndarray:
    """Give combinations of variables that are orthonormal, (n, rank)."""
    centred = variables.astype(np.float64) - variables.mean(0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    rank = int((sizes > 1e-10 * max(float(sizes[0]), 1e-300)).sum())
    return np.asarray(left[:, : max(1, rank)])
