"""Masks of detectors in files of their own: HDF5 or NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.hdf5 import is_hdf5, open_hdf5, read_whole
from hpdp_dask.formats.numpy_frames import load_array
from hpdp_dask.formats.stored_frames import merged_mask

#: Names of masks, 0 good, and of their opposite.
_MASKS, _GOOD = ("mask",), ("good_pixels",)


def read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a mask.

    Parameters
    ----------
    path : Path
        `.npy`, `.npy.gz`, `.npz`, or HDF5 with a dataset `mask` (0 good, anything else bad) or
        `good_pixels` (the other way round), wherever it is, or with one dataset only.
    shape : tuple of int
        Of a frame.

    Returns
    -------
    (y, x) ndarray of uint8
        As a detector has it.

    Raises
    ------
    InputError
        There is no mask, or it is of another shape.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; --mask names a file.")
    found = _of_hdf5(path) if is_hdf5(path) else load_array(path, "mask")
    if found.dtype.kind not in "iufb":
        raise InputError(f"{path}: the mask holds {found.dtype}, expected numbers.")
    mask = merged_mask(path, found, shape)
    assert mask is not None
    return mask


def _of_hdf5(path: Path) -> np.ndarray:
    with open_hdf5(path) as file:
        found: dict[str, list] = {}

        def look(name: str, item: object) -> None:
            if len(getattr(item, "shape", ())) >= 2:
                found.setdefault(name.rpartition("/")[2], []).append(item)

        file.visititems(look)
        every = [item for items in found.values() for item in items]
        for names, good in ((_MASKS, False), (_GOOD, True)):
            for name in names:
                if len(found.get(name, ())) == 1:
                    values = read_whole(path, found[name][0])
                    return values == 0 if good else values
        if len(every) == 1:
            return read_whole(path, every[0])
    raise InputError(
        f"{path}: has {len(every)} datasets of two dimensions, none of them alone called mask; "
        "give a file with one mask."
    )
