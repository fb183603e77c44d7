"""Slices on the CPU, compiled by Numba: one thread, since Dask gives each worker one.

Both directions are bound by memory: a slice touches some 25,000 cache lines, all over a grid
that is far larger than the caches. So the samples of many slices are first sorted into *runs*
that fall into the same tile of the grid, and worked off tile by tile, which is two to three
times as fast (FINUFFT sorts its points for the same reason: Barnett, Magland & af Klinteberg
2019, SIAM J. Sci. Comput. 41, C479).
"""

from __future__ import annotations

import numba
import numpy as np

# A tile is 2**5 planes by 2**6 rows by all of x; the best of those measured, at boxes of 128.
_TILE_PLANES, _TILE_ROWS = 5, 6

# A transform that the caches hold gains nothing from sorting.
_IN_CACHE = 4 << 20

_compiled = numba.njit(cache=True, fastmath=True, error_model="numpy", nogil=True)


def insert_slices(
    accumulator: np.ndarray,
    contributions: np.ndarray,
    rotations: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    padding: int,
) -> None:
    """Add slices to an accumulator; see `hpdp_dask.numerics.slices.insert_slices`."""
    axes = (padding * np.asarray(rotations)[:, :2]).astype(np.float32)
    samples = contributions.shape[1]
    x, y = x[:samples].astype(np.float32), y[:samples].astype(np.float32)
    limit = accumulator.shape[2] - 1
    runs = _sort_runs(axes, x, y, limit)
    _insert_runs(accumulator.reshape(-1), accumulator.shape, contributions, axes, x, y, *runs)


def extract_slices(
    transform: np.ndarray, rotations: np.ndarray, x: np.ndarray, y: np.ndarray, padding: int
) -> np.ndarray:
    """Interpolate slices of a transform; see `hpdp_dask.numerics.slices.extract_slices`."""
    axes = (padding * np.asarray(rotations)[:, :2]).astype(np.float32)
    slices = np.empty((len(axes), len(x)), dtype=np.complex64)
    limit = transform.shape[2] - 1
    inside = len(x) > 0 and padding * np.hypot(x, y).max() + 0.01 < limit
    x, y = x.astype(np.float32), y.astype(np.float32)
    if inside and transform.nbytes > _IN_CACHE:
        runs = _sort_runs(axes, x, y, limit)
        _extract_runs(transform, axes, x, y, slices, *runs)
    else:
        _extract(transform, axes, x, y, slices)
    return slices


def extract_samples(transform: np.ndarray, frequencies: np.ndarray, padding: int) -> np.ndarray:
    """Interpolate a transform; see `hpdp_dask.numerics.slices.extract_samples`."""
    values = np.empty(frequencies.shape[:2], np.complex64)
    _extract_samples(transform, frequencies, np.float32(padding), values)
    return values


