"""The common mode: an offset that pixels which are read out together share in a frame.

Lines of a pnCCD, or the chips of other detectors, move up and down together from frame to frame,
which shows as stripes. The offset of such a *group* of pixels is found from those without a photon:
the lowest peak of their histogram, then the median about it, so that signal on many of the
pixels does not pull it up (after `cmc` of Hummingbird, Daurer et al. 2016, J. Appl. Cryst. 49,
1042, which takes the median of all that is below a limit).
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

#: A group with fewer pixels near its offset has none that can be trusted.
FEWEST_PIXELS = 12

#: The share of a standard normal's absolute values below this is a quarter.
_QUARTER = 0.31864

#: The offset is the mean of what is within so many standard deviations of it.
_WITHIN = 2.0

_TURNS = 5

#: The standard deviation of a normal distribution over the distance of its quartiles.
_TO_SIGMA = 1.4826

#: Standard deviations between a tenth and three tenths of a normal distribution.
_THREE_TENTHS = 0.757

#: Times the noise: where the lower half of a group is wider, it is not of pixels without photons.
_WIDEST = 4.5

#: A peak counts if it is at least this share of the highest.
_STRONG = 0.5

_BINS_PER_NOISE = 2
_BINS = 128

_compiled = numba.njit(cache=True, nogil=True)


class Groups(NamedTuple):
    """Which pixels share an offset.

    Attributes
    ----------
    order : (p,) ndarray of int32
        Good pixels, flat, group after group.
    starts : (groups + 1,) ndarray of int32
        Where each group begins in `order`.
    member : (y, x) ndarray of int32
        The group of each pixel, bad ones included.
    """

    order: np.ndarray
    starts: np.ndarray
    member: np.ndarray


def group_pixels(shape: tuple[int, int], block: tuple[int, int], good: np.ndarray) -> Groups:
    """Cut a detector into blocks of pixels that share an offset.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the detector.
    block : tuple of int
        Rows and columns of a block: `(1, 128)` are parts of lines, `(64, 64)` chips. What is
        left at the lower and right edge joins the last block if it is less than half of one.
    good : (y, x) ndarray of bool
        Pixels whose values count.

    Returns
    -------
    Groups
    """
    row, column = (
        np.minimum(np.arange(length) // size, max(1, int(length / size + 0.5)) - 1)
        for length, size in zip(shape, block, strict=True)
    )
    across = int(column[-1]) + 1
    member = (row[:, None] * across + column[None, :]).astype(np.int32)
    chosen = np.flatnonzero(good)
    of = member.reshape(-1)[chosen]
    order = chosen[np.argsort(of, kind="stable")].astype(np.int32)
    groups = (int(row[-1]) + 1) * across
    starts = np.searchsorted(np.sort(of), np.arange(groups + 1)).astype(np.int32)
    return Groups(order, starts, member)


def pixel_noise(adu: np.ndarray, good: np.ndarray) -> float:
    """Estimate the noise of a pixel from the differences of neighbours along a line.

    Parameters
    ----------
    adu : (n, y, x) ndarray of float32
        Frames; what is not finite does not count.
    good : (y, x) ndarray of bool

    Returns
    -------
    float
        Standard deviation in a pixel without photons, ADU: from the smallest quarter of the
        differences of each frame, and of the frames the quarter with the least. NaN if no
        neighbours are good.
    """
    pairs = good[:, 1:] & good[:, :-1]
    of_frames = []
    for frame in adu:
        difference = np.abs(np.diff(frame, axis=1)[pairs])
        difference = difference[np.isfinite(difference)]
        if len(difference):
            of_frames.append(float(np.quantile(difference, 0.25)) / (_QUARTER * 2.0**0.5))
    return float(np.quantile(of_frames, 0.25)) if of_frames else float("nan")


def subtract_common_mode(adu: np.ndarray, groups: Groups, noise: float) -> np.ndarray:
    """Subtract the common mode from frames, in place.

    Parameters
    ----------
    adu : (n, y, x) ndarray of float32
        Frames; changed, in bad pixels too. What is not finite stays so.
    groups : Groups
    noise : float
        Standard deviation in a pixel without photons, ADU.

    Returns
    -------
    (n, groups) ndarray of float32
        What was subtracted, ADU: 0 where a group has fewer than `FEWEST_PIXELS` pixels without
        photons to tell.
    """
    offsets = np.zeros((len(adu), len(groups.starts) - 1), np.float32)
    _subtract(adu.reshape(len(adu), -1), *groups[:2], groups.member.reshape(-1), noise, offsets)
    return offsets


@_compiled
def _subtract(adu, order, starts, member, noise, offsets):  # type: ignore[no-untyped-def]
    most = 0
    for group in range(len(starts) - 1):
        most = max(most, starts[group + 1] - starts[group])
    values = np.empty(most, np.float32)
    histogram = np.zeros(_BINS, np.int32)
    for frame in range(len(adu)):
        for group in range(len(starts) - 1):
            number = 0
            for place in range(starts[group], starts[group + 1]):
                value = adu[frame, order[place]]
                if np.isfinite(value):
                    values[number] = value
                    number += 1
            if number >= FEWEST_PIXELS:
                offsets[frame, group] = _offset(np.sort(values[:number]), histogram, noise)
        for pixel in range(adu.shape[1]):
            adu[frame, pixel] -= offsets[frame, member[pixel]]


@_compiled
def _offset(ordered, histogram, noise):  # type: ignore[no-untyped-def]
    """Find where pixels without photons are among sorted values; 0 if too few are there."""
    number = len(ordered)
    # pixels without photons are below; three tenths of all are near their middle if they are
    # 40 % of them or more
    centre = ordered[3 * number // 10]
    width = max(noise, (centre - ordered[number // 10]) / _THREE_TENTHS)
    if width > _WIDEST * noise:
        # most pixels hold photons, or the group is no good; without photons the peak is narrow
        centre, width = _lowest_peak(ordered, histogram, noise), noise
    first, stop = 0, number
    for _ in range(_TURNS):
        first = np.searchsorted(ordered, centre - _WITHIN * width)
        stop = np.searchsorted(ordered, centre + _WITHIN * width)
        if stop - first < FEWEST_PIXELS:
            return 0.0
        # photons are above, so what is below tells the width
        below = (first + np.searchsorted(ordered, centre)) // 2
        width = max(noise, _TO_SIGMA * (centre - ordered[below]))
        centre = ordered[(first + stop) // 2]
    return ordered[first:stop].mean()


@_compiled
def _lowest_peak(ordered, histogram, noise):  # type: ignore[no-untyped-def]
    """Find the lowest of the high peaks among sorted values."""
    # a twentieth of the pixels may be lower than the peak for whatever reason
    low = ordered[len(ordered) // 20] - 4.0 * noise
    histogram[:] = 0
    for value in ordered:
        place = (value - low) * _BINS_PER_NOISE / noise
        if 0.0 <= place < _BINS:
            histogram[int(place)] += 1
    highest = 0
    for place in range(2, _BINS - 2):
        highest = max(highest, _smooth(histogram, place))
    for place in range(2, _BINS - 3):
        here = _smooth(histogram, place)
        if here >= _STRONG * highest and here >= _smooth(histogram, place + 1):
            return low + (place + 0.5) * noise / _BINS_PER_NOISE
    return low


@_compiled
def _smooth(histogram, place):  # type: ignore[no-untyped-def]
    beside = histogram[place - 1] + histogram[place + 1]
    return 3 * histogram[place] + 2 * beside + histogram[place - 2] + histogram[place + 2]
