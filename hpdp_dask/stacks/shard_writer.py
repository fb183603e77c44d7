"""Images into the shards of a stack, a block at a time.

A shard is written here rather than by zarr so that a task needs one block of it in memory, not
the shard three times over; what lies on disk is what zarr would have written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numcodecs import Blosc

from hpdp_dask.stacks.layout import (
    CHECKSUM_BYTES,
    PACKED,
    Layout,
    checksum,
    read_layout,
    to_precision,
)

#: Offset and size of an inner chunk that was not written, in the index of a shard.
ABSENT = np.uint64(2**64 - 1)


def write_shard(path: str | Path, shard: int, blocks: Iterable[np.ndarray]) -> int:
    """Write a whole shard, block after block, under a temporary name until it is complete.

    Parameters
    ----------
    path : str or Path
        The stack, made by `hpdp_dask.stacks.store.new_stack`.
    shard : int
        Which.
    blocks : iterable of (n, y, x) ndarray
        The images of the shard in order. Each block but the last holds whole inner chunks, so
        that only one block is in memory at a time.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    InputError
        The images do not fit the precision.
    ValueError
        The blocks do not make up the shard.
    OSError
        The disk is full, or does not take it.
    """
    layout = read_layout(path)
    if layout.precision is None:
        raise ValueError(f"{path}: images were not laid out by new_stack")
    start, stop = layout.shard_range(shard)
    index = np.full((layout.chunks_per_shard, 2), ABSENT, "<u8")
    file_name = layout.shard_file(shard)
    # One level at a time and never the stack itself: a task that outlives a failed command must
    # not raise its folder from the dead.
    for folder in (file_name.parents[1], file_name.parent):
        folder.mkdir(exist_ok=True)
    temporary = file_name.with_name(f".0.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            offset = 0
            for chunk, data in enumerate(_chunks_of(layout, start, stop, blocks)):
                file.write(data.data)
                file.write(checksum(data))
                index[chunk] = offset, len(data) + CHECKSUM_BYTES
                offset += len(data) + CHECKSUM_BYTES
            table = index.reshape(-1).view(np.uint8)
            file.write(table.data)
            file.write(checksum(table))
            size = file.tell()
        os.replace(temporary, file_name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return size


def _chunks_of(
    layout: Layout, start: int, stop: int, blocks: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """Cut blocks into the encoded bytes of inner chunks, the last one filled up."""
    empty = 0 if layout.precision == "counts" else np.nan
    expected = stop - start
    seen = 0
    packed = PACKED[str(layout.precision)] if layout.packed else None
    blosc = Blosc(*packed, Blosc.BITSHUFFLE) if packed else None
    for block in blocks:
        if block.shape[1:] != layout.image_shape or seen % layout.images_per_chunk:
            raise ValueError(f"block of shape {block.shape} after {seen} images of a shard")
        seen += len(block)
        if seen > expected:
            raise ValueError(f"{seen} images for a shard of {expected}")
        stored = np.ascontiguousarray(to_precision(block, str(layout.precision)))
        if stored.dtype != layout.dtype:
            raise ValueError(f"images of {stored.dtype} for a stack of {layout.dtype}")
        for first in range(0, len(stored), layout.images_per_chunk):
            chunk = stored[first : first + layout.images_per_chunk]
            if len(chunk) < layout.images_per_chunk:
                filled = np.full((layout.images_per_chunk, *chunk.shape[1:]), empty, chunk.dtype)
                filled[: len(chunk)] = chunk
                chunk = filled
            if blosc is not None:
                yield np.frombuffer(blosc.encode(chunk), np.uint8)
            else:
                yield chunk.reshape(-1).view(np.uint8)
    if seen != expected:
        raise ValueError(f"{seen} images for a shard of {expected}")
