"""The lattice of a crystal: its cell in space, turned, and the reciprocal one.

Vectors are rows: `vectors[0]` is the cell edge a in the laboratory, Å. Reciprocal vectors are
without 2 pi, so that `g = h a* + k b* + l c*` is in 1/Å and its length is 1/d.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def cell_vectors(cell: ArrayLike) -> np.ndarray:
    """Give the edges of a cell: a along x, b in the plane of x and y.

    Parameters
    ----------
    cell : (6,) array_like
        a, b, c (Å), alpha, beta, gamma (degrees).

    Returns
    -------
    (3, 3) ndarray of float64
        Rows a, b, c, Å (International Tables B, 3.3.1, the PDB's setting).

    Raises
    ------
    ValueError
        No cell has these angles.
    """
    a, b, c, *angles = np.asarray(cell, dtype=np.float64)
    cosines = np.cos(np.radians(angles))
    alpha, beta, gamma = cosines
    sine = np.sqrt(1.0 - gamma**2)
    depth = 1.0 - np.sum(cosines**2) + 2.0 * np.prod(cosines)
    if not (depth > 0.0 and min(a, b, c) > 0.0):
        raise ValueError(f"no cell has the edges and angles {np.asarray(cell).tolist()}")
    return np.array(
        [
            [a, 0.0, 0.0],
            [b * gamma, b * sine, 0.0],
            [c * beta, c * (alpha - beta * gamma) / sine, c * np.sqrt(depth) / sine],
        ]
    )


def reciprocal_vectors(vectors: ArrayLike) -> np.ndarray:
    """Give the reciprocal vectors of a cell.

    Parameters
    ----------
    vectors : (3, 3) array_like
        Rows a, b, c, Å.

    Returns
    -------
    (3, 3) ndarray of float64
        Rows a*, b*, c*, 1/Å, with a . a* = 1.
    """
    return np.asarray(np.linalg.inv(np.asarray(vectors, dtype=np.float64)).T)


def cell_volume(vectors: ArrayLike) -> float:
    """Give the volume of a cell of (3, 3) vectors, Å³."""
    return float(abs(np.linalg.det(np.asarray(vectors, dtype=np.float64))))
