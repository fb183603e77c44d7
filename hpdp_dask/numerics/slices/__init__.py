"""Slices of a volume's transform: taken out of it (projection), put into it (back-projection).

Central, flat slices by trilinear interpolation on the padded half-transform of
`hpdp_dask.numerics.fourier`. One function each, in three forms: compiled by Numba for the CPU,
CUDA for the GPU, and plain NumPy in `reference`, which the tests hold both against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.fourier import PADDING, HalfPlane, grid_limit

if TYPE_CHECKING:
    from types import ModuleType


def _engine(array: Array) -> ModuleType:
    if namespace(array) is np:
        from hpdp_dask.numerics.slices import cpu

        return cpu
    from hpdp_dask.numerics.slices import gpu

    return gpu


def accumulator_shape(radius: int, padding: int = PADDING) -> tuple[int, int, int, int]:
    """Give the shape of what slices up to a radius are inserted into.

    Parameters
    ----------
    radius : int
        The last shell of the slices, cycles per box.
    padding : int, optional

    Returns
    -------
    tuple of int
        (z, y, x, 3): real part, imaginary part and weight, interleaved.
    """
    limit = grid_limit(radius, padding)
    return 2 * limit + 1, 2 * limit + 1, limit + 1, 3


def insert_slices(
    accumulator: Array,
    contributions: Array,
    rotations: Array,
    plane: HalfPlane,
    padding: int = PADDING,
) -> None:
    """Add slices to an accumulator, each sample shared among its eight neighbours.

    The accumulator holds one half of space: the neighbour at x = 0 of a sample near that plane
    may have its conjugate counted only, which `reconstruction.complete` mends once at the end.

    Parameters
    ----------
    accumulator : (2 limit + 1, 2 limit + 1, limit + 1, 3) array of float32
        Of `accumulator_shape`; changed in place.
    contributions : (n, m, 3) array of float32
        Real part, imaginary part and weight of each sample of each slice.
    rotations : (n, 3, 3) array
        `A` of `rotations.euler_to_matrix`, from the particle's frame to that of the image.
    plane : HalfPlane
        Where the m samples are; a slice of its arrays, from zero frequency on, will do.
    padding : int, optional
        How much finer than the image's the volume's grid is.

    References
    ----------
    Scheres 2012, J. Struct. Biol. 180, 519, eq. 4 and section 2.3 (the M-step).
    """
    _engine(accumulator).insert_slices(
        accumulator, contributions, rotations, plane.x, plane.y, padding
    )


def extract_slices(
    transform: Array, rotations: Array, plane: HalfPlane, padding: int = PADDING
) -> Array:
    """Interpolate central slices of a volume's transform: the transforms of its projections.

    Parameters
    ----------
    transform : (2 limit + 1, 2 limit + 1, limit + 1) array of complex64
        Of `fourier.transform_volume`; samples beyond it are zero.
    rotations : (n, 3, 3) array
        `A` of `rotations.euler_to_matrix`.
    plane : HalfPlane
        Where the m samples of each slice are.
    padding : int, optional

    Returns
    -------
    (n, m) array of complex64
    """
    return _engine(transform).extract_slices(transform, rotations, plane.x, plane.y, padding)


def extract_samples(
    transform: np.ndarray, frequencies: np.ndarray, padding: int = PADDING
) -> np.ndarray:
    """Interpolate a volume's transform at any frequencies, on the CPU.

    Parameters
    ----------
    transform : (2 limit + 1, 2 limit + 1, limit + 1) ndarray of complex64
        Of `fourier.transform_volume`; samples beyond it are zero.
    frequencies : (n, m, 3) ndarray of float32
        x, y, z in cycles per box, with x >= 0.
    padding : int, optional

    Returns
    -------
    (n, m) ndarray of complex64
    """
    from hpdp_dask.numerics.slices import cpu

    return cpu.extract_samples(transform, frequencies, padding)


def sum_rotated(accumulator: Array, rotations: Array) -> Array:
    """Sum an accumulator over rotations of space, trilinearly: the sums of a symmetric volume.

    Parameters
    ----------
    accumulator : (2 limit + 1, 2 limit + 1, limit + 1, 3) array of float32
        Its plane x = 0 must be Hermitian.
    rotations : (g, 3, 3) array
        For each the value at the row vector (x, y, z) @ rotation is added to that at (x, y, z).

    Returns
    -------
    array like `accumulator`
        Zero beyond the sphere of radius `limit`, which rotations keep.
    """
    return _engine(accumulator).sum_rotated(accumulator, rotations)
