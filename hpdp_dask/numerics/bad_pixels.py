"""Pixels that cannot be trusted, found from what they do in many frames.

A photon only ever adds to what is read out. So the noise of a pixel shows in its values below
zero, whatever it sees, and a pixel that is lit where its neighbours are not is hot.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from scipy.ndimage import percentile_filter, uniform_filter

from hpdp_dask.numerics.gain import BIN, BINS, LOWEST

#: Why a pixel is bad: the codes of `judge_pixels`.
REASONS = ("good", "masked before", "not finite", "dead", "noisy", "hot")

#: A pixel may fail in this share of the frames.
_MAY_FAIL = 1e-3

#: Standard deviations of the noise: from here on a pixel is lit, and deviations count no more.
_LIT = 4.0
_MOST = 4.0

#: How sure one must be, in standard deviations of a normal distribution: among a million good
#: pixels none is called bad by chance.
_SURE = 6.0

#: A pixel, or a whole group of them, is noisy if its variance is so many times the usual one, and
#: its standard deviation such a share of a photon: there it takes one in fifteen for a photon.
_NOISY = 4.0
_NOISY_SHARE = 1 / 3

#: A pixel is dead if its range is less, in standard deviations.
_DEAD = 0.5
_FEWEST_FRAMES = 8

#: A pixel is compared with the bright ones of a square of neighbours, this percentile of them:
#: some of these are on the same fringe of a pattern.
_NEIGHBOURHOOD = 7
_BRIGHT = 80

#: A hot pixel is lit that much more often than its neighbours.
_HOT_MORE, _HOT_TIMES = 0.1, 2.0


class PixelStatistics(NamedTuple):
    """Sums over frames, of each pixel.

    Attributes
    ----------
    not_finite, below, lit : (y, x) ndarray of int64
        Frames in which it is not finite, below zero, and lit.
    below_squares : (y, x) ndarray of float64
        Sum of squares where it is below zero, in units of the noise.
    lowest, highest : (y, x) ndarray of float32
        As read out, ADU.
    histogram : (BINS,) ndarray of int64
        Of all good pixels without common mode; see `hpdp_dask.numerics.gain`.
    frames : (2,) ndarray of int64
        That counted, and that did not, since most of their pixels are not finite.
    """

    not_finite: np.ndarray
    below: np.ndarray
    lit: np.ndarray
    below_squares: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    histogram: np.ndarray
    frames: np.ndarray


def no_statistics(shape: tuple[int, int]) -> PixelStatistics:
    """Begin sums over no frames.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    """
    return PixelStatistics(
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        np.zeros(shape),
        np.full(shape, np.inf, np.float32),
        np.full(shape, -np.inf, np.float32),
        np.zeros(BINS, np.int64),
        np.zeros(2, np.int64),
    )


def is_whole(adu: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Tell of which frames at least half of the good pixels are finite.

    Parameters
    ----------
    adu : (n, y, x) ndarray of float32
    good : (y, x) ndarray of bool

    Returns
    -------
    (n,) ndarray of bool
    """
    return np.isfinite(adu[:, good]).mean(axis=1) >= 0.5 if good.any() else np.ones(len(adu), bool)


def add_range(statistics: PixelStatistics, adu: np.ndarray) -> None:
    """Add the range of values as read out, with common mode, in which a dead pixel shows.

    Parameters
    ----------
    statistics : PixelStatistics
        Is added to.
    adu : (n, y, x) ndarray of float32
    """
    finite = np.isfinite(adu)
    lowest = np.where(finite, adu, np.inf).min(axis=0)
    highest = np.where(finite, adu, -np.inf).max(axis=0)
    np.minimum(statistics.lowest, lowest, out=statistics.lowest)
    np.maximum(statistics.highest, highest, out=statistics.highest)


def add_frames(
    statistics: PixelStatistics, adu: np.ndarray, good: np.ndarray, noise: float
) -> None:
    """Add what pixels do in frames without common mode.

    Parameters
    ----------
    statistics : PixelStatistics
        Is added to.
    adu : (n, y, x) ndarray of float32
    good : (y, x) ndarray of bool
        Pixels that the histogram is of.
    noise : float
        Standard deviation in a pixel without photons, ADU.
    """
    statistics.frames[0] += len(adu)
    _add(
        adu.reshape(len(adu), -1),
        good.reshape(-1),
        np.float32(1.0 / noise),
        *(part.reshape(-1) for part in statistics[:4]),
        statistics.histogram,
    )


