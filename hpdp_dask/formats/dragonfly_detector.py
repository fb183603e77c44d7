"""Detector files of Dragonfly, HDF5 and ASCII, also gzipped.

A file gives for each pixel its place on the Ewald sphere in voxels and a factor for solid angle
and polarisation. With the radius R of the sphere, the detector's distance D in pixels, and a
pixel (x, y) pixels from the beam at r = (x² + y² + D²)^½:
q = R (x / r, y / r, D / r - 1), corr = D / r³ times the polarisation.
Source: the wiki of Dragonfly (Ayyer et al. 2016, J. Appl. Cryst. 49, 1320).
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import Detector, Polarization
from hpdp_dask.formats.hdf5 import is_hdf5, open_hdf5, read_whole
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.numerics.diffraction import polarization_factor, solid_angles

_COLUMNS = ("qx", "qy", "qz", "corr", "mask")
#: Beside Dragonfly's own data in the files written here, as attributes: without them a detector
#: has no metres.
_EXTRAS = ("pixel_size", "wavelength", "rows")


@dataclass(frozen=True)
class DragonflyDetector:
    """A detector as Dragonfly has it: in pixels.

    Attributes
    ----------
    path : Path
    x, y : (n,) ndarray of float64
        Where the direction of each pixel meets a plane across the beam, pixels from the beam.
    mask : (n,) ndarray of uint8
    distance : float
        Of that plane from the sample, pixels.
    polarization : {"x", "y", "none"}
        The one that `corr` was computed with.
    rows : int
        Of a frame.
    pixel_size, wavelength : float
        m, Å; NaN where the file does not say, as Dragonfly's own files.
    """

    path: Path
    x: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    distance: float
    polarization: Polarization
    rows: int
    pixel_size: float = float("nan")
    wavelength: float = float("nan")

    def in_metres(self, pixel_size: float | None = None, distance: float | None = None) -> Detector:
        """Give the detector in metres.

        Parameters
        ----------
        pixel_size, distance : float, optional
            m; one is enough where the file does not give the first.

        Returns
        -------
        Detector

        Raises
        ------
        InputError
            Neither is known, or they do not agree with the file.
        """
        if pixel_size is None and distance is not None:
            pixel_size = distance / self.distance
        elif pixel_size is None:
            pixel_size = self.pixel_size
        if not np.isfinite(pixel_size):
            raise InputError(
                f"{self.path}: gives places in pixels; give --pixel-size or --distance in m too."
            )
        found = pixel_size * self.distance
        if distance is not None and not np.isclose(distance, found, rtol=1e-3):
            raise InputError(
                f"{self.path}: is {self.distance:g} pixels from the sample, so pixels of "
                f"{pixel_size:g} m make a distance of {found:g} m and not {distance:g} m; give "
                "one of --pixel-size and --distance."
            )
        shape = self.rows, len(self.x) // self.rows
        return Detector(
            pixel_x=(self.x * pixel_size).reshape(shape),
            pixel_y=(self.y * pixel_size).reshape(shape),
            pixel_z=np.full(shape, found),
            mask=self.mask.reshape(shape),
            wavelength=self.wavelength,
            pixel_size=pixel_size,
            polarization=self.polarization,
        )


def read_detector(path: Path) -> DragonflyDetector:
    """Read a detector file.

    Parameters
    ----------
    path : Path
        HDF5 or ASCII; gzipped if it ends in `.gz`.

    Returns
    -------
    DragonflyDetector

    Raises
    ------
    InputError
        The file is cut short, or none of Dragonfly's.
    """
    with _gunzipped(path) as plain:
        read = _read_hdf5 if is_hdf5(plain) else _read_ascii
        columns, numbers = read(plain, path)
    lengths = {len(values) for values in columns.values()}
    distance, radius = numbers["detd"], numbers["ewald_rad"]
    if len(lengths) > 1 or not min(lengths) or not (distance > 0 and radius > 0):
        raise InputError(
            f"{path}: expected {', '.join(_COLUMNS)} of the same length, and a positive detd and "
            f"ewald_rad; found lengths of {sorted(lengths)}, {distance:g} and {radius:g}."
        )
    qx, qy, qz = (columns[name].astype(np.float64) for name in ("qx", "qy", "qz"))
    # old files count qz from the other side
    along = radius + (-qz if qz.mean() > 0 else qz)
    off = np.abs(np.sqrt(qx**2 + qy**2 + along**2) - radius).max()
    if not (off < 1e-3 * radius and along.min() > 0):
        raise InputError(
            f"{path}: qx, qy, qz are not on a sphere of the radius {radius:g} (ewald_rad); make "
            "the detector file again."
        )
    mask = columns["mask"]
    if not np.isin(mask, (0, 1, 2)).all():
        raise InputError(
            f"{path}: the mask holds {mask.max()}, expected 0 (good), 1 (not for orientations) "
            "and 2 (bad)."
        )
    x, y = qx / along * distance, qy / along * distance
    return DragonflyDetector(
        path=path,
        x=x,
        y=y,
        mask=mask.astype(np.uint8),
        distance=distance,
        polarization=_polarization(x, y, distance, columns["corr"]),
        rows=int(numbers.get("rows", 0)) or len(x) // _row_length(x, y),
        pixel_size=numbers.get("pixel_size", float("nan")),
        wavelength=numbers.get("wavelength", float("nan")),
    )


@contextmanager
def _gunzipped(path: Path) -> Iterator[Path]:
    """Give a path at which the file is not gzipped."""
    if path.suffix != ".gz":
        yield path
        return
    with tempfile.NamedTemporaryFile() as plain:
        try:
            with gzip.open(path) as packed:
                shutil.copyfileobj(packed, plain)
        except (OSError, EOFError) as error:
            raise InputError(f"{path}: cannot be gunzipped ({error}); copy it again.") from error
        plain.flush()
        yield Path(plain.name)


def _read_hdf5(plain: Path, path: Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    with open_hdf5(plain) as file:
        lacking = [name for name in (*_COLUMNS, "detd", "ewald_rad") if name not in file]
        if lacking:
            raise InputError(
                f"{path}: no dataset {lacking[0]}, which detector files of Dragonfly have; give "
                "a detector file or a CrystFEL .geom with --geometry."
            )
        columns = {name: read_whole(path, file[name]).ravel() for name in _COLUMNS}
        numbers = {name: float(np.ravel(file[name][()])[0]) for name in ("detd", "ewald_rad")}
        numbers |= {name: float(file.attrs[name]) for name in _EXTRAS if name in file.attrs}
    return columns, numbers


def _read_ascii(plain: Path, path: Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    with open(plain, encoding="ascii", errors="replace") as file:
        header = file.readline().split()
        try:
            number, distance, radius = int(header[0]), float(header[1]), float(header[2])
            table = np.loadtxt(file, dtype=np.float64, ndmin=2)
        except (ValueError, IndexError) as error:
            raise InputError(
                f"{path}: expected a first line of pixels, detd and ewald_rad and rows of qx qy "
                f"qz corr mask ({error}); make the detector file again with today's Dragonfly."
            ) from error
    if table.shape != (number, len(_COLUMNS)):
        raise InputError(
            f"{path}: the first line says {number} pixels, found {len(table)} rows of "
            f"{table.shape[1]} columns, expected {len(_COLUMNS)}; copy the file again."
        )
    columns = {name: table[:, index] for index, name in enumerate(_COLUMNS)}
    return columns, {"detd": distance, "ewald_rad": radius}


def _polarization(x: np.ndarray, y: np.ndarray, distance: float, corr: np.ndarray) -> Polarization:
    """Find out which polarisation the correction factors have; x, the usual one, if none."""
    solid = solid_angles(x, y, np.full_like(x, distance), 1.0)
    off: dict[Polarization, float] = {}
    for direction in get_args(Polarization):
        ratio = corr / (solid * polarization_factor(x, y, np.full_like(x, distance), direction))
        off[direction] = float(np.ptp(ratio) / np.median(ratio))
    best = min(off, key=lambda direction: off[direction])
    return best if off[best] < 0.5 * off["x"] else "x"


def _row_length(x: np.ndarray, y: np.ndarray) -> int:
    """Find out how many pixels make a row: the step from pixel to pixel jumps between rows."""
    if len(x) < 2:
        return 1
    step = np.hypot(np.diff(x), np.diff(y))
    jumps = np.flatnonzero(step > 1.5 * np.median(step)) + 1
    return int(np.gcd.reduce(np.append(jumps, len(x))))


def write_detector(path: Path, detector: Detector) -> None:
    """Write a detector as HDF5.

    Parameters
    ----------
    path : Path
        Should end in `.h5`.
    detector : Detector
        `ewald_rad` becomes the distance in pixels, as Dragonfly's simulations have it. The
        wavelength, the pixel size and the number of rows are kept as attributes, which Dragonfly
        does not look at.

    Raises
    ------
    InputError
        The pixel size is not known, or the disk is full.
    """
    import h5py

    size = detector.pixel_size
    if not size > 0:
        raise InputError(
            f"{path}: the pixel size of the frames is not known, which Dragonfly measures in; "
            "import them again with --pixel-size."
        )
    x, y, z = (
        place.ravel() / size for place in (detector.pixel_x, detector.pixel_y, detector.pixel_z)
    )
    distance = detector.distance / size
    length = np.sqrt(x**2 + y**2 + z**2)
    columns = {
        "qx": distance * x / length,
        "qy": distance * y / length,
        "qz": distance * (np.abs(z) / length - 1.0),
        "corr": solid_angles(x, y, z, 1.0) * polarization_factor(x, y, z, detector.polarization),
        "mask": detector.mask.ravel().astype(np.uint8),
    }
    with write_whole(path, 40 * detector.mask.size) as raw, h5py.File(raw.name, "w") as file:
        for name, values in columns.items():
            file[name] = values
        file["detd"] = distance
        file["ewald_rad"] = distance
        file.attrs["pixel_size"] = size
        file.attrs["rows"] = detector.shape[0]
        if np.isfinite(detector.wavelength):
            file.attrs["wavelength"] = detector.wavelength
