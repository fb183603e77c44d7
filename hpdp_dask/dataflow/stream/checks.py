"""Whether frames that arrive can be what they should be, before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from hpdp_dask.dataflow.columns import Measure, images_of
from hpdp_dask.dataflow.kept import newest
from hpdp_dask.dataflow.stream.batches import FRAME_ID
from hpdp_dask.dataflow.stream.folder import StreamFolder
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import GOOD
from hpdp_dask.stacks.frame_schema import FRAME_IMAGES
from hpdp_dask.stacks.frames import open_frames

#: Greatest count that a small unsigned integer holds, and which.
_COUNTS = ((255, np.uint8), (65_535, np.uint16), (2**32 - 1, np.uint32))


def checked(
    block: xr.Dataset, folder: Path, measures: Sequence[Measure], geometry: int
) -> tuple[xr.Dataset, dict[int, str]]:
    """Set frames aside whose numbers cannot be; give counts as unsigned integers.

    Parameters
    ----------
    block : xarray.Dataset
        Frames as a source gives them.
    folder : Path
        Of the stream.
    measures : sequence of Measure
        What is to look at them.
    geometry : int
        That the frames have.

    Returns
    -------
    tuple
        The frames that are fine, and why others are not, by id.

    Raises
    ------
    InputError
        The frames are of another detector, or in other units than the measures take.
    """
    name = next(name for name in FRAME_IMAGES if name in block)
    if not all(name in images_of(measure) for measure in measures if images_of(measure)):
        raise InputError("frames in ADU; --gain says how many ADU make a photon.")
    values = block[name].values
    token = tokenize(folder, geometry)
    good = newest("stream mask", token, partial(_good_pixels, folder, geometry))
    if values.shape[1:] != good.shape:
        found, expected = (f"{rows}x{columns}" for rows, columns in (values.shape[1:], good.shape))
        raise InputError(f"frames of {found} pixels, where those of the stream have {expected}.")
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "u" and size <= 4:
        return block, {}
    if name == "photons" and kind == "i" and size <= 4 and values.min(initial=0) >= 0:
        return block.assign({name: (("frame", "y", "x"), _smaller(values))}), {}
    right = _are_counts(values) if name == "photons" else np.isfinite(values)
    fine = (right | ~good).all(axis=(1, 2))
    asides = dict.fromkeys(block[FRAME_ID].values[~fine].tolist(), "values")
    if asides:
        block, values, right = block.isel(frame=np.flatnonzero(fine)), values[fine], right[fine]
    values = np.where(right, values, values.dtype.type(0))
    if name == "photons":
        values = _smaller(values)
    return block.assign({name: (("frame", "y", "x"), values)}), asides


def _smaller(counts: np.ndarray) -> np.ndarray:
    """Give counts as the smallest unsigned integers that hold them."""
    most = counts.max(initial=0)
    dtype = np.dtype(next(dtype for greatest, dtype in _COUNTS if most <= greatest))
    if counts.dtype.kind == "i" and counts.dtype.itemsize == dtype.itemsize:
        return counts.view(dtype)  # no copy of millions of pixels
    return counts.astype(dtype)


def _are_counts(photons: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        right = (photons >= 0) & (photons < 2**32)
        return right if photons.dtype.kind in "iu" else right & (photons == np.rint(photons))


def _good_pixels(folder: Path, geometry: int) -> np.ndarray:
    shared = open_frames(StreamFolder(folder).shared_of(geometry))
    good: np.ndarray = shared["mask"].values == GOOD
    return good
