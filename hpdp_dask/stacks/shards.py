"""Images from the shards of a stack, at the speed of the disk.

zarr-python 3.1 decodes a shard inner chunk by inner chunk through several copies: a fifth of
the disk's speed in sequence, a hundredth at random (benchmarks/random_access.py). What this
package writes is therefore read here, after the specification of the `sharding_indexed` codec;
any other array of images is read through zarr. A missing or damaged shard is an error, never
the fill value.
"""

from __future__ import annotations

import errno
import mmap
import os
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import ArrayLike

from hpdp_dask.errors import InputError
from hpdp_dask.stacks.layout import CHECKSUM_BYTES, Layout, checksum, read_layout

#: Maps that a reader keeps; the kernel allows 65,530 a process.
MOST_MAPS = 4096

#: Unpacks what any of its kind packed: how is written in front of it.
_BLOSC = Blosc()


class ImageReader:
    """Reads the images of a stack.

    It opens by reading one small JSON file, and is pickled as the path.

    Parameters
    ----------
    path : str or Path
        The stack.

    Attributes
    ----------
    number : int
        Images in the stack.
    box : int
        Pixels along a side of a square image.
    image_shape : tuple of int
        Rows and columns.
    dtype : dtype
        As stored.
    images_per_shard : int
        Images in a whole shard.

    Raises
    ------
    InputError
        There is no stack, or it has no images.

    Examples
    --------
    >>> reader = ImageReader("particles.zarr")  # doctest: +SKIP
    >>> reader.take([3, 17, 2]).shape  # doctest: +SKIP
    (3, 128, 128)
    """

    def __init__(self, path: str | Path) -> None:
        self.layout = read_layout(path)
        self.number = self.layout.number
        self.box = self.layout.box
        self.image_shape = self.layout.image_shape
        self.dtype = self.layout.dtype
        self.images_per_shard = self.layout.images_per_shard
        self._maps: dict[int, tuple[mmap.mmap, np.ndarray]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.layout.path,)

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Read images that follow each other; every inner chunk's checksum is verified.

        Parameters
        ----------
        start, stop : int
            The first image and the one after the last, from 0.
        out : (stop - start, y, x) ndarray, optional
            Where to, in the stored dtype: new memory for each of many blocks costs as much time
            as unpacking half of it.

        Returns
        -------
        (stop - start, y, x) ndarray
            In the stored dtype. Nothing else of that size is allocated for raw shards.

        Raises
        ------
        InputError
            A shard is missing, cut short or damaged: names it and the images in it.
        IndexError
            The range is not inside the stack.
        """
        if not 0 <= start <= stop <= self.number:
            raise IndexError(f"images {start}:{stop} of a stack of {self.number}")
        if out is None:
            out = np.empty((stop - start, *self.image_shape), self.dtype)
        per_shard = self.images_per_shard
        for shard in range(start // per_shard, -(-stop // per_shard)):
            first, last = max(start, shard * per_shard), min(stop, (shard + 1) * per_shard)
            target = out[first - start : last - start]
            if self.layout.raw or self.layout.packed:
                _read_directly(self.layout, shard, first, target)
            else:
                _read_through_zarr(self.layout, shard, first, target)
        return out

    def take(self, indices: ArrayLike) -> np.ndarray:
        """Read single images in any order.

        Raw shards are memory-mapped and only the images' own bytes are touched, so their
        checksums, which are over whole inner chunks, are not verified.

        Parameters
        ----------
        indices : (n,) array_like of int
            From 0; may repeat.

        Returns
        -------
        (n, y, x) ndarray
            In the stored dtype.

        Raises
        ------
        InputError
            A shard is missing or cut short, or for shards that are not raw, damaged.
        IndexError
            An index is not inside the stack.
        """
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < self.number:
            raise IndexError(f"images {wanted.min()}..{wanted.max()} of a stack of {self.number}")
        out = np.empty((len(wanted), *self.image_shape), self.dtype)
        per_shard, per_chunk = self.images_per_shard, self.layout.images_per_chunk
        if not self.layout.raw:
            starts = wanted - wanted % per_shard % per_chunk
            for start in np.unique(starts).tolist():
                # an inner chunk is unpacked whole, and no shard shares one with the next
                stop = min(start + per_chunk, start - start % per_shard + per_shard, self.number)
                chosen = np.flatnonzero(starts == start)
                out[chosen] = self.read(start, stop)[wanted[chosen] - start]
            return out
        pixels = self.image_shape[0] * self.image_shape[1]
        flat = out.reshape(len(wanted), pixels)
        for position, index in enumerate(wanted.tolist()):
            shard, within = divmod(index, per_shard)
            chunk, image = divmod(within, per_chunk)
            mapped, parts = self._map(shard)
            offset = int(parts[chunk, 0]) + image * pixels * self.dtype.itemsize
            flat[position] = np.frombuffer(mapped, self.dtype, pixels, offset)
        return out

    def _map(self, shard: int) -> tuple[mmap.mmap, np.ndarray]:
        """Map a shard: the map, and offset and size of each inner chunk."""
        found = self._maps.get(shard)
        if found is None:
            with _open_shard(self.layout, shard) as file:
                parts = _read_index(self.layout, shard, file)
                found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), parts
            if len(self._maps) >= MOST_MAPS:
                self._maps.pop(next(iter(self._maps)))
            self._maps[shard] = found
        return found


def _images(first: int, stop: int) -> str:
    return f"image {first}" if stop == first + 1 else f"images {first} to {stop - 1}"


def _missing(layout: Layout, shard: int) -> InputError:
    start, stop = layout.shard_range(shard)
    return InputError(
        f"{layout.path}: the shard {layout.shard_file(shard).relative_to(layout.path)} with "
        f"{_images(start, stop)} (counted from 0) is missing; copy the stack again, or import "
        "it again."
    )


def _damaged(layout: Layout, shard: int, first: int, stop: int, what: str) -> InputError:
    return InputError(
        f"{layout.path}: {what} in the shard {layout.shard_file(shard).relative_to(layout.path)}, "
        f"so {_images(first, stop)} (counted from 0) cannot be read; copy the stack again from a "
        "good disk, or import it again."
    )


def _open_shard(layout: Layout, shard: int) -> FileIO:
    """Open the file of a shard."""
    try:
        return FileIO(layout.shard_file(shard), "rb")
    except FileNotFoundError:
        raise _missing(layout, shard) from None


def _read_index(layout: Layout, shard: int, file: FileIO) -> np.ndarray:
    """Read and check the index at the end of a shard: offset and size of each inner chunk."""
    start, stop = layout.shard_range(shard)
    size = os.fstat(file.fileno()).st_size
    footer = 16 * layout.chunks_per_shard + CHECKSUM_BYTES
    if size < footer:
        raise _damaged(layout, shard, start, stop, f"{size} bytes are too few for the index")
    raw = os.pread(file.fileno(), footer, size - footer)
    table, stored = np.frombuffer(raw, np.uint8, footer - CHECKSUM_BYTES), raw[-CHECKSUM_BYTES:]
    if checksum(table) != stored:
        raise _damaged(layout, shard, start, stop, "the index at the end is damaged (cut short?)")
    index = table.view("<u8").reshape(-1, 2)
    needed = -(-(stop - start) // layout.images_per_chunk)
    chunk_bytes = layout.images_per_chunk * layout.image_bytes + CHECKSUM_BYTES
    offsets, sizes = index[:needed, 0], index[:needed, 1]
    # what is absent has the greatest of all numbers for both
    wrong = np.flatnonzero(
        (offsets > np.uint64(size))
        | (sizes > np.uint64(size) - np.minimum(offsets, np.uint64(size)))
        | (sizes != chunk_bytes if layout.raw else sizes <= CHECKSUM_BYTES)
    )
    if wrong.size:
        first = start + int(wrong[0]) * layout.images_per_chunk
        raise _damaged(
            layout,
            shard,
            first,
            min(first + layout.images_per_chunk, stop),
            "an inner chunk was never written",
        )
    return index[:needed].astype(np.int64)


def _read_directly(layout: Layout, shard: int, first: int, out: np.ndarray) -> None:
    """Read the images of one shard from `first` on straight into `out`."""
    start, stop = layout.shard_range(shard)
    per_chunk = layout.images_per_chunk
    last = first + len(out)
    read_chunk = _read_packed if layout.packed else _read_raw
    with _open_shard(layout, shard) as file:
        index = _read_index(layout, shard, file)
        for chunk in range((first - start) // per_chunk, -(-(last - start) // per_chunk)):
            low = start + chunk * per_chunk
            high = low + per_chunk
            whole = first <= low and high <= last
            data = (
                out[low - first : high - first]
                if whole
                else np.empty((per_chunk, *out.shape[1:]), out.dtype)
            )
            offset, size = index[chunk]
            wrong = read_chunk(file, int(offset), int(size), data.reshape(-1).view(np.uint8))
            if wrong:
                raise _damaged(layout, shard, low, min(high, stop), wrong)
            if not whole:
                a, b = max(low, first), min(high, last)
                out[a - first : b - first] = data[a - low : b - low]


def _read_raw(file: FileIO, offset: int, size: int, out: np.ndarray) -> str | None:
    """Read an inner chunk of plain numbers; say what is wrong with it, if anything is."""
    stored = bytearray(CHECKSUM_BYTES)
    if os.preadv(file.fileno(), [out.data, stored], offset) != size:
        return "the file is cut short"
    return "a checksum does not match" if checksum(out) != stored else None


def _read_packed(file: FileIO, offset: int, size: int, out: np.ndarray) -> str | None:
    """Read an inner chunk that went through Blosc; say what is wrong with it, if anything is."""
    raw = os.pread(file.fileno(), size, offset)
    if len(raw) != size:
        return "the file is cut short"
    packed = np.frombuffer(raw, np.uint8, size - CHECKSUM_BYTES)
    if checksum(packed) != raw[-CHECKSUM_BYTES:]:
        return "a checksum does not match"
    try:
        _BLOSC.decode(packed, out)
    except (RuntimeError, ValueError) as error:
        return f"an inner chunk cannot be unpacked ({error})"
    return None


def _read_through_zarr(layout: Layout, shard: int, first: int, out: np.ndarray) -> None:
    """Read the images of one shard from `first` on by zarr, which knows all codecs."""
    array = zarr.open_array(layout.path / layout.array, mode="r")
    last = first + len(out)
    if not (layout.path / layout.array / array.metadata.encode_chunk_key((shard, 0, 0))).exists():
        raise _missing(layout, shard)
    try:
        out[...] = array[first:last]
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EIO):
            raise
        for low in range(first, last, layout.images_per_chunk):
            high = min(low + layout.images_per_chunk, last)
            try:
                array[low:high]
            except Exception as inner:
                raise _damaged(layout, shard, low, high, f"{inner}".rstrip(".")) from inner
        raise
