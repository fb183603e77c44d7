"""A map's transform at any points of Fourier space, and points to compare maps at."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.stats import qmc

from hpdp_dask.numerics.fourier import PADDING, transform_volume


class PointTransform:
    """The transform of a map, interpolated by cubic splines on its padded grid.

    Parameters
    ----------
    volume : (N, N, N) array_like of real
        [z, y, x], even box.
    radius : int
        The last shell that is asked for, cycles per box.
    """

    def __init__(self, volume: ArrayLike, radius: int) -> None:
        box = len(np.asarray(volume))
        # splines reach a few samples farther than the shell
        half = transform_volume(np.asarray(volume, np.float32), min(radius + 2, box // 2), PADDING)
        self._limit = half.shape[2] - 1
        whole = np.concatenate([np.conj(half[::-1, ::-1, :0:-1]), half], axis=2)
        self._real = ndimage.spline_filter(whole.real, output=np.float32)
        self._imaginary = ndimage.spline_filter(whole.imag, output=np.float32)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Give the transform at points (..., 3), x, y, z in cycles per box: (...) complex64."""
        at = np.moveaxis(points[..., ::-1] * PADDING + self._limit, -1, 0)
        values = np.empty(points.shape[:-1], np.complex64)
        values.real = ndimage.map_coordinates(self._real, at, prefilter=False)
        values.imag = ndimage.map_coordinates(self._imaginary, at, prefilter=False)
        return values


def points_in_shells(number: int, first: float, last: float) -> np.ndarray:
    """Spread points evenly over shells, over half of all directions in each.

    Parameters
    ----------
    number : int
    first, last : float
        Radii between which they lie, cycles per box.

    Returns
    -------
    (number, 3) ndarray of float64
        x, y, z. Of Halton's sequence, so the same in each call; sorted by radius.
    """
    spread = qmc.Halton(3, scramble=False).random(number + 1)[1:]
    spread = spread[np.argsort(spread[:, 0], kind="stable")]
    radius = first + (last - first) * spread[:, 0]
    height, turn = spread[:, 1], 2.0 * np.pi * spread[:, 2]
    across = np.sqrt(1.0 - height**2)
    return radius[:, None] * np.stack([across * np.cos(turn), across * np.sin(turn), height], -1)


def mean_correlation(a: np.ndarray, b: np.ndarray, shell: np.ndarray) -> np.ndarray:
    """Correlate samples shell by shell and average over shells.

    Parameters
    ----------
    a, b : (..., n) ndarray of complex
        They broadcast.
    shell : (n,) ndarray of int
        In ascending order.

    Returns
    -------
    (...) ndarray of float64
        The mean of `Re sum(a b*) / sqrt(sum |a|² sum |b|²)`, all shells alike, so that the few
        strong ones near the centre, which are alike for any two blobs, do not outvote the others.
    """
    starts = np.flatnonzero(np.diff(shell, prepend=shell[0] - 1))

    def total(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(np.float64), starts, axis=-1)

    cross = total(a.real * b.real + a.imag * b.imag)
    power = total(np.abs(a) ** 2) * total(np.abs(b) ** 2)
    return np.asarray(np.mean(cross / np.sqrt(np.maximum(power, 1e-300)), axis=-1))
