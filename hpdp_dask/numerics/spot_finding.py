"""Bragg spots of a frame: connected pixels that stand out of the background of their ring.

A pixel begins a spot when it is far above its cell, and neighbours that are less far above join
it (two thresholds, as in Canny's edges); so two pixels suffice, which chance gives in one of some
hundred frames, and no single hot pixel. Then each spot is held against what is directly around
it: the edge of a shadow stands out of its ring, but not of its neighbourhood.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from hpdp_dask.numerics.arrays import Array, namespace, to_host
from hpdp_dask.numerics.azimuthal import (
    AzimuthalCells,
    Background,
    clipped_background,
    skew_term,
    thresholds,
)

#: Standard deviations of a pixel that begins a spot, and of one that joins it.
STRONG, WEAK = 4.5, 3.0

#: Standard deviations of what is around a spot that its brightest pixel must be above it.
LOCAL = 3.5

#: Pixels of a spot, and the share of its brightest pixel that the next brightest has: a hot pixel
#: beside one that is bright by chance is none.
FEWEST, MOST, SHARED = 2, 150, 0.02

#: Half the window around a spot, in pixels; standard deviations above what is in it that the whole
#: spot must reach; and pixels that tell of it.
_HALF, _SIGMAS, _FEWEST_AROUND = 6, 5.0, 20


class SpotList(NamedTuple):
    """Spots of a frame, strongest first.

    Attributes
    ----------
    row, column : (spots,) ndarray of float64
        Centroid, pixels; weighted with what is above the background.
    pixel : (spots,) ndarray of int64
        The brightest pixel, row by row.
    intensity : (spots,) ndarray of float64
        Sum above the local background, in the units of the frame.
    deviation : (spots,) ndarray of float64
        One standard deviation of it by the background and, where the quantum is known, photons.
    size : (spots,) ndarray of int64
        Pixels.
    """

    row: np.ndarray
    column: np.ndarray
    pixel: np.ndarray
    intensity: np.ndarray
    deviation: np.ndarray
    size: np.ndarray

    def take(self, which: np.ndarray) -> SpotList:
        """Give some of the spots."""
        return SpotList(*(values[which] for values in self))


def find_spots(
    frame: Array,
    cells: AzimuthalCells,
    quantum: float | None,
    *,
    highest: float = np.inf,
) -> tuple[SpotList, Background]:
    """Find the spots of a frame.

    Parameters
    ----------
    frame : (y, x) array
        Photons, or what was read out.
    cells : AzimuthalCells
    quantum : float or None
        What one photon is in the frame, None where nobody knows.
    highest : float, optional
        A pixel above it says nothing (a marker of bad pixels).

    Returns
    -------
    spots : SpotList
    background : Background
    """
    background = clipped_background(frame, cells, quantum)
    weak, strong = thresholds(background, WEAK), thresholds(background, STRONG)
    pixel = _above(frame, cells, weak, highest)
    spots = _measure(
        to_host(frame), cells.cell, to_host(weak), to_host(strong), pixel, background.tail, quantum
    )
    return spots, background


def _above(frame: Array, cells: AzimuthalCells, limits: Array, highest: float) -> np.ndarray:
    """Give the pixels above their cell's limit, in order."""
    xp = namespace(frame)
    flat = frame.reshape(-1)
    if xp is np:
        if flat.dtype.kind in "iu":
            limits = _whole(limits, flat.dtype)
        out = np.empty(len(flat), np.int32)
        return out[: _scan(flat, cells.cell, limits, highest, out)].copy()
    lit = flat > limits[xp.asarray(cells.cell)]
    return to_host(xp.flatnonzero(lit & (flat <= highest))).astype(np.int32)


