"""Rotate transforms of images in their plane, and sum images back into what was rotated.

What the slices of a volume are to refinement, averages turned in their plane are to
classification. An average is kept as the packed samples of its transform on a grid that is
finer than the image's by the padding (`fine_plane`); sampling it at turned frequencies, with
bilinear weights, is a sparse matrix for all angles, and the transpose of the same matrix puts
images back. Where a frequency turns into the half of the plane that is not kept, it is the
conjugate of its opposite, so the imaginary part has a matrix of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import numpy as np

from hpdp_dask.numerics.arrays import Array, csr_matrix, namespace
from hpdp_dask.numerics.fourier import (
    PADDING,
    HalfPlane,
    grid_limit,
    gridding_window,
    half_plane,
    pack,
    transform_images,
    unpack,
)
from hpdp_dask.numerics.rotations import euler_to_matrix


def fine_plane(box: int, radius: int) -> HalfPlane:
    """List the samples that an average has for images of a box up to a shell.

    Parameters
    ----------
    box : int
        Side of the images, pixels; even.
    radius : int
        The last shell of the images, below box // 2.

    Returns
    -------
    HalfPlane
        Of the padded box. Those up to a smaller shell are the first of them.
    """
    return half_plane(PADDING * box, grid_limit(radius))


def transform_averages(averages: Array, radius: int) -> Array:
    """Transform averages for `InPlaneRotations.extract`, their gridding corrected beforehand.

    Parameters
    ----------
    averages : (k, N, N) array of float32
    radius : int
        The last shell that will be asked for, below N // 2.

    Returns
    -------
    (k, M) array of complex64
        On `fine_plane(N, radius)`.
    """
    xp = namespace(averages)
    box = averages.shape[-1]
    window = xp.asarray(gridding_window(box))
    margin = (PADDING - 1) * box // 2
    corrected = averages / (window[:, None] * window)
    padded = xp.pad(corrected, ((0, 0), (margin, margin), (margin, margin)))
    return pack(transform_images(padded), fine_plane(box, radius)).astype(xp.complex64)


def averages_of(samples: Array, box: int, radius: int) -> Array:
    """Turn quotients of what `InPlaneRotations.insert` sums into averages, gridding corrected.

    Parameters
    ----------
    samples : (k, M) array of complex64
        Signal over weight, on `fine_plane(box, radius)`.
    box, radius : int

    Returns
    -------
    (k, N, N) array of float32
    """
    xp = namespace(samples)
    window = xp.asarray(gridding_window(box))
    margin = (PADDING - 1) * box // 2
    padded = unpack(samples, fine_plane(box, radius))
    return padded[:, margin : margin + box, margin : margin + box] / (window[:, None] * window)


@dataclass(frozen=True)
class InPlaneRotations:
    """How samples of images are made of those of averages, for some in-plane angles.

    Attributes
    ----------
    samples : int
        Of an image, m.
    angles : (p,) ndarray
        psi, degrees.
    real, imaginary : (p m, M) sparse matrix
        For the two parts of the samples.
    """

    samples: int
    angles: np.ndarray
    real: Array
    imaginary: Array

    def extract(self, averages: Array) -> Array:
        """Sample averages at the turned frequencies of an image.

        Parameters
        ----------
        averages : (k, M) array of complex64
            Of `transform_averages`.

        Returns
        -------
        (k p, m) array of complex64
            The image of average i at angle j is row `i p + j`.
        """
        xp = namespace(averages)
        turned = xp.empty((len(averages), self.real.shape[0]), dtype=xp.complex64)
        turned.real = (self.real @ averages.real.T).T
        turned.imag = (self.imaginary @ averages.imag.T).T
        return turned.reshape(-1, self.samples)

    def insert(self, signal: Array, weight: Array) -> tuple[Array, Array]:
        """Sum samples of images, and their weights, into averages: the transpose of `extract`.

        Parameters
        ----------
        signal : (k p, m) array of complex64
        weight : (k p, m) array of float32

        Returns
        -------
        signal : (k, M) array of complex64
        weight : (k, M) array of float32
        """
        xp = namespace(signal)
        rows = signal.reshape(-1, self.real.shape[0])
        inserted = xp.empty((len(rows), self.real.shape[1]), dtype=xp.complex64)
        inserted.real = (self.real.T @ rows.real.T).T
        inserted.imag = (self.imaginary.T @ rows.imag.T).T
        weights = self.real.T @ weight.reshape(rows.shape).T
        return inserted, xp.ascontiguousarray(weights.T)


def in_plane_rotations(
    box: int, radius: int, angles: np.ndarray, xp: ModuleType = np
) -> InPlaneRotations:
    """Prepare the rotation of averages by angles.

    Parameters
    ----------
    box : int
        Side of the images, pixels.
    radius : int
        The last shell of the images, below box // 2.
    angles : (p,) ndarray
        psi, degrees, as in `rotations.euler_to_matrix` with rot = tilt = 0.
    xp : module, optional
        Where the matrices live: numpy or cupy.

    Returns
    -------
    InPlaneRotations
    """
    plane, fine = half_plane(box, radius), fine_plane(box, radius)
    psi = np.asarray(angles, dtype=np.float64)
    turns = euler_to_matrix(np.stack([0 * psi, 0 * psi, psi], axis=1))[:, :2, :2]
    points = PADDING * np.stack([plane.x, plane.y], axis=1) @ turns
    corner = np.floor(points).astype(np.int64)
    part = points - corner
    index = _places(box, radius)
    limit = (index.shape[1] - 1) // 2
    rows = np.arange(points.shape[0] * points.shape[1])
    entries = []
    for right in (0, 1):
        for up in (0, 1):
            x, y = (corner + np.array([right, up])).reshape(-1, 2).T
            share = np.prod(np.where((right, up), part, 1.0 - part), axis=-1).ravel()
            column = index[y + limit, x + limit]
            sign = np.where((x > 0) | ((x == 0) & (y >= 0)), 1.0, -1.0)
            kept = column >= 0
            entries.append((rows[kept], column[kept], share[kept], (share * sign)[kept]))
    row, column, real, imaginary = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    shape = len(rows), len(fine)
    matrices = (
        csr_matrix(xp.asarray(part, xp.float32), xp.asarray(row), xp.asarray(column), shape, xp)
        for part in (real, imaginary)
    )
    return InPlaneRotations(len(plane), psi, *matrices)


@lru_cache(maxsize=4)
def _places(box: int, radius: int) -> np.ndarray:
    """Tell where a frequency or its opposite is among packed samples; -1 if it is not kept."""
    fine = fine_plane(box, radius)
    limit = int(max(fine.x.max(), np.abs(fine.y).max())) + 2
    index = np.full((2 * limit + 1, 2 * limit + 1), -1)
    number = np.arange(len(fine))
    index[limit - fine.y, limit - fine.x] = number
    index[limit + fine.y, limit + fine.x] = number
    return index