@numba.njit(cache=True, nogil=True)
def _add(adu, good, per_adu, not_finite, below, lit, squares, histogram):  # type: ignore[no-untyped-def]
    for frame in range(len(adu)):
        for pixel in range(adu.shape[1]):
            value = adu[frame, pixel] * per_adu
            if not np.isfinite(value):
                not_finite[pixel] += 1
                continue
            if value < 0.0:
                below[pixel] += 1
                squares[pixel] += min(value * value, _MOST**2)
            elif value >= _LIT:
                lit[pixel] += 1
            place = (value - LOWEST) / BIN
            if good[pixel] and 0.0 <= place < BINS:
                histogram[int(place)] += 1


def merge_statistics(first: PixelStatistics, other: PixelStatistics) -> PixelStatistics:
    """Add two sums; both stay as they are."""
    return PixelStatistics(
        first.not_finite + other.not_finite,
        first.below + other.below,
        first.lit + other.lit,
        first.below_squares + other.below_squares,
        np.minimum(first.lowest, other.lowest),
        np.maximum(first.highest, other.highest),
        first.histogram + other.histogram,
        first.frames + other.frames,
    )


def judge_pixels(
    statistics: PixelStatistics,
    bad: np.ndarray,
    noise: float,
    gain: float,
    member: np.ndarray | None = None,
) -> np.ndarray:
    """Say of each pixel whether it is bad, and why.

    Parameters
    ----------
    statistics : PixelStatistics
    bad : (y, x) ndarray of bool
        Those known before.
    noise : float
        Standard deviation in a pixel without photons, ADU.
    gain : float
        ADU a photon.
    member : (y, x) ndarray of int, optional
        Which group of pixels each belongs to that are read out together; see
        `hpdp_dask.numerics.common_mode`.

    Returns
    -------
    (y, x) ndarray of uint8
        Index along `REASONS`. *Not finite* are those that fail in more than one of a thousand
        frames. With less than eight frames nothing else is found.
    """
    frames = int(statistics.frames[0])
    reason = np.zeros(bad.shape, np.uint8)
    if frames >= _FEWEST_FRAMES:
        reason[_is_hot(statistics, bad, frames)] = REASONS.index("hot")
        reason[_is_noisy(statistics, bad, gain / noise, member)] = REASONS.index("noisy")
        with np.errstate(invalid="ignore"):
            still = statistics.highest - statistics.lowest < _DEAD * noise
        reason[still] = REASONS.index("dead")
    reason[statistics.not_finite > _MAY_FAIL * frames] = REASONS.index("not finite")
    reason[bad] = REASONS.index("masked before")
    return reason


def _is_noisy(
    statistics: PixelStatistics, bad: np.ndarray, photon: float, member: np.ndarray | None
) -> np.ndarray:
    """Tell which pixels, alone or with all of their group, scatter much below zero.

    A photon is so many standard deviations of the noise.
    """
    below = np.maximum(statistics.below, 1)
    variance = statistics.below_squares / below
    counted = (statistics.below > 0) & ~bad
    typical = float(np.median(variance[counted])) if counted.any() else 1.0
    # deviations count up to a limit, which the mean square of them cannot go beyond
    least = max(_NOISY * typical, min(_NOISY_SHARE * photon, 0.9 * _MOST) ** 2)
    # the quantile of chi squared over its degrees of freedom (Wilson & Hilferty 1931)
    spread = 2.0 / (9.0 * below)
    sure = (1.0 - spread + _SURE * np.sqrt(spread)) ** 3 * typical
    noisy = (statistics.below > 0) & (variance > np.maximum(sure, least))
    if member is not None:
        groups = int(member.max()) + 1
        number = np.bincount(member[counted], statistics.below[counted], groups)
        squares = np.bincount(member[counted], statistics.below_squares[counted], groups)
        noisy |= (squares > least * np.maximum(number, 1.0))[member]
    return noisy


def _is_hot(statistics: PixelStatistics, bad: np.ndarray, frames: int) -> np.ndarray:
    """Tell which pixels are lit in many more frames than their neighbours."""
    share = statistics.lit / frames
    good = np.where(bad, 0.0, 1.0)
    weight = np.maximum(uniform_filter(good, _NEIGHBOURHOOD, mode="constant"), 1e-6)
    nearby = uniform_filter(good * share, _NEIGHBOURHOOD, mode="constant") / weight
    around = percentile_filter(np.where(bad, nearby, share), _BRIGHT, size=_NEIGHBOURHOOD)
    expected = around * frames
    limit = expected + 2.0 + _SURE * np.sqrt(expected * (1.0 - around) + 1.0)
    return (statistics.lit > limit) & (share > _HOT_TIMES * around + _HOT_MORE)
