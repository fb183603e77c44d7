"""MRC files: stacks of images and volumes, read in bounded memory, written whole or not at all.

Images are [image, y, x], volumes [z, y, x]. Origin and start indices of a header are ignored:
programs disagree about them, and refinement does not need them.
"""

from __future__ import annotations

import zlib
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc_header import (
    HEADER_BYTES,
    PACKED_MODE,
    MrcInfo,
    new_header,
    open_mrc,
    read_info,
)
from hpdp_dask.formats.writing import write_whole

__all__ = [
    "MrcInfo",
    "MrcStack",
    "MrcStackWriter",
    "read_info",
    "read_map",
    "write_map",
    "write_stack",
]

#: Images that are converted and summed at a time.
_SLAB = 16


class MrcStack:
    """The images of an MRC file. It holds no file open, so it travels between processes.

    Parameters
    ----------
    path : Path
        Not gzipped.

    Attributes
    ----------
    info : MrcInfo

    Raises
    ------
    InputError
        Missing, not an MRC file, truncated, compressed.
    """

    def __init__(self, path: Path) -> None:
        self.info = read_info(path)
        if self.info.compressed:
            raise InputError(
                f"{path}: images of a gzipped stack cannot be reached singly; gunzip it."
            )

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read images that lie together, with plain reads that leave no memory map behind.

        Parameters
        ----------
        start, stop : int
            From which image, counted from 0, to before which.

        Returns
        -------
        (stop - start, y, x) ndarray of float32

        Raises
        ------
        InputError
            The stack does not have these images.
        """
        self._check(np.arange(start, stop))
        info = self.info
        with open(info.path, "rb") as file:
            file.seek(info.offset + start * info.image_bytes)
            raw = np.fromfile(file, np.uint8, (stop - start) * info.image_bytes)
        return _decode(raw.reshape(stop - start, info.image_bytes), info)

    def take(self, indices: ArrayLike) -> np.ndarray:
        """Read images here and there, through a memory map.

        Parameters
        ----------
        indices : (k,) array_like of int
            Counted from 0, in any order.

        Returns
        -------
        (k, y, x) ndarray of float32

        Raises
        ------
        InputError
            The stack does not have these images.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        self._check(wanted)
        info = self.info
        shape = (info.shape[0], info.image_bytes)
        mapped = np.memmap(info.path, np.uint8, "r", info.offset, shape)
        return _decode(np.asarray(mapped[wanted]), info)

    def _check(self, indices: np.ndarray) -> None:
        number = self.info.shape[0]
        outside = indices[(indices < 0) | (indices >= number)]
        if outside.size:
            raise InputError(
                f"{self.info.path}: image {int(outside[0]) + 1} was asked for, but the stack holds "
                f"images 1 to {number}; is it the stack that the particles were taken from?"
            )


def _decode(raw: np.ndarray, info: MrcInfo) -> np.ndarray:
    """Turn (k, bytes of an image) uint8 into (k, y, x) float32."""
    _, rows, columns = info.shape
    if info.mode == PACKED_MODE:
        # two pixels a byte, the left one in the low bits; a row of odd length ends in half a byte
        pairs = np.stack([raw & 15, raw >> 4], axis=-1).reshape(len(raw), rows, -1)
        return pairs[:, :, :columns].astype(np.float32)
    return raw.view(info.dtype).reshape(-1, rows, columns).astype(np.float32, copy=False)


