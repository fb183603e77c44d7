"""The background of a frame ring by ring: mean and spread of what is no spot, by sigma clipping.

A ring of ``|q|`` is cut into sectors, since polarisation, shadows and scatter of the holder make
it brighter on one side than on the other. Each cell is told from a sample of its pixels, spread
evenly: the samples of all cells together are a small part of the frame, so that most of the time
goes into the one comparison of every pixel with its cell that finds spots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.polar import polar_cells

#: Sectors of a ring, and good pixels that a sector has on average; else the ring stays whole.
SECTORS = 8
_PIXELS_PER_SECTOR = 64

#: Pixels of a cell from which its background can be told, and those that are looked at.
_FEWEST_PIXELS = 12
SAMPLES = 128

#: Clip what is so many standard deviations off, so often at most.
_CLIP = 3.0
_TURNS = 8

#: How skew the values are is asked of what is within so many standard deviations.
_WIDE = 6.0


@dataclass(frozen=True)
class AzimuthalCells:
    """Which cell each pixel is in, and which pixels tell of a cell.

    Attributes
    ----------
    cell : (pixels,) ndarray of unsigned integers
        Row by row; the number of cells for a pixel that counts nowhere.
    sample : (cells, SAMPLES) ndarray of int32
        Pixels of each cell; the first `number` of a row count.
    number : (cells,) ndarray of int32
    ring : (cells,) ndarray of int32
        The ring that the cell is of.
    ring_q : (rings,) ndarray of float64
        ``|q|`` in the middle of each ring, 1/Å.
    """

    cell: np.ndarray
    sample: np.ndarray
    number: np.ndarray
    ring: np.ndarray
    ring_q: np.ndarray


@dataclass(frozen=True)
class Background:
    """What the cells of a frame have without spots.

    Attributes
    ----------
    mean, deviation : (cells,) arrays of float32
        In the units of the frame.
    tail : float
        How skew the values are: third over second cumulant, in the units of the frame; that of
        Poisson's law is the quantum.
    """

    mean: Array
    deviation: Array
    tail: float


def azimuthal_cells(q: np.ndarray, good: np.ndarray, *, ring_pixels: float = 2.0) -> AzimuthalCells:
    """Divide a detector into rings and sectors.

    Parameters
    ----------
    q : (3, y, x) ndarray
        Scattering vectors, `diffraction.scattering_vectors`, 1/Å.
    good : (y, x) ndarray of bool
        Pixels that count.
    ring_pixels : float, optional
        Width of a ring, in steps from one pixel to the next.

    Returns
    -------
    AzimuthalCells
        Cells with less than a dozen good pixels are left out.

    Raises
    ------
    ValueError
        No pixel is good.
    """
    polar = polar_cells(q, good.astype(np.float64), angles=SECTORS, friedel=False)
    width = polar.width * ring_pixels
    outside = polar.rings * SECTORS
    rings = int(np.ceil(polar.edges[-1] / width))
    counts = polar.cell < outside
    ring = np.where(counts, (polar.q / width).astype(np.int64), rings)
    whole = np.bincount(ring, minlength=rings + 1) < SECTORS * _PIXELS_PER_SECTOR
    place = ring * SECTORS + np.where(whole[ring], 0, polar.cell % SECTORS)
    number = np.bincount(place, minlength=(rings + 1) * SECTORS)
    number[rings * SECTORS :] = 0
    kept = np.flatnonzero(number >= _FEWEST_PIXELS)
    name = np.full(len(number), len(kept), np.min_scalar_type(len(kept)))
    name[kept] = np.arange(len(kept))
    cell = name[place]
    return AzimuthalCells(
        cell=cell,
        sample=_samples(cell, number[kept]),
        number=np.minimum(number[kept], SAMPLES).astype(np.int32),
        ring=(kept // SECTORS).astype(np.int32),
        ring_q=(np.arange(rings) + 0.5) * width,
    )


def _samples(cell: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Choose pixels of each cell, evenly in the order of the frame."""
    order = np.argsort(cell, kind="stable")[: number.sum()]
    first = np.concatenate([[0], np.cumsum(number)[:-1]])
    share = np.minimum(np.arange(SAMPLES), number[:, None] - 1)
    many = number > SAMPLES
    share[many] = np.arange(SAMPLES) * number[many, None] // SAMPLES
    return order[first[:, None] + share].astype(np.int32)


def clipped_background(frame: Array, cells: AzimuthalCells, quantum: float | None) -> Background:
    """Find the background of a frame by sigma clipping in each cell.

    Parameters
    ----------
    frame : (y, x) array
    cells : AzimuthalCells
    quantum : float or None
        What one photon is in the frame: 1 of photons, None where nobody knows. With it, the spread
        is at least Poisson's, and how skew the values are is known; else that is measured.

    Returns
    -------
    Background
    """
    if quantum is not None:
        return Background(*_clipped(frame, cells, _CLIP, quantum, quantum), quantum)
    mean, deviation = _clipped(frame, cells, _CLIP, 0.0, 0.0)
    tail = _skewness(frame, cells, mean, deviation)
    return Background(*_clipped(frame, cells, _CLIP, 0.0, tail), tail)


