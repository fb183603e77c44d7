"""Frames in CXI files, as EXtra-data, spi-processing and others write them.

Layouts that are read, in this order:

- `entry_1/image_k` with `data`, `mask` and `image_center` (spi-processing: x, y, z in pixels);
- `entry_1/instrument_1/detector_k` with `data` of frames or of modules, as EXtra-data's virtual
  files have it, with `mask` of each frame, and what programs put beside it: `xyz_map` (m),
  `good_pixels`, `x_pixel_size`, `distance`;
- `entry_1/data_k/data`.

All numbers are SI units, as CXI has it. Source: cxidb.org/cxi.html, version 1.6 (Maia 2012, Nat.
Methods 9, 854); extra_data.write_cxi.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frame_masks import common_mask, without_masked
from hpdp_dask.formats.frames import BAD, GOOD, MERGE_ONLY, Detector, Polarization
from hpdp_dask.formats.hdf5 import DatasetReader, open_hdf5, read_number, read_whole
from hpdp_dask.formats.hdf5_frames import check_sources
from hpdp_dask.formats.stored_frames import (
    ELECTRONVOLT,
    PartialDetector,
    StoredFrames,
    check_pixels,
    known_columns,
    unit_of_numbers,
    wavelength_of,
)

if TYPE_CHECKING:
    import h5py

#: The bit of a CXI mask for pixels that are good but beyond the resolution looked at.
OUT_OF_RESOLUTION = 256

#: Joules. No photon has as much; a larger "energy" is in eV.
_MOST_JOULES = 1e-10


@dataclass(frozen=True)
class MaskedReader:
    """Reads frames of a dataset, without what their own masks take out.

    Attributes
    ----------
    frames, masks : DatasetReader
    masked_is : bool
        Whether a number other than zero means masked; some programs have it that way round.
    """

    frames: DatasetReader
    masks: DatasetReader
    masked_is: bool

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`."""
        return without_masked(self.frames(start, stop), self.mask(start, stop))

    def mask(self, start: int, stop: int) -> np.ndarray:
        """Read what is masked of frames, (n, y, x) of bool."""
        return (self.masks(start, stop) != 0) == self.masked_is


def read_cxi(path: Path, dataset: str | None = None) -> StoredFrames:
    """Open the frames of a CXI file.

    Parameters
    ----------
    path : Path
    dataset : str, optional
        Path of the frames in it, where there are several.

    Returns
    -------
    StoredFrames

    Raises
    ------
    InputError
        There are no frames, or several; files that the file is made of are not there; mask or
        geometry are not of the pixels of the frames.
    """
    with open_hdf5(path) as file:
        frames = _find_frames(path, file, dataset)
        check_sources(path, frames)
        # of five axes the third is of signal and gain, as raw data of European XFEL have it
        part: tuple[Any, ...] = (slice(None), 0) if frames.ndim == 5 else ()
        number, *axes = (*frames.shape[:2], *frames.shape[3:]) if part else frames.shape
        shape = (int(np.prod(axes[:-1])), axes[-1])
        reader = DatasetReader(path, frames.name, shape, part)
        notes: list[str] = []
        group = frames.parent
        mask, masked = _masks(path, group, reader, number, shape)
        entry = group.file.get("entry_1", group.file)
        wavelength = _wavelength(path, entry, notes)
        partial, detector = _geometry(path, group, shape, mask, wavelength)
        return StoredFrames(
            path=path,
            number=number,
            shape=shape,
            dtype=frames.dtype.newbyteorder("="),
            unit="adu" if part else unit_of_numbers(frames.dtype),
            reader=masked or reader,
            detector=detector,
            partial=partial,
            columns=_columns(path, entry, group, number),
            notes=notes,
            modules=axes[0] if len(axes) == 3 else 1,
        )


def _find_frames(path: Path, file: h5py.File, dataset: str | None) -> h5py.Dataset:
    names = [dataset] if dataset else _candidates(file)
    if len(names) != 1:
        raise InputError(
            f"{path}: has {len(names) or 'no'} groups of frames"
            f"{' (' + ', '.join(names) + ')' if names else ' (entry_1/image_1/data and so on)'}; "
            "name one with --dataset."
        )
    found = file.get(names[0])
    if getattr(found, "ndim", 0) not in (3, 4, 5) or 0 in found.shape:
        raise InputError(
            f"{path}: {names[0]} is {getattr(found, 'shape', 'no dataset')}, expected "
            "(frame, y, x) or (frame, module, y, x); name another with --dataset."
        )
    return found


def _candidates(file: h5py.File) -> list[str]:
    """Give the frames of the first layout that has any."""
    for place, kind in (("", "image"), ("instrument_1/", "detector"), ("", "data")):
        group = file.get(f"entry_1/{place}")
        names = sorted(name for name in group or () if re.fullmatch(rf"{kind}_\d+", name))
        found = [f"entry_1/{place}{name}/data" for name in names]
        found = [name for name in found if name in file]
        if found:
            return found
    return []


