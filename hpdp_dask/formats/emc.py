"""Photons in Dragonfly's `.emc` files: binary (sparse, dense integers, dense reals) and HDF5.

The binary file is of little-endian 32-bit integers: a header of 256 (frames, pixels, type), and
for sparse frames how many pixels of each have one photon and how many have more, then the places
of those with one, of those with more, and the counts of the latter. Dense frames follow the
header row by row. Source: the wiki of Dragonfly (Ayyer et al. 2016, J. Appl. Cryst. 49, 1320).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.hdf5 import is_hdf5, open_hdf5, read_range
from hpdp_dask.formats.stored_frames import StoredFrames

HEADER_BYTES = 1024
SPARSE, DENSEINTEGERS, DENSE_REALS = 0, 1, 2

INTEGER = np.dtype("<i4")
_DENSE: Mapping[int, np.dtype] = {DENSEINTEGERS: np.dtype("<i4"), DENSE_REALS: np.dtype("<f8")}
#: The datasets of an HDF5 file.
_PARTS = ("place_ones", "place_multi", "count_multi")


def read_emc(path: Path) -> StoredFrames:
    """Open an `.emc` file, binary or HDF5.

    Parameters
    ----------
    path : Path

    Returns
    -------
    StoredFrames
        The file does not say how pixels lie: a square number is taken for a square, others for a
        row. A detector file says better.

    Raises
    ------
    InputError
        The file is cut short, or is none of Dragonfly's.
    """
    if is_hdf5(path):
        return _open_hdf5(path)
    size = path.stat().st_size
    header = np.fromfile(path, INTEGER, 3)
    if len(header) < 3 or size < HEADER_BYTES:
        raise InputError(
            f"{path}: truncated: expected a header of {HEADER_BYTES} bytes, found {size} bytes; "
            "copy the file again."
        )
    number, pixels, kind = header.tolist()
    if number < 1 or pixels < 1 or kind not in (SPARSE, *_DENSE):
        raise InputError(
            f"{path}: the header says {number} frames of {pixels} pixels of type {kind}, expected "
            "positive numbers and a type of 0, 1 or 2; is this an .emc file?"
        )
    shape = _guessed_shape(pixels)
    reader: SparseReader | DenseReader
    dtype: np.dtype
    if kind == SPARSE:
        reader = SparseReader(path, number, shape)
        expected = reader.file_bytes(size)
        dtype = INTEGER
    else:
        dtype = _DENSE[kind]
        reader = DenseReader(path, shape, dtype)
        expected = HEADER_BYTES + number * pixels * dtype.itemsize
    if size < expected:
        raise InputError(
            f"{path}: truncated: expected {expected} bytes for {number} frames of {pixels} "
            f"pixels, found {size}; copy the file again."
        )
    return _frames(path, number, shape, dtype.newbyteorder("="), reader)


def _frames(
    path: Path,
    number: int,
    shape: tuple[int, int],
    dtype: np.dtype,
    reader: SparseReader | DenseReader | Hdf5Reader,
) -> StoredFrames:
    return StoredFrames(
        path=path,
        number=number,
        shape=shape,
        dtype=dtype,
        unit="photons",
        reader=reader,
        flat=True,
    )


def _guessed_shape(pixels: int) -> tuple[int, int]:
    edge = math.isqrt(pixels)
    return (edge, edge) if edge * edge == pixels else (1, pixels)


def _open_hdf5(path: Path) -> StoredFrames:
    with open_hdf5(path) as file:
        lacking = [name for name in ("num_pix", *_PARTS) if name not in file]
        if lacking:
            raise InputError(
                f"{path}: no dataset {lacking[0]}, expected {', '.join(_PARTS)} and num_pix; is "
                "this an .emc file?"
            )
        pixels = int(np.prod(file["num_pix"][()]))
        numbers = {len(file[name]) for name in _PARTS}
    if len(numbers) > 1 or not min(numbers) or pixels < 1:
        raise InputError(
            f"{path}: {', '.join(_PARTS)} have {sorted(numbers)} frames of {pixels} pixels, "
            "expected the same positive number of each; write the file again."
        )
    shape = _guessed_shape(pixels)
    return _frames(path, numbers.pop(), shape, np.dtype(np.int32), Hdf5Reader(path, shape))


@dataclass(frozen=True)
class SparseReader:
    """Reads sparse frames of a binary file."""

    path: Path
    number: int
    shape: tuple[int, int]

    def file_bytes(self, size: int) -> int:
        """Give the bytes that the file must have, from the numbers at its beginning.

        Raises
        ------
        InputError
            These are not complete, or negative.
        """
        beginning = HEADER_BYTES + 2 * self.number * INTEGER.itemsize
        if size < beginning:
            return beginning
        ones, multi = self._numbers()
        if min(ones.min(), multi.min()) < 0:
            frame = int(np.argmax((ones < 0) | (multi < 0)))
            raise InputError(
                f"{self.path}: frame {frame} has a negative number of pixels with photons; the "
                "file is damaged, copy it again."
            )
        return beginning + INTEGER.itemsize * int(ones.sum() + 2 * multi.sum())

    def _numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Give how many pixels of each frame have one photon, and more."""
        both = np.fromfile(self.path, INTEGER, 2 * self.number, offset=HEADER_BYTES)
        return both[: self.number].astype(np.int64), both[self.number :].astype(np.int64)

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`."""
        ones, multi = self._numbers()
        base = HEADER_BYTES + 2 * self.number * INTEGER.itemsize
        places = base, base + INTEGER.itemsize * int(ones.sum())
        counts = places[1] + INTEGER.itemsize * int(multi.sum())

        def part(offset: int, numbers: np.ndarray) -> np.ndarray:
            first, wanted = int(numbers[:start].sum()), int(numbers[start:stop].sum())
            return np.fromfile(self.path, INTEGER, wanted, offset=offset + first * INTEGER.itemsize)

        return _dense(
            self.path,
            start,
            self.shape,
            (ones[start:stop], part(places[0], ones)),
            (multi[start:stop], part(places[1], multi), part(counts, multi)),
        )


@dataclass(frozen=True)
class DenseReader:
    """Reads dense frames of a binary file."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`."""
        pixels = self.shape[0] * self.shape[1]
        flat = np.fromfile(
            self.path,
            self.dtype,
            (stop - start) * pixels,
            offset=HEADER_BYTES + start * pixels * self.dtype.itemsize,
        )
        return flat.reshape(stop - start, *self.shape).astype(self.dtype.newbyteorder("="))


@dataclass(frozen=True)
class Hdf5Reader:
    """Reads sparse frames of an HDF5 file."""

    path: Path
    shape: tuple[int, int]

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`."""
        with open_hdf5(self.path) as file:
            rows = [read_range(self.path, file[name], start, stop) for name in _PARTS]
        numbers = [np.array([len(row) for row in part], np.int64) for part in rows]
        ones, multi, counts = (
            np.concatenate([np.empty(0, INTEGER), *part]).astype(INTEGER) for part in rows
        )
        if (numbers[1] != numbers[2]).any():
            frame = start + int(np.argmax(numbers[1] != numbers[2]))
            raise InputError(
                f"{self.path}: frame {frame} has {numbers[1][frame - start]} places and "
                f"{numbers[2][frame - start]} counts of pixels with several photons; write the "
                "file again."
            )
        return _dense(self.path, start, self.shape, (numbers[0], ones), (numbers[1], multi, counts))


def _dense(
    path: Path,
    start: int,
    shape: tuple[int, int],
    ones: tuple[np.ndarray, np.ndarray],
    multi: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> np.ndarray:
    """Spread photons over frames.

    Parameters
    ----------
    path, start
        The file and the first frame, for messages.
    shape : tuple of int
    ones : tuple of ndarray
        How many pixels with one photon each frame has, and where.
    multi : tuple of ndarray
        Likewise of those with more, and their counts.

    Returns
    -------
    (n, y, x) ndarray of int32
    """
    pixels = shape[0] * shape[1]
    frames = np.zeros((len(ones[0]), pixels), np.int32)
    for numbers, places, counts in ((*ones, 1), multi):
        row = np.repeat(np.arange(len(frames)), numbers)
        wrong = (places < 0) | (places >= pixels)
        if wrong.any():
            bad = int(np.argmax(wrong))
            raise InputError(
                f"{path}: frame {start + int(row[bad])} has a photon in pixel {places[bad]}, but "
                f"pixels go from 0 to {pixels - 1}; copy the file again."
            )
        frames[row, places] = counts
    return frames.reshape(-1, *shape)
