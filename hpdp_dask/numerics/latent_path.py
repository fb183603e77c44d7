"""Points of a latent space to look at: along the direction in which images vary most."""

from __future__ import annotations

import numpy as np

#: Images whose mean a point is, as a share of all; and the fewest.
_SHARE, _FEWEST = 0.05, 5


def principal_axes(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the principal components of latent variables.

    Parameters
    ----------
    z : (n, zdim) ndarray

    Returns
    -------
    components : (n, zdim) ndarray of float64
        The one with the largest variance first; the mean is 0.
    shares : (zdim,) ndarray of float64
        Of the variance.
    """
    centred = z.astype(np.float64) - z.mean(0, dtype=np.float64)
    left, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    # the sign is a matter of convention: the largest weight of an axis is positive
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
    shares = sizes**2 / max(float((sizes**2).sum()), 1e-300)
    return left * sizes * signs, shares


def points_along(z: np.ndarray, number: int) -> np.ndarray:
    """Give points along the first principal component that are in the midst of images.

    Parameters
    ----------
    z : (n, zdim) ndarray
    number : int
        Of points, from one end to the other.

    Returns
    -------
    (number, zdim) ndarray of float32
        Each the mean of the twentieth of the images about a percentile. So a curved cloud is
        followed, where a straight line would leave it.
    """
    order = np.argsort(principal_axes(z)[0][:, 0], kind="stable")
    many = min(len(z), max(_FEWEST, round(_SHARE * len(z))))
    starts = np.linspace(0, len(z) - many, number).round().astype(int)
    return np.stack([z[order[start : start + many]].mean(0) for start in starts]).astype(np.float32)