def read_map(path: Path) -> tuple[np.ndarray, float]:
    """Read a volume, whatever the order of its axes in the file.

    Parameters
    ----------
    path : Path
        `.mrc` or `.map`, also `.gz`.

    Returns
    -------
    volume : (z, y, x) ndarray of float32
    pixel_size : float
        Å; NaN where the header says none or not the same one along all axes.

    Raises
    ------
    InputError
        Missing, not an MRC file, truncated, complex.
    """
    info = read_info(Path(path))
    expected = info.shape[0] * info.image_bytes
    with open_mrc(info.path) as file:
        try:
            raw = file.read(info.offset + expected)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: cannot be gunzipped: {error}.") from error
    if len(raw) < info.offset + expected:
        raise InputError(
            f"{path}: truncated: expected {info.offset + expected} bytes, found {len(raw)}; copy "
            "the file again."
        )
    sections = np.frombuffer(raw, np.uint8, offset=info.offset).reshape(info.shape[0], -1)
    stored = _decode(sections, info)
    order = info.axes[::-1]
    volume = stored.transpose([order.index(axis) for axis in (3, 2, 1)])
    pixel_size = np.nan if info.pixel_size is None else info.pixel_size
    return np.require(volume, requirements=["C", "W"]), pixel_size


class MrcStackWriter:
    """Writes a stack (or a volume) slab by slab; a context manager.

    The file takes its name when the last image is in it, with voxel size, space group and
    statistics in its header; after an error nothing is left.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        n (or z), y, x.
    pixel_size : float
        Å.
    dtype : dtype, optional
        float32 or float16 (or int8, int16, uint16 for images that are such).
    is_volume : bool, optional
        Write space group 1 instead of 0.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        pixel_size: float,
        dtype: DTypeLike = np.float32,
        *,
        is_volume: bool = False,
    ) -> None:
        self._shape = shape
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._header = new_header(shape, pixel_size, dtype, is_volume)
        size = HEADER_BYTES + int(np.prod(shape, dtype=np.int64)) * self._dtype.itemsize
        self._whole = write_whole(Path(path), size)
        self._written = 0
        self._least, self._most, self._sum, self._squares = np.inf, -np.inf, 0.0, 0.0

    def __enter__(self) -> Self:
        self._open = ExitStack()
        self._file = self._open.enter_context(self._whole)
        self._open.push(self._finish)
        self._file.seek(HEADER_BYTES)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def write(self, images: np.ndarray) -> None:
        """Add the next images.

        Parameters
        ----------
        images : (k, y, x) ndarray
        """
        if images.shape[1:] != self._shape[1:] or self._written + len(images) > self._shape[0]:
            raise ValueError(
                f"images of shape {images.shape} after {self._written} of {self._shape}"
            )
        stored = np.ascontiguousarray(images.astype(self._dtype, casting="same_kind", copy=False))
        self._file.write(stored.data)
        self._written += len(stored)
        if stored.size:
            self._least = min(self._least, float(stored.min()))
            self._most = max(self._most, float(stored.max()))
            self._sum += float(stored.sum(dtype=np.float64))
            self._squares += float(np.square(stored, dtype=np.float64).sum())

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the header, unless something went wrong before."""
        if kind is not None:
            return
        if self._written != self._shape[0]:
            raise ValueError(f"{self._written} of {self._shape[0]} images were written")
        number = int(np.prod(self._shape, dtype=np.int64))
        mean = self._sum / number
        self._header["dmin"], self._header["dmax"] = self._least, self._most
        self._header["dmean"] = mean
        self._header["rms"] = np.sqrt(max(self._squares / number - mean**2, 0.0))
        self._file.seek(0)
        self._file.write(self._header.tobytes())


def write_stack(path: Path, images: np.ndarray, pixel_size: float) -> None:
    """Write (n, y, x) images as float32 with their pixel size in Å.

    Raises
    ------
    InputError
        The disk is full, or the folder cannot be written to.
    """
    _write(path, images, pixel_size, is_volume=False)


def write_map(path: Path, volume: np.ndarray, pixel_size: float) -> None:
    """Write a (z, y, x) volume as float32 with its voxel size in Å.

    Raises
    ------
    InputError
        The disk is full, or the folder cannot be written to.
    """
    _write(path, volume, pixel_size, is_volume=True)


def _write(path: Path, values: np.ndarray, pixel_size: float, is_volume: bool) -> None:
    sections, rows, columns = values.shape
    shape = (sections, rows, columns)
    with MrcStackWriter(path, shape, pixel_size, is_volume=is_volume) as writer:
        for first in range(0, sections, _SLAB):
            writer.write(values[first : first + _SLAB])
