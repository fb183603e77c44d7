"""Volumes that vary along a few directions: which weights images have, and which directions.

The volume of image i is `mean + sum_j z_ij W_j` with `z_i` normal of unit covariance: a
probabilistic principal component analysis in Fourier space, with the CTF of each image (Tagare et
al. 2015, J. Struct. Biol. 191, 245; Punjani & Fleet 2021, J. Struct. Biol. 213, 107702).
"""

from __future__ import annotations

import numpy as np

from hpdp_dask.numerics.backprojection import complete, grid_shells
from hpdp_dask.numerics.fourier import PADDING, HalfPlane
from hpdp_dask.numerics.slices import insert_slices


def posterior(residuals: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give mean and covariance of the weights of images.

    Parameters
    ----------
    residuals : (n, m) ndarray of complex64
        Transforms of images less that of the mean; the noise of a sample has the variance 1.
    basis : (n, q, m) ndarray of complex64
        Transforms of the directions, as each image would show them.

    Returns
    -------
    mean : (n, q) ndarray of float64
    covariance : (n, q, q) ndarray of float64
    """
    flat = np.ascontiguousarray(basis, dtype=np.complex64).view(np.float32)
    seen = np.ascontiguousarray(residuals, dtype=np.complex64).view(np.float32)
    # the density of complex noise of the variance 1 is exp(-|r|²), so twice the real product
    precision = 2.0 * (flat @ flat.transpose(0, 2, 1)).astype(np.float64)
    precision += np.eye(basis.shape[1])
    covariance = np.linalg.inv(precision)
    projected = 2.0 * (flat @ seen[:, :, None])[..., 0].astype(np.float64)
    return (covariance @ projected[:, :, None])[..., 0], covariance


def grids_of(directions: int) -> int:
    """Count the accumulators that `insert_moments` needs."""
    pairs = directions * (directions - 1) // 2
    return directions + -(-pairs // 2)


def insert_moments(
    accumulators: np.ndarray,
    residuals: np.ndarray,
    ctf: np.ndarray,
    mean: np.ndarray,
    second: np.ndarray,
    rotations: np.ndarray,
    plane: HalfPlane,
) -> None:
    """Add images to the sums that the next directions follow from.

    Parameters
    ----------
    accumulators : (grids_of(q), ...) ndarray of float32
        Each of `slices.accumulator_shape`; changed in place. The first q hold the numerators and
        the weights of z_j², the others the weights of z_j z_k, two in each.
    residuals : (n, m) ndarray of complex64
    ctf : (n, m) ndarray of float32
        In units of the noise.
    mean, second : (n, q), (n, q, q) ndarray
        Of the weights: their mean, and that of their products.
    rotations : (n, 3, 3) ndarray
    plane : HalfPlane
    """
    directions = mean.shape[1]
    squares = np.diagonal(second, axis1=1, axis2=2)
    insert_squares(accumulators, residuals, ctf, mean, squares, rotations, plane)
    squared = ctf * ctf
    given = np.zeros((*ctf.shape, 3), np.float32)
    for number, pairs in enumerate(_pairs(directions), start=directions):
        # real parts and weights are both even in the frequency, so either place will do
        for place, (j, k) in zip((0, 2), pairs, strict=False):
            given[..., place] = squared * second[:, j, k, None]
        insert_slices(accumulators[number], given, rotations, plane)


def insert_squares(
    accumulators: np.ndarray,
    residuals: np.ndarray,
    ctf: np.ndarray,
    mean: np.ndarray,
    squares: np.ndarray,
    rotations: np.ndarray,
    plane: HalfPlane,
) -> None:
    """Add images to the sums that directions would follow from, each as if it were the only one.

    That is what they are in sums over many images, in which weights of the covariance 1 come in
    all combinations: the sums of z_j z_k of different directions are small beside those of z_j².

    Parameters
    ----------
    accumulators : (q or more, ...) ndarray of float32
        As for `insert_moments`; the first q are changed in place.
    residuals, ctf, rotations, plane
        As for `insert_moments`.
    mean, squares : (n, q) ndarray
        Of the weights: their mean, and that of their squares.
    """
    squared = ctf * ctf
    seen = residuals * ctf
    given = np.empty((*ctf.shape, 3), np.float32)
    for j in range(mean.shape[1]):
        given[..., 0] = seen.real * mean[:, j, None]
        given[..., 1] = seen.imag * mean[:, j, None]
        given[..., 2] = squared * squares[:, j, None]
        insert_slices(accumulators[j], given, rotations, plane)


def _pairs(directions: int) -> list[list[tuple[int, int]]]:
    """List the pairs of different directions, two to a grid."""
    pairs = [(j, k) for j in range(directions) for k in range(j + 1, directions)]
    return [pairs[start : start + 2] for start in range(0, len(pairs), 2)]


def solve_directions(
    accumulators: np.ndarray, directions: int, penalty: np.ndarray, padding: int = PADDING
) -> np.ndarray:
    """Solve for the transforms of the directions, voxel by voxel.

    Parameters
    ----------
    accumulators : (grids_of(q), 2 limit + 1, 2 limit + 1, limit + 1, 3) ndarray of float32
        Of `insert_moments`; completed in place.
    directions : int
        q.
    penalty : (radius + 1,) ndarray
        1 over the variance that directions are expected to have in each shell. Beyond the last
        they are zero.
    padding : int, optional

    Returns
    -------
    (q, 2 limit + 1, 2 limit + 1, limit + 1) ndarray of complex64
    """
    for grid in accumulators:
        complete(grid)
    shape = accumulators.shape[1:4]
    limit, radius = shape[2] - 1, len(penalty) - 1
    found = np.zeros((directions, *shape), np.complex64)
    pairs = _pairs(directions)
    # a sample's weight is shared out among as many voxels
    added = penalty / padding**3
    for z in range(-limit, limit + 1):
        shells = grid_shells(limit, z, padding)
        inside = shells <= radius
        if not inside.any():
            continue
        sums = accumulators[:, z + limit][:, inside].astype(np.float64)
        matrix = np.zeros((inside.sum(), directions, directions))
        for j in range(directions):
            matrix[:, j, j] = sums[j, :, 2] + added[shells[inside]]
        for number, both in enumerate(pairs, start=directions):
            for place, (j, k) in zip((0, 2), both, strict=False):
                matrix[:, j, k] = matrix[:, k, j] = sums[number, :, place]
        right = np.moveaxis(sums[:directions, :, :2], 0, 1)
        solved = np.linalg.solve(matrix, right)
        found[:, z + limit][:, inside] = (solved[..., 0] + 1j * solved[..., 1]).T
    return found


def standardize(volumes: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Give directions that span the same volumes, orthogonal, for weights of unit covariance.

    Parameters
    ----------
    volumes : (q, N, N, N) ndarray
    moments : (q, q) ndarray
        Mean of the products of the weights that images have along them.

    Returns
    -------
    (q, N, N, N) ndarray of float32
        The direction along which images vary most comes first.
    """
    flat = volumes.reshape(len(volumes), -1).astype(np.float64)
    factor = np.linalg.cholesky(moments)
    gram = factor.T @ (flat @ flat.T) @ factor
    turn = np.linalg.eigh(gram)[1][:, ::-1]
    return ((factor @ turn).T @ flat).reshape(volumes.shape).astype(np.float32)
