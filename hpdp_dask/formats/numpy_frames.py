"""Frames in `.npy`, `.npy.gz` and `.npz` files."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.stored_frames import (
    PartialDetector,
    StoredFrames,
    known_columns,
    merged_mask,
    spoken_frames,
    unit_of_numbers,
)

_BROKEN = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error)


def read_numpy(path: Path, dataset: str | None = None) -> StoredFrames:
    """Open the frames of a file of NumPy.

    Parameters
    ----------
    path : Path
        `.npy`, `.npy.gz` or `.npz`.
    dataset : str, optional
        Which array of an `.npz`; by default the only one of three dimensions.

    Returns
    -------
    StoredFrames
        Of an `.npz` also `mask`, `label` or `labels`, and columns under the names of the schema.

    Raises
    ------
    InputError
        There is no such array, or it is cut short.
    """
    name = None
    beside: dict[str, np.ndarray] = {}
    if path.suffix == ".npz":
        headers = {key: _header(path, key) for key in _names(path)}
        name = _chosen(path, headers, dataset)
        number, *axes = headers[name][0] or (0,)
        beside = {
            key: load_array(path, key)
            for key, (shape, _, _) in headers.items()
            if key != name and shape in ((number,), tuple(axes))
        }
    shape, dtype, offset = _header(path, name)
    if len(shape) != 3 or dtype.kind not in "iufb" or 0 in shape:
        raise InputError(
            f"{path}: holds {dtype} of the shape {shape}, expected numbers of three dimensions "
            "(frame, y, x)."
        )
    number, rows, columns = shape
    return StoredFrames(
        path=path,
        number=number,
        shape=(rows, columns),
        dtype=dtype.newbyteorder("="),
        unit=unit_of_numbers(dtype),
        reader=NumpyReader(path, name, offset, dtype, (rows, columns)),
        partial=PartialDetector(merged_mask(path, beside.get("mask"), (rows, columns))),
        columns=known_columns(beside, number),
    )


def load_array(path: Path, name: str) -> np.ndarray:
    """Load an array of a file of NumPy: of an `.npz` the one of a name, or the only one.

    Raises
    ------
    InputError
        There is no such array, or the file is none of NumPy.
    """
    inside = None
    if path.suffix == ".npz":
        names = _names(path)
        inside = name if name in names else names[0]
        if len(names) > 1 and inside != name:
            raise InputError(f"{path}: no array {name}; it has {', '.join(names)}.")
    try:
        with _opened(path, inside) as file:
            return np.asarray(np.lib.format.read_array(file))
    except _BROKEN as error:
        raise _broken(path, error) from error


def _names(path: Path) -> list[str]:
    """Give the names of the arrays of an `.npz`, at least one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except _BROKEN as error:
        raise _broken(path, error) from error
    if not names:
        raise InputError(f"{path}: has no arrays.")
    return names


def _broken(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not a file of NumPy, or cut short ({error}); copy the file again.")


def _chosen(path: Path, headers: dict[str, tuple], dataset: str | None) -> str:
    stacks = [key for key, (shape, _, _) in headers.items() if len(shape) == 3]
    if dataset is not None and dataset not in headers:
        raise InputError(f"{path}: no array {dataset}; it has {', '.join(headers)}.")
    if dataset is None and len(stacks) != 1:
        raise InputError(
            f"{path}: has {len(stacks) or 'no'} arrays of three dimensions (frame, y, x)"
            f"{': ' + ', '.join(stacks) if stacks else ''}; name the one with the frames with "
            "--dataset."
        )
    return dataset or stacks[0]


@contextmanager
def _opened(path: Path, name: str | None) -> Iterator[Any]:
    """Open an array's own file, unpacked."""
    if name is not None:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            yield file
    elif path.suffix == ".gz":
        with gzip.open(path) as packed:
            yield packed
    else:
        with open(path, "rb") as plain:
            yield plain


def _header(path: Path, name: str | None) -> tuple[tuple[int, ...], np.dtype, int]:
    """Give shape and dtype of an array, and where its numbers begin."""
    try:
        with _opened(path, name) as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except _BROKEN as error:
        raise _broken(path, error) from error
    if fortran and len(shape) > 1:
        raise InputError(
            f"{path}: the array is in Fortran's order, in which frames do not lie together; save "
            "numpy.ascontiguousarray of it."
        )
    return shape, dtype, offset


@dataclass(frozen=True)
class NumpyReader:
    """Reads frames of an array; what is packed is unpacked from its beginning on.

    Attributes
    ----------
    path : Path
    name : str or None
        Within an `.npz`.
    offset : int
        Where the numbers begin.
    dtype : dtype
    shape : tuple of int
        Rows and columns.
    """

    path: Path
    name: str | None
    offset: int
    dtype: np.dtype
    shape: tuple[int, int]

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`."""
        size = self.shape[0] * self.shape[1] * self.dtype.itemsize
        wanted = (stop - start) * size
        try:
            with _opened(self.path, self.name) as file:
                file.seek(self.offset + start * size)
                raw = file.read(wanted)
        except _BROKEN as error:
            raise InputError(
                f"{self.path}: {spoken_frames(start, stop)} cannot be read ({error}); copy the "
                "file again."
            ) from error
        if len(raw) < wanted:
            raise InputError(
                f"{self.path}: truncated: {spoken_frames(start, stop)} end after {len(raw)} of "
                f"{wanted} bytes; copy the file again."
            )
        frames = np.frombuffer(raw, self.dtype).reshape(stop - start, *self.shape)
        return frames.astype(self.dtype.newbyteorder("="), copy=False)
