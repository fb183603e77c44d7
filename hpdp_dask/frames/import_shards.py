"""The tasks of an import of frames: each reads, checks and writes one shard."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import BAD
from hpdp_dask.formats.stored_frames import Reader
from hpdp_dask.frames.counts import to_counts
from hpdp_dask.stacks.layout import Layout, read_layout
from hpdp_dask.stacks.shard_writer import write_shard

#: What a task holds of its shard at a time, as read.
BLOCK_BYTES = 16 * 2**20

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def import_shard(stack: Path, shard: int, *, reader: Reader, path: Path) -> tuple[int, int]:
    """Write a shard, unless a count does not fit the stack.

    Parameters
    ----------
    stack : Path
    shard : int
    reader : callable
        Reads frames.
    path : Path
        Where from, for messages.

    Returns
    -------
    tuple of int
        The largest count that was met, 0 for ADU, and the bytes written.

    Raises
    ------
    InputError
        A frame cannot be read, or holds what is no count of photons.
    """
    layout = read_layout(stack)
    bad = None
    if layout.array == "photons" and (stack / "mask").exists():
        bad = np.asarray(zarr.open_array(stack / "mask", mode="r")[...]) == BAD
    met = [0]
    try:
        size = write_shard(stack, shard, _blocks(layout, shard, reader, bad, path, met))
    except _TooLarge:
        size = 0
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full(stack.parent, forecast_bytes(layout)) from error
        if not stack.exists():
            raise InputError(f"{stack}: was removed while it was written.") from error
        raise
    return max(met), size


class _TooLarge(Exception):
    """A count does not fit the dtype of the stack."""


def _blocks(
    layout: Layout,
    shard: int,
    reader: Reader,
    bad: np.ndarray | None,
    path: Path,
    met: list[int],
) -> Iterator[np.ndarray]:
    """Read the frames of a shard, some whole inner chunks at a time."""
    start, stop = layout.shard_range(shard)
    rows, columns = layout.image_shape
    chunk = layout.images_per_chunk
    step = chunk * max(1, BLOCK_BYTES // (4 * rows * columns * chunk))
    for first in range(start, stop, step):
        frames = reader(first, min(first + step, stop))
        if layout.array == "photons":
            frames = to_counts(frames, bad, first, path)
            met.append(int(frames.max(initial=0)))
            if met[-1] > np.iinfo(layout.dtype).max:
                raise _TooLarge
        yield frames.astype(layout.dtype, copy=False)


def forecast_bytes(layout: Layout) -> int:
    """Forecast the size of a stack; photons shrink to a quarter at least."""
    pixels = layout.image_bytes // (4 if layout.packed else 1)
    return layout.number * (256 + pixels)


def disk_full(folder: Path, needed: int) -> InputError:
    """Make the error for a disk that is too small, of which no bytes are known if `needed` is 0."""
    free = shutil.disk_usage(folder).free
    needs = f"the stack needs about {needed} bytes, " if needed else ""
    return InputError(
        f"{folder}: the disk is full: {needs}{free} are free; make room or write to another disk."
    )
