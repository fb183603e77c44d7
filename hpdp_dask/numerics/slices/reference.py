"""Slices in plain NumPy and float64: slow, easy to read, what the kernels are held against."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np


def _positions(
    rotations: np.ndarray, x: np.ndarray, y: np.ndarray, padding: int
) -> tuple[np.ndarray, np.ndarray]:
    """Place the samples in the half x >= 0: (n, m, 3) positions and where they were turned."""
    flat = np.stack([x, y, np.zeros_like(x)], axis=1).astype(np.float64)
    positions = padding * (flat @ np.asarray(rotations, dtype=np.float64))
    turned = positions[..., 0] < 0
    return np.where(turned[..., None], -positions, positions), turned


def _corners(positions: np.ndarray, limit: int) -> Iterator[tuple[tuple, np.ndarray]]:
    """Give the index [z, y, x] and the trilinear weight of each of the eight neighbours."""
    base = np.floor(positions).astype(np.int64)
    fraction = positions - base
    for corner in itertools.product((0, 1), repeat=3):
        weight = np.prod(np.where(corner, fraction, 1.0 - fraction), axis=-1)
        px, py, pz = np.moveaxis(base + corner, -1, 0)
        yield (pz + limit, py + limit, px), weight


def insert_slices(
    accumulator: np.ndarray,
    contributions: np.ndarray,
    rotations: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    padding: int,
) -> None:
    """Add slices to an accumulator; see `hpdp_dask.numerics.slices.insert_slices`."""
    positions, turned = _positions(rotations, x, y, padding)
    values = np.asarray(contributions, dtype=np.float64).copy()
    values[..., 1] = np.where(turned, -values[..., 1], values[..., 1])
    for index, weight in _corners(positions, accumulator.shape[2] - 1):
        np.add.at(accumulator, index, weight[..., None] * values)


def extract_slices(
    transform: np.ndarray, rotations: np.ndarray, x: np.ndarray, y: np.ndarray, padding: int
) -> np.ndarray:
    """Interpolate slices of a transform; see `hpdp_dask.numerics.slices.extract_slices`."""
    positions, turned = _positions(rotations, x, y, padding)
    limit = transform.shape[2] - 1
    slices = np.zeros(turned.shape, dtype=np.complex128)
    for (pz, py, px), weight in _corners(positions, limit):
        inside = (px <= limit) & (np.abs(py - limit) <= limit) & (np.abs(pz - limit) <= limit)
        slices[inside] += weight[inside] * transform[pz[inside], py[inside], px[inside]]
    return np.where(turned, np.conj(slices), slices)


def sum_rotated(accumulator: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Sum an accumulator over rotations; see `hpdp_dask.numerics.slices.sum_rotated`."""
    limit = accumulator.shape[2] - 1
    z, y, x = np.mgrid[-limit : limit + 1, -limit : limit + 1, 0 : limit + 1]
    grid = np.stack([x, y, z], axis=-1).astype(np.float64)
    padded = np.pad(accumulator.astype(np.float64), ((0, 1), (0, 1), (0, 1), (0, 0)))
    total = np.zeros(accumulator.shape)
    for rotation in np.asarray(rotations, dtype=np.float64):
        positions = grid @ rotation
        turned = positions[..., 0] < 0
        positions = np.clip(np.where(turned[..., None], -positions, positions), -limit, limit)
        rotated = sum(w[..., None] * padded[index] for index, w in _corners(positions, limit))
        rotated[..., 1] = np.where(turned, -rotated[..., 1], rotated[..., 1])
        total += rotated
    total[x * x + y * y + z * z > limit * limit] = 0
    return total