def _whole(limits: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Round limits down to integers that a pixel must exceed."""
    most = np.iinfo(dtype).max
    whole = np.full(limits.shape, most, dtype)
    within = limits < most
    whole[within] = np.floor(limits[within])
    return whole


@numba.njit(cache=True, nogil=True)
def _scan(flat, cell, limits, highest, out):  # type: ignore[no-untyped-def]
    number = 0
    for pixel in range(len(flat)):
        if flat[pixel] > limits[cell[pixel]] and flat[pixel] <= highest:
            out[number] = pixel
            number += 1
    return number


def connect(pixel: np.ndarray, columns: int) -> tuple[np.ndarray, int]:
    """Label pixels that touch, corners included.

    Parameters
    ----------
    pixel : (n,) ndarray of int32
        Rising, row by row.
    columns : int
        Of the frame.

    Returns
    -------
    label : (n,) ndarray of int64
        From 0, in the order of the first pixel of each.
    number : int
        Of labels.
    """
    label = np.empty(len(pixel), np.int64)
    number = _connect(pixel, columns, np.arange(len(pixel)), label)
    return label, number


@numba.njit(cache=True, nogil=True)
def _root(parent, place):  # type: ignore[no-untyped-def]
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


@numba.njit(cache=True, nogil=True)
def _connect(pixel, columns, parent, label):  # type: ignore[no-untyped-def]
    above = 0
    for place in range(len(pixel)):
        here = pixel[place]
        column = here % columns
        if place > 0 and column > 0 and pixel[place - 1] == here - 1:
            parent[place] = _root(parent, place - 1)
        first = here - columns - (1 if column > 0 else 0)
        last = here - columns + (1 if column < columns - 1 else 0)
        while pixel[above] < first:
            above += 1
        other = above
        while pixel[other] <= last:
            one, two = _root(parent, place), _root(parent, other)
            # the root is the first pixel, whose label is known when others ask for it
            parent[max(one, two)] = min(one, two)
            other += 1
    number = 0
    for place in range(len(pixel)):
        root = _root(parent, place)
        if root == place:
            label[place] = number
            number += 1
        else:
            label[place] = label[root]
    return number


def _measure(
    frame: np.ndarray,
    cell: np.ndarray,
    weak: np.ndarray,
    strong: np.ndarray,
    pixel: np.ndarray,
    tail: float,
    quantum: float | None,
) -> SpotList:
    """Put pixels together to spots, measure them, and keep those that stand out.

    Parameters
    ----------
    frame, cell
        The frame on the host, and the cell of each pixel.
    weak, strong : (cells + 1,) ndarrays
        Limits of pixels that join and begin a spot.
    pixel : (n,) ndarray
        Those above `weak`, in order.
    tail, quantum : float
        How skew the background is; what one photon is.
    """
    flat, columns, photon = frame.reshape(-1), frame.shape[1], quantum or 0.0
    label, number = connect(pixel, columns)
    size, brightest = np.zeros(number, np.int64), np.zeros(number, np.int64)
    begins, next_brightest = np.zeros(number, bool), np.zeros(number)
    _describe(flat, cell, strong, pixel, label, size, brightest, next_brightest, begins)
    kept = np.flatnonzero(begins & (size >= FEWEST) & (size <= MOST))
    size, brightest = size[kept], brightest[kept]
    name = np.full(number, -1)
    name[kept] = np.arange(len(kept))
    local, spread = np.zeros(len(kept)), np.zeros(len(kept))
    around = np.zeros(len(kept), np.int64)
    _look_around(flat, cell, weak, brightest, columns, photon, local, spread, around)
    intensity, row, column = np.zeros(len(kept)), np.zeros(len(kept)), np.zeros(len(kept))
    _sum_spots(flat, pixel, label, name, local, columns, intensity, row, column)
    # by the pixels of the spot, and by the mean of those around it
    variance = size * spread**2 * (1.0 + size / np.maximum(around, 1))
    peak = flat[brightest] - local
    shared = next_brightest[kept] - local > SHARED * peak
    stands_out = (
        (around >= _FEWEST_AROUND)
        & (peak > LOCAL * spread + tail * skew_term(LOCAL))
        & (intensity > _SIGMAS * np.sqrt(variance))
        & shared
    )
    chosen = np.flatnonzero(stands_out)
    chosen = chosen[np.argsort(-intensity[chosen], kind="stable")]
    deviation = np.sqrt(variance + photon * np.maximum(intensity, 0.0))
    found = SpotList(row, column, brightest, intensity, deviation, size)
    return found.take(chosen)


@numba.njit(cache=True, nogil=True)
def _describe(flat, cell, strong, pixel, label, size, brightest, next_brightest, begins):  # type: ignore[no-untyped-def]
    for place in range(len(pixel)):
        spot, here = label[place], pixel[place]
        value = flat[here]
        if size[spot] == 0:
            brightest[spot] = here
        elif value > flat[brightest[spot]]:
            next_brightest[spot] = flat[brightest[spot]]
            brightest[spot] = here
        else:
            next_brightest[spot] = max(next_brightest[spot], value)
        size[spot] += 1
        begins[spot] |= value > strong[cell[here]]


@numba.njit(cache=True, nogil=True)
def _sum_spots(flat, pixel, label, name, local, columns, intensity, row, column):  # type: ignore[no-untyped-def]
    weights = np.zeros(len(local))
    for place in range(len(pixel)):
        spot = name[label[place]]
        if spot >= 0:
            above = flat[pixel[place]] - local[spot]
            weight = max(above, 0.0)
            intensity[spot] += above
            weights[spot] += weight
            row[spot] += weight * (pixel[place] // columns)
            column[spot] += weight * (pixel[place] % columns)
    for spot in range(len(local)):
        if weights[spot] > 0.0:
            row[spot] /= weights[spot]
            column[spot] /= weights[spot]


@numba.njit(cache=True, nogil=True)
def _look_around(flat, cell, weak, brightest, columns, quantum, mean, spread, around):  # type: ignore[no-untyped-def]
    rows = len(flat) // columns
    for spot in range(len(brightest)):
        row, column = brightest[spot] // columns, brightest[spot] % columns
        total, squares, number = 0.0, 0.0, 0
        for y in range(max(row - _HALF, 0), min(row + _HALF + 1, rows)):
            for x in range(max(column - _HALF, 0), min(column + _HALF + 1, columns)):
                value, limit = flat[y * columns + x], weak[cell[y * columns + x]]
                # an infinite limit is that of a pixel that counts nowhere
                if value <= limit and limit < np.inf:
                    total += value
                    squares += value * value
                    number += 1
        if number > 0:
            centre = total / number
            mean[spot] = centre
            spread[spot] = np.sqrt(max(squares / number - centre * centre, quantum * centre))
        around[spot] = number
