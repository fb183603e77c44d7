"""What two sets of variables have in common, found in some of the rows and told by the others."""

from __future__ import annotations

import numpy as np

from hpdp_dask.numerics.canonical import canonical_pairs


def held_out_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Give canonical correlations that are not too large by having been looked for.

    Combinations that correlate most are found in every second row, and correlated in the others;
    then the other way round (cross-validation; Stone 1974, J. R. Stat. Soc. B 36, 111).

    Parameters
    ----------
    first, second : (n, p), (n, q) ndarray
        Of the same n.

    Returns
    -------
    (k,) ndarray of float64
        Mean of both ways, in the order in which combinations were found; about 0 where there is
        nothing in common, then of either sign. k is the smaller number of variables, fewer where
        some follow from others.
    """
    told = [_judged(first, second, odd) for odd in (0, 1)]
    count = min(map(len, told))
    return np.asarray(np.mean([each[:count] for each in told], axis=0))


def _judged(first: np.ndarray, second: np.ndarray, odd: int) -> np.ndarray:
    """Find combinations in the even rows or the odd ones, and correlate them in the others."""
    mine, other = (each.astype(np.float64) for each in (first, second))
    pairs = canonical_pairs(mine[odd::2], other[odd::2])
    along = [
        _applied(values, odd, found)
        for values, found in ((mine, pairs.first), (other, pairs.second))
    ]
    return np.array([_correlation(a, b) for a, b in zip(*along, strict=True)])


def _applied(values: np.ndarray, odd: int, found: np.ndarray) -> np.ndarray:
    """Give the combinations, known for every second row, for the others: (k, rows)."""
    centre = values[odd::2].mean(0)
    weights = np.linalg.lstsq(values[odd::2] - centre, found, rcond=None)[0]
    return np.asarray(((values[1 - odd :: 2] - centre) @ weights).T)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0.0 else 0.0
