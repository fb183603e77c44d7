"""Writing CXI files that EXtra-data's users, spi-processing and CrystFEL read.

Frames of one array lie in `entry_1/image_1/data`, where spi-processing looks, frames of modules in
`entry_1/instrument_1/detector_1/data` with an axis of modules, as EXtra-data has them; each is
linked from the other places. Metres, joules and CXI's own bits of the mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.formats.cxi import OUT_OF_RESOLUTION
from hpdp_dask.formats.frames import BAD, ENERGY_WAVELENGTH, MERGE_ONLY, Detector
from hpdp_dask.formats.stored_frames import ELECTRONVOLT
from hpdp_dask.formats.writing import write_whole

if TYPE_CHECKING:
    import h5py

CXI_VERSION = 160
#: The bit of a CXI mask for bad pixels.
IS_BAD = 128

#: Where columns go: those of EXtra-data at the entry, those of spi-processing beside the frames.
_OF_ENTRY = {"train_id": "trainId", "pulse_id": "pulseId", "cell_id": "cellId"}
_OF_SOURCE = {"pulse_energy": "pulse_energy"}
_BESIDE = {
    "photon_count": "num_photons",
    "lit_pixels": "num_litpixels",
    "particle_size": "psd/size",
    "size_score": "psd/size_score",
    "label": "label",
    "label_probability": "label_probability",
}


def write_cxi(
    path: Path,
    number: int,
    shape: tuple[int, int],
    dtype: np.dtype,
    blocks: Iterable[np.ndarray],
    *,
    detector: Detector | None = None,
    mask: np.ndarray | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
    modules: int = 1,
) -> None:
    """Write frames, block after block.

    Parameters
    ----------
    path : Path
    number : int
        Frames.
    shape : tuple of int
        Rows and columns of a frame.
    dtype : dtype
    blocks : iterable of (n, y, x) ndarray
        Only one is in memory at a time.
    detector : Detector, optional
    mask : (y, x) ndarray of uint8, optional
        Where there is no detector.
    columns : mapping of str to ndarray, optional
        Of each frame, by the names of the schema; labels as text.
    modules : int, optional
        One after another along the rows.

    Raises
    ------
    InputError
        The disk is full, or the folder cannot be written to.
    """
    import h5py

    columns = columns or {}
    size = number * shape[0] * shape[1] * dtype.itemsize
    whole = (modules, shape[0] // modules, shape[1]) if modules > 1 else shape
    with write_whole(path, size) as raw, h5py.File(raw.name, "w") as file:
        file["cxi_version"] = CXI_VERSION
        entry = file.create_group("entry_1")
        instrument = entry.create_group("instrument_1")
        plane = instrument.create_group("detector_1")
        home = plane if modules > 1 else entry.create_group("image_1")
        entry["data_1"] = h5py.SoftLink(home.name)
        frames = home.create_dataset(
            "data",
            (number, *whole),
            dtype,
            chunks=(1, *whole),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        frames.attrs["axes"] = (
            "experiment_identifier:module_identifier:y:x"
            if modules > 1
            else "experiment_identifier:y:x"
        )
        _write_identity(file, columns, number)
        if modules > 1:
            plane["module_identifier"] = np.arange(modules)
        else:
            plane["data"] = h5py.SoftLink(frames.name)
        if detector is not None:
            _write_detector(file, detector, whole)
            center = _center(detector) if modules == 1 else None
            if center is not None:
                # spi-processing has three numbers, x and y in pixels from the first
                home["image_center"] = np.array([*center, 0.0])
            mask = detector.mask
        if mask is not None:
            flags = np.zeros(shape, np.uint32)
            flags[mask == MERGE_ONLY] = OUT_OF_RESOLUTION
            flags[mask == BAD] = IS_BAD
            home["mask"] = flags.reshape(whole)
            if modules == 1:
                plane["mask"] = h5py.SoftLink(f"{home.name}/mask")
        for name, other in _BESIDE.items():
            if name in columns:
                home[other] = _storable(columns[name])
        first = 0
        for block in blocks:
            frames[first : first + len(block)] = block.reshape(len(block), *whole)
            first += len(block)
        if first != number:
            raise ValueError(f"{first} frames for a file of {number}")


def _storable(values: np.ndarray) -> np.ndarray:
    """Give text as HDF5 takes it."""
    import h5py

    return values.astype(h5py.string_dtype()) if values.dtype.kind in "OU" else values


def _write_identity(file: h5py.File, columns: Mapping[str, np.ndarray], number: int) -> None:
    """Write which frame is which: `experiment_identifier` is train:pulse, as EXtra-data has it."""
    import h5py

    entry = file["entry_1"]
    if "train_id" in columns and "pulse_id" in columns:
        pairs = zip(columns["train_id"].tolist(), columns["pulse_id"].tolist(), strict=True)
        names = [f"{train}:{pulse}" for train, pulse in pairs]
    else:
        names = [str(frame) for frame in range(number)]
    entry.create_dataset("experiment_identifier", data=names, dtype=h5py.string_dtype())
    link = h5py.SoftLink("/entry_1/experiment_identifier")
    entry["instrument_1/detector_1"]["experiment_identifier"] = link
    for name, other in _OF_ENTRY.items():
        if name in columns:
            entry[other] = columns[name].astype(np.uint64)
    for name, other in _OF_SOURCE.items():
        if name in columns:
            entry[f"instrument_1/source_1/{other}"] = columns[name]


def _write_detector(file: h5py.File, detector: Detector, whole: tuple[int, ...]) -> None:
    """Write geometry and beam; beside images spi-processing would take them for frames."""
    plane = file["entry_1/instrument_1/detector_1"]
    places = np.stack([detector.pixel_x, detector.pixel_y, detector.pixel_z])
    positions = plane.create_dataset(
        "xyz_map", data=places.reshape(3, *whole), compression="gzip", shuffle=True
    )
    positions.attrs["units"] = "m"
    plane.attrs["polarization"] = detector.polarization
    plane["distance"] = detector.distance
    if np.isfinite(detector.pixel_size):
        plane["x_pixel_size"] = plane["y_pixel_size"] = detector.pixel_size
    source = file.require_group("entry_1/instrument_1/source_1")
    if np.isfinite(detector.wavelength):
        source["photon_wavelength"] = 1e-10 * detector.wavelength
        source["photon_energy"] = ENERGY_WAVELENGTH / detector.wavelength * ELECTRONVOLT


def _center(detector: Detector) -> tuple[float, float] | None:
    """Give the column and row where the beam meets a detector whose pixels are a regular grid."""
    row, column = (index.ravel() for index in np.indices(detector.shape))
    terms = np.stack([column, row, np.ones_like(row)], axis=1).astype(np.float64)
    places = np.stack([detector.pixel_x.ravel(), detector.pixel_y.ravel()], axis=1)
    fitted, _, rank, _ = np.linalg.lstsq(terms, places, rcond=None)
    step = np.linalg.norm(fitted[0])
    if rank < 3 or np.abs(terms @ fitted - places).max() > 0.01 * step:
        return None
    x, y = np.linalg.solve(fitted[:2].T, -fitted[2])
    return float(x), float(y)