def sum_rotated(accumulator: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Sum an accumulator over rotations; see `hpdp_dask.numerics.slices.sum_rotated`."""
    total = np.zeros_like(accumulator)
    _sum_rotated(accumulator, np.asarray(rotations, dtype=np.float32), total)
    return total


@_compiled
def _sort_runs(axes, x, y, limit):  # type: ignore[no-untyped-def]
    """List runs of consecutive samples of a slice in the same tile, in order of the tiles."""
    rows = ((2 * limit) >> _TILE_ROWS) + 1
    tiles = (((2 * limit) >> _TILE_PLANES) + 1) * rows
    capacity = 1024
    run_tile = np.empty(capacity, np.int32)
    run_slice = np.empty(capacity, np.int32)
    run_start = np.empty(capacity, np.int32)
    run_stop = np.empty(capacity, np.int32)
    first = np.zeros(tiles + 1, np.int64)
    runs = 0
    shift = np.float32(limit)
    for i in range(len(axes)):
        before = -1
        for s in range(len(x)):
            px = x[s] * axes[i, 0, 0] + y[s] * axes[i, 1, 0]
            py = x[s] * axes[i, 0, 1] + y[s] * axes[i, 1, 1]
            pz = x[s] * axes[i, 0, 2] + y[s] * axes[i, 1, 2]
            side = np.float32(1) if px >= 0 else np.float32(-1)
            plane = np.int32(pz * side + shift) >> _TILE_PLANES
            tile = plane * rows + (np.int32(py * side + shift) >> _TILE_ROWS)
            if tile == before:
                continue
            if runs == capacity:
                capacity *= 2
                run_tile = _grown(run_tile, capacity)
                run_slice = _grown(run_slice, capacity)
                run_start = _grown(run_start, capacity)
                run_stop = _grown(run_stop, capacity)
            if before >= 0:
                run_stop[runs - 1] = s
            run_tile[runs] = tile
            run_slice[runs] = i
            run_start[runs] = s
            first[tile + 1] += 1
            before = tile
            runs += 1
        if before >= 0:
            run_stop[runs - 1] = len(x)
    for tile in range(tiles):
        first[tile + 1] += first[tile]
    order = np.empty(runs, np.int32)
    for run in range(runs):
        order[first[run_tile[run]]] = run
        first[run_tile[run]] += 1
    return run_slice, run_start, run_stop, order


@_compiled
def _grown(array, capacity):  # type: ignore[no-untyped-def]
    grown = np.empty(capacity, array.dtype)
    grown[: len(array)] = array
    return grown


@_compiled
def _insert_runs(  # type: ignore[no-untyped-def]
    flat, shape, contributions, axes, x, y, run_slice, run_start, run_stop, order
):
    limit = np.float32(shape[2] - 1)
    row = shape[2] * 3
    plane = shape[1] * row
    one = np.float32(1)
    for run in order:
        i = run_slice[run]
        for s in range(run_start[run], run_stop[run]):
            px = x[s] * axes[i, 0, 0] + y[s] * axes[i, 1, 0]
            py = x[s] * axes[i, 0, 1] + y[s] * axes[i, 1, 1]
            pz = x[s] * axes[i, 0, 2] + y[s] * axes[i, 1, 2]
            side = one if px >= 0 else -one
            px *= side
            py = py * side + limit
            pz = pz * side + limit
            ix, iy, iz = np.int64(px), np.int64(py), np.int64(pz)
            fx, fy, fz = px - np.float32(ix), py - np.float32(iy), pz - np.float32(iz)
            real = contributions[i, s, 0]
            imaginary = contributions[i, s, 1] * side
            weight = contributions[i, s, 2]
            far_real, far_imaginary, far_weight = real * fx, imaginary * fx, weight * fx
            real -= far_real
            imaginary -= far_imaginary
            weight -= far_weight
            at = iz * plane + iy * row + ix * 3
            for dz in range(2):
                share_z = fz if dz else one - fz
                for dy in range(2):
                    share = share_z * (fy if dy else one - fy)
                    to = at + dz * plane + dy * row
                    flat[to] += share * real
                    flat[to + 1] += share * imaginary
                    flat[to + 2] += share * weight
                    flat[to + 3] += share * far_real
                    flat[to + 4] += share * far_imaginary
                    flat[to + 5] += share * far_weight


@_compiled
def _extract(transform, axes, x, y, slices):  # type: ignore[no-untyped-def]
    limit = np.float32(transform.shape[2] - 1)
    most = limit * np.float32(2)
    for i in range(len(axes)):
        for s in range(len(x)):
            px = x[s] * axes[i, 0, 0] + y[s] * axes[i, 1, 0]
            py = x[s] * axes[i, 0, 1] + y[s] * axes[i, 1, 1]
            pz = x[s] * axes[i, 0, 2] + y[s] * axes[i, 1, 2]
            side = np.float32(1) if px >= 0 else np.float32(-1)
            px *= side
            py = py * side + limit
            pz = pz * side + limit
            if px >= limit or py < 0 or py >= most or pz < 0 or pz >= most:
                slices[i, s] = 0
            else:
                slices[i, s] = _interpolate(transform, px, py, pz, side)


@_compiled
def _extract_samples(transform, frequencies, padding, values):  # type: ignore[no-untyped-def]
    limit = np.float32(transform.shape[2] - 1)
    most = limit * np.float32(2)
    for i in range(frequencies.shape[0]):
        for s in range(frequencies.shape[1]):
            px = frequencies[i, s, 0] * padding
            py = frequencies[i, s, 1] * padding + limit
            pz = frequencies[i, s, 2] * padding + limit
            if px >= limit or py < 0 or py >= most or pz < 0 or pz >= most:
                values[i, s] = 0
            else:
                values[i, s] = _interpolate(transform, px, py, pz, np.float32(1))


@_compiled
def _extract_runs(  # type: ignore[no-untyped-def]
    transform, axes, x, y, slices, run_slice, run_start, run_stop, order
):
    limit = np.float32(transform.shape[2] - 1)
    for run in order:
        i = run_slice[run]
        for s in range(run_start[run], run_stop[run]):
            px = x[s] * axes[i, 0, 0] + y[s] * axes[i, 1, 0]
            py = x[s] * axes[i, 0, 1] + y[s] * axes[i, 1, 1]
            pz = x[s] * axes[i, 0, 2] + y[s] * axes[i, 1, 2]
            side = np.float32(1) if px >= 0 else np.float32(-1)
            slices[i, s] = _interpolate(
                transform, px * side, py * side + limit, pz * side + limit, side
            )


@numba.njit(cache=True, fastmath=True, error_model="numpy", inline="always")
def _interpolate(transform, px, py, pz, side):  # type: ignore[no-untyped-def]
    one = np.float32(1)
    ix, iy, iz = np.int64(px), np.int64(py), np.int64(pz)
    fx, fy, fz = px - np.float32(ix), py - np.float32(iy), pz - np.float32(iz)
    real = np.float32(0)
    imaginary = np.float32(0)
    for dz in range(2):
        share_z = fz if dz else one - fz
        for dy in range(2):
            share = share_z * (fy if dy else one - fy)
            near = transform[iz + dz, iy + dy, ix]
            far = transform[iz + dz, iy + dy, ix + 1]
            real += share * (near.real + fx * (far.real - near.real))
            imaginary += share * (near.imag + fx * (far.imag - near.imag))
    return real + np.complex64(1j) * (imaginary * side)


@_compiled
def _sum_rotated(accumulator, rotations, total):  # type: ignore[no-untyped-def]
    limit = accumulator.shape[2] - 1
    one = np.float32(1)
    for kz in range(-limit, limit + 1):
        for ky in range(-limit, limit + 1):
            reach = limit * limit - kz * kz - ky * ky
            if reach < 0:
                continue
            for kx in range(np.int64(np.sqrt(reach)) + 1):
                real = np.float32(0)
                imaginary = np.float32(0)
                weight = np.float32(0)
                for r in rotations:
                    px = kx * r[0, 0] + ky * r[1, 0] + kz * r[2, 0]
                    py = kx * r[0, 1] + ky * r[1, 1] + kz * r[2, 1]
                    pz = kx * r[0, 2] + ky * r[1, 2] + kz * r[2, 2]
                    side = one if px >= 0 else -one
                    px, py, pz = px * side, py * side + limit, pz * side + limit
                    # Rounding may put a sample at the rim a hair beyond the grid.
                    ix = min(np.int64(px), limit - 1)
                    iy = min(max(np.int64(py), 0), 2 * limit - 1)
                    iz = min(max(np.int64(pz), 0), 2 * limit - 1)
                    fx = np.float32(px - ix)
                    fy, fz = np.float32(py - iy), np.float32(pz - iz)
                    # Rotations that permute the axes, and those of 2-folds along them, need
                    # one sample or two, not eight.
                    for dz in range(1 if fz == 0 else 2):
                        share_z = fz if dz else one - fz
                        for dy in range(1 if fy == 0 else 2):
                            share_y = share_z * (fy if dy else one - fy)
                            for dx in range(1 if fx == 0 else 2):
                                share = share_y * (fx if dx else one - fx)
                                real += share * accumulator[iz + dz, iy + dy, ix + dx, 0]
                                imaginary += (
                                    share * side * accumulator[iz + dz, iy + dy, ix + dx, 1]
                                )
                                weight += share * accumulator[iz + dz, iy + dy, ix + dx, 2]
                total[kz + limit, ky + limit, kx, 0] = real
                total[kz + limit, ky + limit, kx, 1] = imaginary
                total[kz + limit, ky + limit, kx, 2] = weight
