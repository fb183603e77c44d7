"""Random numbers that are a function of a key and a counter, for kernels.

SplitMix64 (Steele, Lea & Flood 2014, OOPSLA, figure 15): the output function of a counter that
goes on by an odd constant. A pixel's number depends on the key and on the pixel alone, so kernels
may go through pixels in any order, on any device.
"""

from __future__ import annotations

import numba
import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_SCALE = 2.0**-53


@numba.njit(cache=True, nogil=True, inline="always")
def random_bits(key: np.uint64, counter: np.uint64) -> np.uint64:
    """Give 64 random bits of a key and a counter."""
    state = key + (counter + np.uint64(1)) * _GOLDEN
    state = (state ^ (state >> _30)) * _FIRST
    state = (state ^ (state >> _27)) * _SECOND
    return state ^ (state >> _31)


@numba.njit(cache=True, nogil=True, inline="always")
def random_uniform(key: np.uint64, counter: np.uint64) -> float:
    """Give a number in (0, 1), 53 bits, never 0."""
    return ((random_bits(key, counter) >> _11) + 0.5) * _SCALE
