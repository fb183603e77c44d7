"""Stills of crystals on the GPU: CuPy launches the kernels of `stills.cu`.

Spots agree with the CPU's to rounding in double precision. Counts of equal means are equal; of
means of 32 and more, all but one in some 10,000, since whether a draw is taken hangs there on the
last digit of a logarithm in single precision. Means agree to rounding in single precision, which
makes another count in less than one of 100,000 pixels.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import cupy
import numpy as np

from hpdp_dask.numerics.poisson_counts import poisson_table

_THREADS = 128

#: Threads of a spot, which is a few rows tall, and what it is summed in units of, photons.
_STAMP_THREADS, _UNIT = 32, 2.0**-28


@lru_cache(maxsize=1)
def _module() -> cupy.RawModule:
    source = files("hpdp_dask.numerics.stills").joinpath("stills.cu").read_text()
    # rounding as on the CPU, where a product is rounded before it is added
    return cupy.RawModule(code=source, options=("--fmad=false",))


def _launch(name: str, number: int, arguments: tuple[object, ...], threads: int = _THREADS) -> None:
    """Launch a kernel with a thread for each of so many things."""
    _module().get_function(name)((-(-number // threads),), (threads,), arguments)


@lru_cache(maxsize=1)
def _table() -> tuple[cupy.ndarray, cupy.ndarray]:
    thresholds, guide = poisson_table()
    return cupy.asarray(thresholds), cupy.asarray(guide)


def draw_counts(means: cupy.ndarray, key: int) -> cupy.ndarray:
    """Draw Poisson counts; see `hpdp_dask.numerics.poisson_counts.poisson_counts`."""
    means = cupy.ascontiguousarray(means, dtype=cupy.float32)
    counts = cupy.zeros(means.shape, cupy.int32)
    if means.size:
        arguments = (means, np.int64(means.size), np.uint64(key), *_table(), counts)
        _launch("draw_counts", means.size, arguments)
    return counts


def find_spots(
    vectors: np.ndarray,
    star: np.ndarray,
    shape: np.ndarray,
    order: np.ndarray,
    settings: np.ndarray,
    origin: np.ndarray,
    fast: np.ndarray,
    slow: np.ndarray,
    rows: int,
    columns: int,
    profile: cupy.ndarray,
    key: np.uint64,
    tabulated: bool,
    table: cupy.ndarray,
) -> np.ndarray:
    """Find spots, in the order in which `bragg_kernel.collect_spots` finds them.

    Returns
    -------
    (m, 7) ndarray of float64
        On the host.
    """
    parameters = (settings, star.ravel(), shape.ravel(), origin, fast, slow)
    first, second = (settings[2] * np.linalg.norm(vectors[:2], axis=1)).astype(np.int32)
    lines = (2 * int(first) + 1) * (2 * int(second) + 1)
    given = (
        *(cupy.asarray(np.concatenate(parameters)), np.int32(first), np.int32(second)),
        *(np.int32(place) for place in order),
        *(np.int32(rows), np.int32(columns)),
        *(cupy.ascontiguousarray(profile), np.int32(profile.size), np.uint64(key)),
        cupy.ascontiguousarray(table),
        *(np.int32(length if tabulated else 0) for length in table.shape),
    )
    # once to see how many there are on each line, and once more to write them in order
    numbers = cupy.zeros(lines, cupy.int64)
    nowhere = cupy.zeros((1, 7), cupy.float64)
    _launch("find_spots", lines, (*given, cupy.zeros_like(numbers), np.int64(0), numbers, nowhere))
    ends = cupy.cumsum(numbers)
    total = int(ends[-1])
    spots = cupy.zeros((total, 7), cupy.float64)
    if total:
        arguments = (*given, ends - numbers, np.int64(total), numbers, spots)
        _launch("find_spots", lines, arguments)
    return np.asarray(spots.get())


def stamp_spots(image: cupy.ndarray, spots: np.ndarray, faintest: float) -> None:
    """Add spots to an image; see `hpdp_dask.numerics.stamped_spots.stamp_spots`."""
    if not len(spots):
        return
    sums = cupy.zeros(image.shape, cupy.uint64)
    arguments = (
        *(cupy.ascontiguousarray(cupy.asarray(spots), dtype=cupy.float64), np.int32(len(spots))),
        *(np.float64(faintest), *(np.int32(length) for length in image.shape), sums),
    )
    _launch("stamp_spots", _STAMP_THREADS * len(spots), arguments, _STAMP_THREADS)
    image += (sums * _UNIT).astype(cupy.float32)


def count_photons(
    spots: cupy.ndarray,
    parameters: np.ndarray,
    profile: np.ndarray,
    good_rows: np.ndarray,
    good_columns: np.ndarray,
    key: int,
    factor: int,
    shape: tuple[int, int],
) -> cupy.ndarray:
    """Count photons; see `hpdp_dask.numerics.still_image.count_photons`.

    Parameters
    ----------
    spots : (y, x) array of float32
    parameters : (23,) ndarray of float64
        As `stills.cu` tells.
    profile : (m, 2) ndarray of float32
        Photons independent of the azimuth, and the amplitude of its cos(2 psi).
    good_rows, good_columns : (y,), (x,) ndarray of bool
    key, factor : int
    shape : tuple of int
        Rows and columns of cells.

    Returns
    -------
    array of int32
    """
    counts = cupy.zeros(shape, cupy.int32)
    values = cupy.ascontiguousarray(spots, dtype=cupy.float32)
    arguments = (
        *(values, np.int32(values.shape[1]), cupy.asarray(parameters)),
        *(cupy.asarray(np.ascontiguousarray(profile)), np.int32(len(profile))),
        *(cupy.asarray(good_rows), cupy.asarray(good_columns), np.uint64(key), *_table()),
        *(np.int32(factor), *(np.int32(length) for length in shape), counts),
    )
    if counts.size:
        _launch("count_photons", counts.size, arguments)
    return counts
