"""Writing photons as Dragonfly's binary `.emc` files of sparse frames; see `emc`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.emc import HEADER_BYTES, INTEGER, SPARSE
from hpdp_dask.formats.stored_frames import spoken_frames
from hpdp_dask.formats.writing import write_whole


def write_emc(path: Path, number: int, pixels: int, blocks: Iterable[np.ndarray]) -> None:
    """Write a binary file of sparse frames, block after block.

    Parameters
    ----------
    path : Path
    number : int
        Frames in all.
    pixels : int
        Of a frame.
    blocks : iterable of (n, ...) ndarray of int
        Photons; only one block is in memory at a time.

    Raises
    ------
    InputError
        A count or a number of pixels is too large for the format, or the disk is full.
    """
    largest = np.iinfo(np.int32).max
    if max(number, pixels) > largest:
        raise InputError(
            f"{path}: {number} frames of {pixels} pixels are too many for .emc; export .cxi."
        )
    header = np.zeros(HEADER_BYTES // INTEGER.itemsize, INTEGER)
    header[:3] = number, pixels, SPARSE
    ones, multi, seen = np.zeros(number, INTEGER), np.zeros(number, INTEGER), 0
    with (
        TemporaryFile(dir=path.parent) as places,
        TemporaryFile(dir=path.parent) as several,
        TemporaryFile(dir=path.parent) as counts,
        write_whole(path, HEADER_BYTES) as file,
    ):
        for block in blocks:
            flat = block.reshape(len(block), -1)
            if flat.size and int(flat.max()) > largest:
                raise InputError(
                    f"{path}: {spoken_frames(seen, seen + len(flat))} hold up to {flat.max()} "
                    f"photons in a pixel, more than .emc can keep ({largest}); export .cxi."
                )
            row, place = np.nonzero(flat == 1)
            ones[seen : seen + len(flat)] = np.bincount(row, minlength=len(flat))
            places.write(place.astype(INTEGER).tobytes())
            row, place = np.nonzero(flat > 1)
            multi[seen : seen + len(flat)] = np.bincount(row, minlength=len(flat))
            several.write(place.astype(INTEGER).tobytes())
            counts.write(flat[row, place].astype(INTEGER).tobytes())
            seen += len(flat)
        if seen != number:
            raise ValueError(f"{seen} frames for a file of {number}")
        for numbers in (header, ones, multi):
            file.write(numbers.tobytes())
        for part in (places, several, counts):
            part.seek(0)
            copyfileobj(part, file, 2**22)
