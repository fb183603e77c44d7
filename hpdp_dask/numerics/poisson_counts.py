"""Poisson counts, fast: one random number for most pixels.

A mean is split into a part on a grid, whose counts come from a table by inversion, and the small
rest, which nearly always gives no photon: the sum of two Poisson numbers is one of the summed
mean, so nothing is approximated but that uniform numbers have 32 bits. Means beyond the table are
drawn by the transformed rejection PTRS (Hörmann 1993, Insurance: Mathematics and Economics 12,
39). Numbers come from a key and the number of the pixel (`counter_random`).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numba
import numpy as np
from scipy.stats import poisson

from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.counter_random import random_bits, random_uniform

#: Step of the means of the table, and the largest; a power of two so that parts are exact.
_STEP, _MOST = 1.0 / 16.0, 32.0

#: Counts of a row of the table, enough for the largest mean at 32 bits.
_COUNTS = 96

_ROWS = int(_MOST / _STEP)

#: 2**32, as the largest number of single precision below it.
_BELOW_ONE = np.float32(2.0**32 - 2.0**8)

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_GUIDE = np.uint32(24)


@lru_cache(maxsize=1)
def poisson_table() -> tuple[np.ndarray, np.ndarray]:
    """Give the table of `poisson_count`.

    Returns
    -------
    thresholds : (means, counts) ndarray of uint32
        Cumulative probability of 0, 1, ... photons, times 2**32.
    guide : (means, 256) ndarray of uint8
        Fewest photons for the first byte of a random number.
    """
    means = np.arange(0.0, _MOST + _STEP, _STEP)
    cumulative = poisson.cdf(np.arange(_COUNTS), means[:, None])
    thresholds = np.minimum(cumulative * 2.0**32, 2.0**32 - 1).astype(np.uint32)
    first_bytes = np.arange(256, dtype=np.uint64) << np.uint64(24)
    guide = [np.searchsorted(row, first_bytes, side="right") for row in thresholds]
    return thresholds, np.array(guide).clip(0, _COUNTS - 1).astype(np.uint8)


def poisson_counts(means: Array, key: int) -> Array:
    """Draw Poisson counts.

    Parameters
    ----------
    means : (m,) array of float32
        From 0 on; NumPy or CuPy.
    key : int
        64 bits.

    Returns
    -------
    (m,) array of int32
        A function of the mean, the key and the place. The same on a device, but for one in some
        10,000 of those of means beyond the table.
    """
    if namespace(means) is not np:
        from hpdp_dask.numerics.stills import gpu

        return gpu.draw_counts(means, key)
    counts = np.zeros(len(means), np.int32)
    means = np.ascontiguousarray(means, np.float32)
    works = np.ones(len(means), np.bool_)
    draws = new_draws(len(means))
    draw_row(means, works, np.uint64(key), 0, *poisson_table(), draws, 1, counts)
    return counts


_compiled = numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_compiled
def new_draws(length):  # type: ignore[no-untyped-def]
    """Give room for the random numbers of a row: (3, length) uint32."""
    return np.empty((3, length), np.uint32)


@_compiled
def draw_row(  # type: ignore[no-untyped-def]
    means, works, key, first, thresholds, guide, draws, factor, cells
):
    """Draw a row of pixels, and raise the count of each cell to the largest of its pixels.

    Parameters
    ----------
    means : (m,) float32
        From 0 on.
    works : (m,) bool
        Pixels that count.
    key : uint64
    first : int
        Number of the first pixel: the same number gives the same draw, another an independent one.
    thresholds, guide
        Of `poisson_table`.
    draws : (3, m) uint32
        Of `new_draws`.
    factor : int
        Pixels of a cell.
    cells : (m / factor,) int32
        Raised in place. Whether a count is larger can be told without drawing it to the end.
    """
    level, limit, other = draws
    for pixel in range(len(means)):
        steps = means[pixel] * np.float32(1.0 / _STEP)
        row = np.uint32(np.int32(min(steps, np.float32(_ROWS))))
        level[pixel] = row
        # exp(-rest) is never below 1 - rest
        rest = (steps - np.float32(row)) * np.float32(_STEP)
        limit[pixel] = np.uint32(max(np.float32(1.0) - rest, np.float32(0.0)) * _BELOW_ONE)
        other[pixel] = np.uint32(random_bits(key, np.uint64(first + pixel)) >> _HALF)
    for cell in range(len(cells)):
        most = cells[cell]
        for pixel in range(cell * factor, (cell + 1) * factor):
            if not works[pixel]:
                continue
            row = np.int64(level[pixel])
            bits = random_bits(key, np.uint64(first + pixel))
            if row >= _ROWS:
                most = max(most, _large(float(means[pixel]), bits))
                continue
            more = 0
            if other[pixel] > limit[pixel]:
                more = _few(float(means[pixel]) - row * _STEP, other[pixel] * 2.0**-32)
            drawn = np.uint32(bits & _LOW)
            least = most - more
            if least >= 0 and (least >= _COUNTS or drawn < thresholds[row, least]):
                continue
            count = max(np.int64(guide[row, drawn >> _GUIDE]), least)
            while count < _COUNTS - 1 and drawn >= thresholds[row, count]:
                count += 1
            most = max(most, count + more)
        cells[cell] = most


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _few(mean, uniform):  # type: ignore[no-untyped-def]
    """Give the count of a mean far below 1 that belongs to a uniform number."""
    chance = math.exp(-mean)
    total, count = chance, 0
    while uniform >= total and count < 12:
        count += 1
        chance *= mean / count
        total += chance
    return count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _large(mean, key):  # type: ignore[no-untyped-def]
    """Draw a count of a large mean by transformed rejection."""
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse = 1.1239 + 1.1328 / (b - 3.4)
    squeeze = 0.9277 - 3.6224 / (b - 2.0)
    logarithm = math.log(mean)
    counter = np.uint64(0)
    while True:
        u = random_uniform(key, counter) - 0.5
        v = random_uniform(key, counter + np.uint64(1))
        counter += np.uint64(2)
        near = 0.5 - abs(u)
        count = math.floor((2.0 * a / near + b) * u + mean + 0.43)
        if near >= 0.07 and v <= squeeze:
            return int(count)
        if count < 0 or (near < 0.013 and v > near):
            continue
        left = math.log(v) + math.log(inverse) - math.log(a / (near * near) + b)
        if left <= count * logarithm - mean - math.lgamma(count + 1.0):
            return int(count)