def _masks(
    path: Path, group: h5py.Group, reader: DatasetReader, number: int, shape: tuple[int, int]
) -> tuple[np.ndarray | None, MaskedReader | None]:
    """Give the mask of all frames, and a reader that knows those of single frames."""
    masked = None
    mask = None
    found = group.get("mask")
    good = group.get("good_pixels")
    if found is not None and found.ndim >= 3 and found.shape[0] == number:
        if found.size != number * shape[0] * shape[1]:
            raise InputError(
                f"{path}: {found.name} is {found.shape}, which does not fit frames of {shape[0]} "
                f"x {shape[1]} pixels."
            )
        check_sources(path, found)
        # beside good_pixels a mask of booleans says what is good
        masked = MaskedReader(
            reader,
            DatasetReader(path, found.name, shape),
            masked_is=not (good is not None and found.dtype == bool),
        )
        mask = common_mask(masked.mask, number, shape)
    elif found is not None:
        flags = _of_pixels(path, found, shape)
        mask = np.full(shape, GOOD, np.uint8)
        mask[flags == OUT_OF_RESOLUTION] = MERGE_ONLY
        mask[(flags != 0) & (flags != OUT_OF_RESOLUTION)] = BAD
    if good is not None:
        mask = np.full(shape, GOOD, np.uint8) if mask is None else mask
        mask[_of_pixels(path, good, shape) == 0] = BAD
    for module in _unmapped(group["data"]):
        mask = np.full(shape, GOOD, np.uint8) if mask is None else mask
        mask.reshape(group["data"].shape[1], -1)[module] = BAD
    return mask, masked


def _of_pixels(path: Path, dataset: h5py.Dataset, shape: tuple[int, int]) -> np.ndarray:
    """Read a number of each pixel, modules one after another."""
    values = read_whole(path, dataset)
    if values.ndim == 3:
        values = values.reshape(-1, values.shape[-1])
    check_pixels(path, values, shape, dataset.name)
    return values


def _unmapped(frames: h5py.Dataset) -> list[int]:
    """Give the modules of a virtual dataset that no file is mapped to."""
    if not frames.is_virtual or frames.ndim < 4:
        return []
    seen = set()
    for source in frames.virtual_sources():
        first, last = (bound[1] for bound in source.vspace.get_select_bounds())
        seen |= set(range(first, last + 1))
    return sorted(set(range(frames.shape[1])) - seen)


def _wavelength(path: Path, entry: h5py.Group, notes: list[str]) -> float:
    """Give the wavelength, Å, from the source of the instrument."""
    for place in ("instrument_1/source_1", "beam_1"):
        source = entry.get(place)
        if source is None:
            continue
        for name in ("photon_wavelength", "wavelength"):
            value = read_number(path, source, name)
            if 0 < value < 1e-6:
                return 1e10 * value
        for name in ("photon_energy", "energy"):
            value = read_number(path, source, name)
            if 0 < value < _MOST_JOULES:
                return wavelength_of(value / ELECTRONVOLT)
            if value >= _MOST_JOULES:
                notes.append(
                    f"{path}: {place}/{name} is {value:g}, which is not in J as CXI has it, and "
                    "is not used; give --wavelength"
                )
    return float("nan")


def _geometry(
    path: Path,
    group: h5py.Group,
    shape: tuple[int, int],
    mask: np.ndarray | None,
    wavelength: float,
) -> tuple[PartialDetector, Detector | None]:
    """Give what is known of the detector, beside the frames or, of an image, at the detector."""
    plane = group
    if "xyz_map" not in group and re.search(r"/image_\d+$", group.name):
        plane = group.file.get(f"entry_1/instrument_1/detector_{group.name[-1]}", group)
    pixel_size = read_number(path, plane, "x_pixel_size")
    places = None
    if "xyz_map" in plane:
        places = read_whole(path, plane["xyz_map"]).astype(np.float64)
        places = places.reshape(3, -1, places.shape[-1])
    if places is not None and (plane == group or places.shape[1:] == shape):
        check_pixels(path, places[0], shape, plane["xyz_map"].name)
        if not np.isfinite(places).all():
            raise InputError(
                f"{path}: xyz_map holds numbers that are not finite; give --geometry instead."
            )
        return PartialDetector(), Detector(
            pixel_x=places[0],
            pixel_y=places[1],
            pixel_z=places[2],
            mask=np.full(shape, GOOD, np.uint8) if mask is None else mask,
            wavelength=wavelength,
            pixel_size=pixel_size,
            polarization=_polarization(plane),
        )
    center = None
    if "image_center" in group:
        values = np.ravel(group["image_center"][()])
        center = (float(values[0]), float(values[1])) if len(values) >= 2 else None
    distance = read_number(path, plane, "distance")
    return PartialDetector(mask, wavelength, pixel_size, distance, center), None


def _polarization(plane: h5py.Group) -> Polarization:
    """Read the attribute that this package writes; x is the usual one."""
    found = plane.attrs.get("polarization")
    return found if found in get_args(Polarization) else "x"


def _columns(
    path: Path, entry: h5py.Group, group: h5py.Group, number: int
) -> dict[str, np.ndarray]:
    """Read what is known of each frame, wherever programs put it."""
    found: dict[str, np.ndarray] = {}
    for place in (entry, entry.get("instrument_1/source_1"), group):
        for name, item in (place or {}).items():
            if getattr(item, "shape", None) == (number,):
                found[name] = read_whole(path, item)
            elif name == "cellId" and getattr(item, "ndim", 0) == 2:
                # of each module; those that are missing have 0
                found[name] = read_whole(path, item).max(axis=1)
    for name, column in (("psd/size", "particle_size"), ("psd/size_score", "size_score")):
        if getattr(group.get(name), "shape", None) == (number,):
            found[column] = read_whole(path, group[name])
    chosen = group.get("em_class/select")
    if "label" not in found and getattr(chosen, "shape", None) == (number,):
        found["label"] = np.where(read_whole(path, chosen) != 0, "selected", "other").astype(object)
    return known_columns(found, number)
