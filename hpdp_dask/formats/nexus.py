"""Frames in NeXus files: master files of DECTRIS's Eiger and Jungfrau detectors, and NXmx.

Frames are `entry/data/data_000001` and so on, links to data files, or one `entry/data/data`;
distances, the beam and the mask of pixels lie in `entry/instrument`. Source: NXmx (Bernstein et
al. 2020, IUCrJ 7, 784); DECTRIS, "Eiger HDF5 and NeXus".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import BAD, GOOD
from hpdp_dask.formats.hdf5 import check_filters, open_hdf5, read_whole
from hpdp_dask.formats.hdf5_frames import check_sources
from hpdp_dask.formats.nexus_reader import NexusReader, bad_pixels
from hpdp_dask.formats.stored_frames import (
    PartialDetector,
    StoredFrames,
    unit_of_numbers,
    wavelength_of,
)

if TYPE_CHECKING:
    import h5py

#: Of one, in m.
_LENGTHS = {"m": 1.0, "mm": 1e-3, "cm": 1e-2, "um": 1e-6, "µm": 1e-6, "micron": 1e-6}

#: Of one, in Å.
_WAVELENGTHS = {"angstrom": 1.0, "a": 1.0, "å": 1.0, "nm": 10.0, "m": 1e10}

#: Of one, in eV.
_ENERGIES = {"ev": 1.0, "kev": 1e3}

_DETECTOR = "entry/instrument/detector"
_SPECIFIC = f"{_DETECTOR}/detectorSpecific"
_MASKS = (f"{_DETECTOR}/pixel_mask", f"{_SPECIFIC}/pixel_mask")


def is_nexus(file: h5py.File) -> bool:
    """Tell whether an HDF5 file is one of a diffraction camera."""
    return _DETECTOR in file and file.get("entry/data") is not None


def read_nexus(path: Path, dataset: str | None = None) -> StoredFrames:
    """Open the frames of a NeXus or master file.

    Parameters
    ----------
    path : Path
    dataset : str, optional
        Path of the frames in it; by default all `entry/data/data_...`, one after another, or
        `entry/data/data`.

    Returns
    -------
    StoredFrames
        Bad pixels of the detector's mask are masked and have no counts. In others what the
        detector marks as too much is the largest number that it counts to.

    Raises
    ------
    InputError
        There are no frames, a data file is not there, what is packed cannot be unpacked, or the
        frames are not of one size.
    """
    with open_hdf5(path) as file:
        names = [dataset] if dataset else _frame_names(path, file)
        found = [_frames(path, file, name) for name in names]
        first = found[0]
        rows, columns = shape = (int(first.shape[1]), int(first.shape[2]))
        for frames in found:
            if frames.shape[1:] != shape or frames.dtype != first.dtype:
                raise InputError(
                    f"{path}: {frames.name} holds {frames.dtype} of {frames.shape[1]} x "
                    f"{frames.shape[2]} pixels, {first.name} {first.dtype} of {rows} x {columns}; "
                    "name one with --dataset."
                )
        ends = np.cumsum([len(frames) for frames in found])
        mask_name = next((name for name in _MASKS if name in file), None)
        saturation = _number(
            path,
            file,
            (f"{_DETECTOR}/saturation_value", f"{_SPECIFIC}/countrate_correction_count_cutoff"),
        )
        reader = NexusReader(
            path=path,
            names=tuple(names),
            ends=tuple(ends.tolist()),
            shape=shape,
            dtype=first.dtype.newbyteorder("="),
            mask_name=mask_name,
            saturation=saturation,
        )
        partial = _geometry(path, file)
    number = int(ends[-1])
    if mask_name is not None:
        mask = np.where(bad_pixels(path, mask_name, shape), BAD, GOOD).astype(np.uint8)
    else:
        mask = _marked_always(reader, number)
    return StoredFrames(
        path=path,
        number=number,
        shape=shape,
        dtype=reader.dtype,
        unit=unit_of_numbers(first.dtype),
        reader=reader,
        partial=PartialDetector(
            mask, partial.wavelength, partial.pixel_size, partial.distance, partial.center
        ),
        columns={
            "source_file": np.full(number, str(path), object),
            "source_index": np.arange(number),
        },
        saturation=saturation,
    )


def _frame_names(path: Path, file: h5py.File) -> list[str]:
    """Name the frames: one virtual dataset, or those that the master file links to."""
    names = list(file["entry/data"])
    linked = sorted(f"entry/data/{name}" for name in names if re.fullmatch(r"data_\d+", name))
    single = ["entry/data/data"] if "data" in names else []
    if not (linked or single):
        raise InputError(
            f"{path}: has no frames in entry/data (data_000001 and so on, or data); name them "
            "with --dataset."
        )
    return linked or single


def linked_files(path: Path) -> list[Path]:
    """Give the data files that the frames of a master file lie in.

    Raises
    ------
    InputError
        The file cannot be opened.
    """
    import h5py

    with open_hdf5(path) as file:
        group = file["entry/data"]
        links = [group.get(name, getlink=True) for name in group]
    names = dict.fromkeys(link.filename for link in links if isinstance(link, h5py.ExternalLink))
    return [path.parent / name for name in names]


def _frames(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """Open frames and see that they can be read."""
    import h5py

    found = file.get(name)
    link = file.get(name, getlink=True)
    if found is None and isinstance(link, h5py.ExternalLink):
        source = path.parent / link.filename
        if source.exists():
            with open_hdf5(source):
                pass  # says what is wrong with a file that is cut short
        raise InputError(
            f"{path}: {name} is {link.path} of {source.name}, which is not there; copy the data "
            "files beside the master file."
        )
    if getattr(found, "ndim", 0) != 3 or found.dtype.kind not in "iuf" or 0 in found.shape:
        raise InputError(
            f"{path}: {name} is {getattr(found, 'shape', 'not there')}, expected numbers of three "
            "dimensions (frame, y, x); name the frames with --dataset."
        )
    check_sources(path, found)
    check_filters(path, found)
    return found


def _geometry(path: Path, file: h5py.File) -> PartialDetector:
    """Read what the file says of beam and detector."""
    wavelength = _number(
        path,
        file,
        (
            "entry/instrument/beam/incident_wavelength",
            "entry/sample/beam/incident_wavelength",
            "entry/instrument/monochromator/wavelength",
        ),
        _WAVELENGTHS,
    )
    if np.isnan(wavelength):
        energies = (
            "entry/instrument/beam/incident_energy",
            "entry/instrument/monochromator/energy",
            f"{_SPECIFIC}/photon_energy",
        )
        wavelength = wavelength_of(_number(path, file, energies, _ENERGIES))
    x, y = (_number(path, file, (f"{_DETECTOR}/beam_center_{axis}",)) for axis in "xy")
    return PartialDetector(
        wavelength=wavelength,
        pixel_size=_number(path, file, (f"{_DETECTOR}/x_pixel_size",), _LENGTHS),
        distance=_number(
            path, file, (f"{_DETECTOR}/detector_distance", f"{_DETECTOR}/distance"), _LENGTHS
        ),
        # counted from the corner of the first pixel
        center=(x - 0.5, y - 0.5) if np.isfinite([x, y]).all() else None,
    )


def _number(
    path: Path, file: h5py.File, names: tuple[str, ...], units: dict[str, float] | None = None
) -> float:
    """Read the first of some numbers that is there and not zero, NaN if none is.

    A number of several frames is their median. Its unit is the attribute `units`.
    """
    for name in names:
        found = file.get(name)
        if found is None or getattr(found, "dtype", np.dtype("S1")).kind not in "iuf":
            continue
        values = read_whole(path, found).astype(np.float64).ravel()
        value = float(np.median(values[np.isfinite(values)])) if values.size else float("nan")
        if not np.isfinite(value) or value == 0:
            continue
        unit = found.attrs.get("units", "")
        spoken = (unit.decode() if isinstance(unit, bytes) else str(unit)).strip()
        if units is None or spoken == "":
            return value
        factor = units.get(spoken, units.get(spoken.lower()))
        if factor is None:
            raise InputError(
                f"{path}: {name} is in {spoken}, expected one of {', '.join(units)}; give the "
                "number as an option."
            )
        return value * factor
    return float("nan")


def _marked_always(reader: NexusReader, number: int) -> np.ndarray:
    """Mask what has no count in any of three frames, where the file has no mask."""
    chosen = np.unique([0, number // 2, number - 1])
    marked = [reader.marked(reader.raw(frame, frame + 1)[0]) for frame in chosen.tolist()]
    return np.where(np.all(marked, axis=0), BAD, GOOD).astype(np.uint8)
