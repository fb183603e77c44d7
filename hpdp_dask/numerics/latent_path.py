"""Lines through a latent space: along components, and along the curve that the images follow."""

from __future__ import annotations

import numpy as np

#: Images whose mean a point is, as a share of all; and the fewest.
_SHARE, _FEWEST = 0.05, 5

#: Pieces of the principal curve; rounds in which it is found (with more it bends after the
#: noise, and its ends run on past others); images that it is found by, at most; images that are
#: held against it at once.
_PIECES, _ROUNDS, _MOST, _AT_ONCE = 49, 3, 30_000, 20_000


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


def points_along(z: np.ndarray, number: int, component: int = 0) -> np.ndarray:
    """Give points along a principal component that are in the midst of images.

    Parameters
    ----------
    z : (n, zdim) ndarray
    number : int
        Of points, from one end to the other.
    component : int, optional
        Which, from 0.

    Returns
    -------
    (number, zdim) ndarray of float32
        Each the mean of the twentieth of the images about a percentile. So a curved cloud is
        followed, where a straight line would leave it.
    """
    order = np.argsort(principal_axes(z)[0][:, component], kind="stable")
    return _means_along(z, order, number).astype(np.float32)


def curve_positions(z: np.ndarray) -> np.ndarray:
    """Give the position of each image along the principal curve of all.

    The curve of Hastie & Stuetzle 1989 (J. Am. Stat. Assoc. 84, 502): each of its points is the
    mean of the images that are nearest to it. It begins as the first principal component.

    Parameters
    ----------
    z : (n, zdim) ndarray

    Returns
    -------
    (n,) ndarray of float64
        Length of the curve up to the point that is nearest to the image; beyond the ends the
        first and the last piece go on.
    """
    found_by = z[:: -(-len(z) // _MOST)].astype(np.float64)
    position = principal_axes(found_by)[0][:, 0]
    for _ in range(_ROUNDS):
        knots = _means_along(found_by, np.argsort(position, kind="stable"), _PIECES + 1)
        position = _positions(found_by, knots)
    return _positions(z, knots)


def _positions(z: np.ndarray, knots: np.ndarray) -> np.ndarray:
    parts = (z[start : start + _AT_ONCE] for start in range(0, len(z), _AT_ONCE))
    return np.concatenate([_along(part.astype(np.float64), knots) for part in parts])


def _means_along(z: np.ndarray, order: np.ndarray, number: int) -> np.ndarray:
    """Give means of so many of the images one after the other in an order, evenly spread."""
    many = min(len(z), max(_FEWEST, round(_SHARE * len(z))))
    starts = np.linspace(0, len(z) - many, number).round().astype(int)
    return np.stack([z[order[start : start + many]].mean(0) for start in starts])


def _along(z: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Give how far along a line of straight pieces the points nearest to images are."""
    steps = np.diff(knots, axis=0)
    lengths = np.maximum((steps**2).sum(1), 1e-12)
    share = ((z[:, None] - knots[:-1]) * steps).sum(2) / lengths
    low, high = np.zeros(len(steps)), np.ones(len(steps))
    low[0], high[-1] = -np.inf, np.inf
    share = np.clip(share, low, high)
    distance = ((knots[:-1] + share[..., None] * steps - z[:, None]) ** 2).sum(2)
    piece = distance.argmin(1)
    travelled = np.concatenate([[0.0], np.cumsum(np.sqrt(lengths))])
    there = share[np.arange(len(z)), piece]
    found: np.ndarray = travelled[piece] + there * np.sqrt(lengths)[piece]
    return found
