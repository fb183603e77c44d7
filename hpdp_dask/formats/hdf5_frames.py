"""Frames in plain HDF5 files, whatever program wrote them: one dataset of three dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.hdf5 import DatasetReader, missing_sources, open_hdf5, read_whole
from hpdp_dask.formats.stored_frames import (
    PartialDetector,
    StoredFrames,
    known_columns,
    merged_mask,
    unit_of_numbers,
)

if TYPE_CHECKING:
    import h5py


def read_hdf5(path: Path, dataset: str | None = None) -> StoredFrames:
    """Open the frames of an HDF5 file.

    Parameters
    ----------
    path : Path
    dataset : str, optional
        Its path in the file; by default the only one of three dimensions. Of four dimensions,
        the second is that of modules.

    Returns
    -------
    StoredFrames
        With what lies beside the frames, under names of the schema, and `label` or `labels`.

    Raises
    ------
    InputError
        There is no such dataset, or there are several.
    """
    with open_hdf5(path) as file:
        frames = _named(path, file, dataset) if dataset else _only(path, file)
        check_sources(path, frames)
        number, *axes = frames.shape
        shape = (int(np.prod(axes[:-1])), axes[-1])
        group = frames.parent
        beside: Mapping[str, np.ndarray] = {
            name: read_whole(path, found)
            for name, found in group.items()
            if found != frames and _is_small(found, number, shape)
        }
        return StoredFrames(
            path=path,
            number=number,
            shape=shape,
            dtype=frames.dtype.newbyteorder("="),
            unit=unit_of_numbers(frames.dtype),
            reader=DatasetReader(path, frames.name, shape),
            partial=PartialDetector(merged_mask(path, beside.get("mask"), shape)),
            columns=known_columns(beside, number),
            modules=axes[0] if len(axes) == 3 else 1,
        )


def check_sources(path: Path, frames: h5py.Dataset) -> None:
    """Check that the files that a virtual dataset is made of are there.

    Raises
    ------
    InputError
        One is not.
    """
    missing = missing_sources(path, frames)
    if missing:
        raise InputError(
            f"{path}: is made of other files, of which {missing[0]} is not there"
            f"{f', and {len(missing) - 1} more' if len(missing) > 1 else ''}; copy them too, or "
            "import the run itself."
        )


def _is_small(found: h5py.Dataset, number: int, shape: tuple[int, int]) -> bool:
    """Tell whether something is of each frame, or of each pixel."""
    of_frames = getattr(found, "shape", None) == (number,)
    return of_frames or int(np.prod(getattr(found, "shape", (0,)))) == shape[0] * shape[1]


def _named(path: Path, file: h5py.File, dataset: str) -> h5py.Dataset:
    found = file.get(dataset)
    if found is None:
        raise InputError(
            f"{path}: no dataset {dataset}; it has {_listed(file)}. Give one of these with "
            "--dataset."
        )
    if not _is_stack(found):
        raise InputError(
            f"{path}: {dataset} is no stack of frames, expected numbers of three dimensions "
            f"(frame, y, x) or four (frame, module, y, x), found "
            f"{getattr(found, 'shape', 'a group')}; give another --dataset."
        )
    return found


def _only(path: Path, file: h5py.File) -> h5py.Dataset:
    stacks = [found for found in _datasets(file) if _is_stack(found) and found.ndim == 3]
    if len(stacks) != 1:
        raise InputError(
            f"{path}: has {len(stacks) or 'no'} datasets of three dimensions (frame, y, x)"
            f"{': ' + ', '.join(found.name for found in stacks) if stacks else ''}; name the one "
            "with the frames with --dataset."
        )
    return stacks[0]


def _is_stack(found: h5py.Dataset) -> bool:
    dims = getattr(found, "ndim", 0)
    return dims in (3, 4) and found.dtype.kind in "iufb" and 0 not in found.shape


def _datasets(file: h5py.File) -> list[h5py.Dataset]:
    """Give all datasets of a file, each once."""
    found: list[h5py.Dataset] = []

    def look(_name: str, item: h5py.Dataset | h5py.Group) -> None:
        if hasattr(item, "dtype"):
            found.append(item)

    file.visititems(look)
    return found


def _listed(file: h5py.File) -> str:
    names = [f"{found.name} {found.shape}" for found in _datasets(file)]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none"