def _clipped(
    frame: Array, cells: AzimuthalCells, clip: float, floor: float, tail: float
) -> tuple[Array, Array]:
    """Give mean and deviation of each cell; the variance is at least `floor` times the mean."""
    xp = namespace(frame)
    flat = frame.reshape(-1)
    if xp is np:
        mean = np.empty(len(cells.sample), np.float32)
        deviation = np.empty_like(mean)
        above = tail * skew_term(clip)
        _clip(flat, cells.sample, cells.number, clip, floor, above, mean, deviation)
        return mean, deviation
    values, counts = _sampled(flat, cells)
    for turn in range(_TURNS):
        number = xp.maximum(counts.sum(axis=1), 1)
        mean = xp.where(counts, values, 0).sum(axis=1) / number
        variance = xp.where(counts, (values - mean[:, None]) ** 2, 0).sum(axis=1) / number
        deviation = xp.sqrt(xp.maximum(variance, floor * mean))
        off = values - mean[:, None]
        highest = clip * deviation + tail * skew_term(clip)
        if turn < _TURNS - 1:
            counts &= (off <= highest[:, None]) & (off >= -clip * deviation[:, None])
    return mean.astype(xp.float32), deviation.astype(xp.float32)


def _sampled(flat: Array, cells: AzimuthalCells) -> tuple[Array, Array]:
    """Give the (cells, SAMPLES) values that tell of each cell, and which of them count."""
    xp = namespace(flat)
    values = flat[xp.asarray(cells.sample)].astype(xp.float32)
    counts = (xp.arange(SAMPLES) < xp.asarray(cells.number)[:, None]) & xp.isfinite(values)
    return values, counts


def _skewness(frame: Array, cells: AzimuthalCells, mean: Array, deviation: Array) -> float:
    """Measure the third over the second cumulant of the background: the median of all cells."""
    xp = namespace(frame)
    values, counts = _sampled(frame.reshape(-1), cells)
    off = values - mean[:, None]
    counts &= xp.abs(off) <= _WIDE * deviation[:, None]
    off = xp.where(counts, off, 0)
    number = xp.maximum(counts.sum(axis=1), 1)
    off = xp.where(counts, off - (off.sum(axis=1) / number)[:, None], 0)
    ratio = (off**3).sum(axis=1) / xp.maximum((off**2).sum(axis=1), 1e-30)
    return max(0.0, float(xp.median(ratio)))


def thresholds(background: Background, sigmas: float) -> Array:
    """Give what a pixel of each cell must exceed to be as rare as `sigmas` of a normal deviate.

    That is the quantile by the first term of Cornish and Fisher's expansion (1938), which for a
    tenth of a photon still is within one photon of Poisson's.

    Parameters
    ----------
    background : Background
    sigmas : float

    Returns
    -------
    (cells + 1,) array of float32
        Infinite in the last place, that of pixels that count nowhere.
    """
    xp = namespace(background.mean)
    above = sigmas * background.deviation + background.tail * skew_term(sigmas)
    limit = xp.maximum(background.mean + above, 0.0)
    return xp.append(limit, xp.float32(np.inf)).astype(xp.float32)


def skew_term(sigmas: float) -> float:
    """Give by how many quanta the quantile of a skew law is above that of a normal one."""
    return (sigmas**2 - 1.0) / 6.0


def ring_profile(background: Background, cells: AzimuthalCells) -> np.ndarray:
    """Give the mean background of each ring: (rings,) float64, NaN where no cell is."""
    xp = namespace(background.mean)
    mean = background.mean if xp is np else background.mean.get()
    number = np.bincount(cells.ring, minlength=len(cells.ring_q))
    total = np.bincount(cells.ring, mean, len(cells.ring_q))
    return np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0)


# sums may be reordered, but what is not finite stays so
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _clip(flat, sample, number, clip, floor, above, mean, deviation):  # type: ignore[no-untyped-def]
    values = np.empty(sample.shape[1], np.float32)
    clip, floor, above = np.float32(clip), np.float32(floor), np.float32(above)
    for cell in range(len(sample)):
        left = 0
        for place in range(number[cell]):
            value = np.float32(flat[sample[cell, place]])
            values[left] = value
            left += np.isfinite(value)
        centre = spread = np.float32(0.0)
        for _ in range(_TURNS):
            if left == 0:
                break
            centre = np.float32(0.0)
            for place in range(left):
                centre += values[place]
            centre /= np.float32(left)
            variance = np.float32(0.0)
            for place in range(left):
                off = values[place] - centre
                variance += off * off
            spread = np.sqrt(max(variance / np.float32(left), floor * centre))
            highest, lowest = centre + clip * spread + above, centre - clip * spread
            outside = 0
            for place in range(left):
                outside += (values[place] > highest) | (values[place] < lowest)
            if outside == 0:
                break
            kept = 0
            for place in range(left):
                value = values[place]
                values[kept] = value
                kept += (value <= highest) & (value >= lowest)
            left = kept
        mean[cell] = centre
        deviation[cell] = spread
