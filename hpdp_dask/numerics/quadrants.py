"""Quadrants of diffraction images, as networks see them: pooled, with the beam in the corner.

A quarter of the detector shows what the whole does, at a quarter of the cost, and is the same
from detector to detector: row and column 0 lie at the beam, both axes point outward, and the
larger of neighbouring counts stands for them, so that spots survive the shrinking. Counts are
kept as the floor of their square root, which makes Poisson noise as large everywhere and fits a
byte. After Mendez et al. 2024, Acta Cryst. D80, 26 (the program resonet).

This is version 1 of the preprocessing. What changes a quadrant makes a new version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np

from hpdp_dask.numerics.arrays import Array, namespace

#: Of what is described here; a network is told which one it was trained on.
PREPROCESSING_VERSION = 1

#: Rows and columns of a quadrant.
SIDE = 512

#: Counts beyond are as good as this: its square root is 255.
MOST_COUNTS = 65025

#: Half a detector may be longer than a quadrant by so much; what is beyond is cut off.
_OVERHANG = 1.25

#: Pixel edges, by which a pixel may miss the line between quadrants through rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class QuadrantPlan:
    """Which pixels go into which cell of the four quadrants of a detector.

    Quadrants are counted 0 (+x, +y), 1 (-x, +y), 2 (-x, -y), 3 (+x, -y). Rows lie along y and
    columns along x, so that the direction of polarisation is the same in all of them.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of a frame.
    starts : (4 * SIDE * SIDE + 1,) ndarray of int32
        Where the pixels of each cell begin in `pixels`.
    pixels : (m,) ndarray of int32
        Places of good pixels in the flat frame, cell by cell.
    factor : int
        Pixels along an edge of a cell.
    pixel_size : float
        Edge of a cell, m.
    distance : float
        From the sample to the plane of the quadrants, m.
    covered : (4,) ndarray of float
        Share of the cells of each quadrant that have a pixel.
    """

    shape: tuple[int, int]
    starts: np.ndarray
    pixels: np.ndarray
    factor: int
    pixel_size: float
    distance: float
    covered: np.ndarray


def plan_quadrants(
    pixel_x: np.ndarray,
    pixel_y: np.ndarray,
    pixel_z: np.ndarray,
    mask: np.ndarray,
    pixel_size: float = float("nan"),
) -> QuadrantPlan:
    """Plan the quadrants of a detector, of one module or many.

    Parameters
    ----------
    pixel_x, pixel_y, pixel_z : (y, x) ndarray
        Centres of the pixels from the sample, the beam along z, m. Pixels that are not at the
        median distance are seen where a straight ray meets it.
    mask : (y, x) ndarray of int
        0 good; others are left out.
    pixel_size : float, optional
        Edge of a pixel, m; by default the median distance of neighbours.

    Returns
    -------
    QuadrantPlan
    """
    distance = float(np.median(np.abs(pixel_z)))
    if not pixel_size > 0:
        pixel_size = float(np.median(np.hypot(*(np.diff(p, axis=1) for p in (pixel_x, pixel_y)))))
    scale = distance / (np.abs(pixel_z) * pixel_size)
    x, y = (np.floor(p * scale + _ROUNDING).astype(np.int32) for p in (pixel_x, pixel_y))
    factor = pooling_factor(max(int(np.ptp(x)), int(np.ptp(y))) + 1)
    # of -1, -2, ... the cells are 0, 1, ... as those of 0, 1, ...
    column, row = np.where(x < 0, -1 - x, x) // factor, np.where(y < 0, -1 - y, y) // factor
    quadrant = np.where(y >= 0, np.where(x >= 0, 0, 1), np.where(x >= 0, 3, 2))
    pixels = np.flatnonzero((mask == 0) & (row < SIDE) & (column < SIDE))
    cell = ((quadrant * SIDE + row) * SIDE + column).ravel()[pixels]
    number = np.bincount(cell, minlength=4 * SIDE * SIDE)
    return QuadrantPlan(
        shape=mask.shape,
        starts=np.concatenate([[0], np.cumsum(number)]).astype(np.int32),
        pixels=pixels[np.argsort(cell, kind="stable")].astype(np.int32),
        factor=factor,
        pixel_size=factor * pixel_size,
        distance=distance,
        covered=(number > 0).reshape(4, -1).mean(axis=1),
    )


def pooling_factor(longest: int) -> int:
    """Give how many pixels make the edge of a cell, by the longer side of a detector in pixels.

    1 for detectors of a megapixel, 2 for a Pilatus 6M, 3 for 3840 pixels, 4 for an Eiger 16M.
    """
    return max(1, int(np.ceil(longest / 2 / (_OVERHANG * SIDE))))


def pool_quadrants(
    frames: Array, plan: QuadrantPlan, quadrants: Sequence[int] = (0, 1, 2, 3)
) -> Array:
    """Make quadrants of frames: the largest count of each cell, then its square root.

    Parameters
    ----------
    frames : (n, y, x) array
        Photons or ADU.
    plan : QuadrantPlan
    quadrants : sequence of int, optional
        Which ones.

    Returns
    -------
    (n, len(quadrants), SIDE, SIDE) array of uint8
        Floor of the square root; cells without good pixels, and counts below zero, are 0.
    """
    flat = frames.reshape(len(frames), -1)
    which = np.asarray(quadrants, np.int64)
    if namespace(frames) is np:
        found = np.empty((len(flat), len(which), SIDE, SIDE), np.uint8)
        _pool(np.ascontiguousarray(flat), plan.starts, plan.pixels, which, found)
        return found
    return _pool_on_device(flat, plan, which)


def pool_corner(images: Array, factor: int) -> Array:
    """Make quadrants of images that begin at the beam already, as simulated ones do.

    Parameters
    ----------
    images : (n, y, x) array
        Row and column 0 at the beam. What is bad should be 0.
    factor : int
        Pixels along an edge of a cell.

    Returns
    -------
    (n, SIDE, SIDE) array of uint8
        As `pool_quadrants` gives them: cropped, or filled up with 0.
    """
    xp = namespace(images)
    images = images[:, : SIDE * factor, : SIDE * factor]
    number, rows, columns = images.shape
    beyond = (0, -rows % factor), (0, -columns % factor)
    if beyond != ((0, 0), (0, 0)):
        images = xp.pad(images, ((0, 0), *beyond))
    down, across = images.shape[1] // factor, images.shape[2] // factor
    cells = images.reshape(number, down, factor, across, factor).max(axis=(2, 4))
    found = xp.zeros((number, SIDE, SIDE), xp.uint8)
    found[:, :down, :across] = rooted(cells)
    return found


def rooted(counts: Array) -> Array:
    """Give the floor of the square root of counts from 0 to `MOST_COUNTS`, as a byte."""
    xp = namespace(counts)
    # below 2**24 single precision has all integers, and the root of a square is exact
    return xp.sqrt(xp.clip(counts, 0, MOST_COUNTS).astype(xp.float32)).astype(xp.uint8)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _pool(
    frames: np.ndarray,
    starts: np.ndarray,
    pixels: np.ndarray,
    quadrants: np.ndarray,
    found: np.ndarray,
) -> None:
    """Fill quadrants of (n, y * x) frames, a row of cells at a time."""
    side = found.shape[2]
    largest = np.empty(side, np.float32)
    for frame in range(frames.shape[0]):
        values = frames[frame]
        for place in range(len(quadrants)):
            for row in range(side):
                first = (quadrants[place] * side + row) * side
                for column in range(side):
                    most = np.float32(0.0)
                    for entry in range(starts[first + column], starts[first + column + 1]):
                        # what is no number compares as false
                        value = np.float32(values[pixels[entry]])
                        if value > most:
                            most = value
                    largest[column] = most
                target = found[frame, place, row]
                for column in range(side):
                    target[column] = np.uint8(
                        np.sqrt(min(largest[column], np.float32(MOST_COUNTS)))
                    )


_SOURCE = """
extern "C" __global__ void pool(
    const float* frames, const int* starts, const int* pixels, const long long* quadrants,
    unsigned char* found, long long total, long long length, int wanted, int cells)
{
    long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= total) return;
    long long cell = place % cells, image = place / cells;
    long long first = quadrants[image % wanted] * cells + cell;
    const float* values = frames + (image / wanted) * length;
    float most = 0.0f;
    for (int entry = starts[first]; entry < starts[first + 1]; ++entry) {
        float value = values[pixels[entry]];
        if (value > most) most = value;
    }
    found[place] = (unsigned char)sqrtf(fminf(most, 65025.0f));
}
"""

_THREADS = 256


@lru_cache(maxsize=1)
def _kernel() -> Array:
    import cupy

    return cupy.RawKernel(_SOURCE, "pool")


def _pool_on_device(flat: Array, plan: QuadrantPlan, quadrants: np.ndarray) -> Array:
    """Fill quadrants of (n, y * x) frames on a device, a thread for each cell."""
    import cupy

    found = cupy.empty((len(flat), len(quadrants), SIDE, SIDE), cupy.uint8)
    values = cupy.ascontiguousarray(flat, dtype=cupy.float32)
    arguments = (
        *(values, cupy.asarray(plan.starts), cupy.asarray(plan.pixels), cupy.asarray(quadrants)),
        *(found, np.int64(found.size), np.int64(flat.shape[1])),
        *(np.int32(len(quadrants)), np.int32(SIDE * SIDE)),
    )
    _kernel()((-(-found.size // _THREADS),), (_THREADS,), arguments)
    return found
