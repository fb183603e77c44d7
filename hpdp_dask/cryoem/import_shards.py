"""The tasks of an import: each gathers the images of one shard from files all over the place."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr

from hpdp_dask.cryoem.particle_images import read_rows
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.layout import PRECISIONS, Layout, read_layout
from hpdp_dask.stacks.shard_writer import write_shard

#: What a task holds of its shard at a time.
BLOCK_BYTES = 16 * 2**20

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_shard(stack: Path, shard: int, signs: np.ndarray) -> np.ndarray:
    """Find the rows of images that are not finite or are of one value, without writing any."""
    bad: list[np.ndarray] = []
    for _ in _blocks(stack, read_layout(stack), shard, signs, bad):
        pass
    return np.concatenate(bad)


def import_shard(stack: Path, shard: int, signs: np.ndarray) -> np.ndarray:
    """Write a shard; give the rows of images that are not finite or are of one value.

    Parameters
    ----------
    stack : Path
        The stack, with its table (`image_file`, `image_index`, `image_file_name`) written.
    shard : int
        Which.
    signs : (n,) ndarray of int8
        What each image of the shard is multiplied by: 1 or -1.

    Returns
    -------
    (k,) ndarray of int64
        Rows of the table.

    Raises
    ------
    InputError
        The disk is full, or what `_blocks` and `write_shard` find wrong.
    """
    bad: list[np.ndarray] = []
    layout = read_layout(stack)
    try:
        write_shard(stack, shard, _blocks(stack, layout, shard, signs, bad))
    except OSError as error:
        if error.errno in DISK_FULL:
            needed = forecast_bytes(layout.number, layout.box, str(layout.precision))
            raise disk_full(stack.parent, needed) from error
        if not stack.exists():
            raise InputError(f"{stack}: was removed while it was written.") from error
        raise
    return np.concatenate(bad)


def forecast_bytes(number: int, box: int | None, precision: str) -> int:
    """Forecast the size of a stack: its images, if it has any, and 1 kB of table a particle."""
    pixels = 0 if box is None else box * box * PRECISIONS[precision].itemsize
    return number * (1024 + (pixels // 2 if precision == "rounded" else pixels))


def disk_full(folder: Path, needed: int) -> InputError:
    """Make the error for a disk that does not have the bytes that a stack needs."""
    free = shutil.disk_usage(folder).free
    return InputError(
        f"{folder}: the disk is full: the stack needs about {needed} bytes, {free} are free; make "
        "room, write to another disk, or keep the images in --precision float16."
    )


def _blocks(
    stack: Path, layout: Layout, shard: int, signs: np.ndarray, bad: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Read the images of a shard, some whole inner chunks at a time."""
    start, stop = layout.shard_range(shard)
    rows = slice(start, stop)
    names, file, index = (
        np.asarray(zarr.open_array(stack / name, mode="r")[selection])
        for name, selection in (
            ("image_file_name", ...),
            ("image_file", rows),
            ("image_index", rows),
        )
    )
    files = [Path(str(name)) for name in names]
    chunk = layout.images_per_chunk
    step = chunk * max(1, BLOCK_BYTES // (4 * layout.box**2 * chunk))
    for first in range(0, stop - start, step):
        block = slice(first, first + step)
        images = read_rows(files, file[block], index[block])
        images *= signs[block, None, None]
        low, high = images.min(axis=(1, 2)), images.max(axis=(1, 2))  # NaN if a pixel is
        good = np.isfinite(low) & np.isfinite(high) & (high > low)
        bad.append(start + first + np.flatnonzero(~good))
        yield images
