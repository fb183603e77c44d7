"""CBF files that pycbf reads: images that are packed, and the geometry of full imgCIF headers.

Source: the imgCIF dictionary (Hammersley et al. 2006, International Tables G, 3.7); CBFlib.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.packed_files import read_bytes, unpacked_name
from hpdp_dask.formats.stored_frames import PartialDetector


def imgcif_geometry(path: Path) -> tuple[PartialDetector, float]:
    """Read wavelength, pixel size, distance and centre of an imgCIF header.

    Parameters
    ----------
    path : Path
        May be packed (`.gz`, `.bz2`).

    Returns
    -------
    partial : PartialDetector
        What the header does not say is NaN.
    tilt : float
        Degrees between the beam and the normal of the detector; 0 if not told.

    Raises
    ------
    InputError
        pycbf is not installed, or cannot read the file.
    """

    wavelength = pixel_size = distance = float("nan")
    center = None
    tilt = 0.0
    with _opened(path) as handle:
        # CBFlib raises plain exceptions for what a header lacks
        try:
            wavelength = float(handle.get_wavelength())
        except Exception as error:
            _check_absent(path, error)
        try:
            pixel_size = 1e-3 * float(handle.get_pixel_size(0, 1))
            detector = handle.construct_detector(0)
            distance = 1e-3 * float(detector.get_detector_distance())
            column, row, _, _ = detector.get_beam_center_fs()
            center = (float(column), float(row))
            along = abs(detector.get_detector_normal()[2])
            tilt = float(np.degrees(np.arccos(min(along, 1.0))))
        except Exception as error:
            _check_absent(path, error)
    return PartialDetector(None, wavelength, pixel_size, distance, center), tilt


def read_packed_image(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read an image with pycbf, however it is packed.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Rows and columns, as the header says.

    Returns
    -------
    (y, x) ndarray of int32

    Raises
    ------
    InputError
        pycbf is not installed, or the file is damaged.
    """
    with _opened(path) as handle:
        try:
            handle.rewind_datablock()
            handle.find_category(b"array_data")
            handle.find_column(b"data")
            described = handle.get_integerarrayparameters_wdims_fs()
            raw = handle.get_integerarray_as_string()
        except Exception as error:
            raise _damaged(path, error) from error
    size, signed = int(described[2]), bool(described[3])
    numbers = np.frombuffer(raw, f"<{'i' if signed else 'u'}{size}")
    if numbers.size != shape[0] * shape[1]:
        raise InputError(
            f"{path}: damaged: {numbers.size} numbers for {shape[0]} x {shape[1]} pixels; copy "
            "the file again."
        )
    return numbers.astype(np.int32, copy=False).reshape(shape)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file with pycbf, which reads plain files alone."""
    try:
        import pycbf
    except ImportError as error:
        raise InputError(
            f"{path}: is an imgCIF file, which needs pycbf; pip install 'hpdp-dask[crystals]'."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        plain = path
        if unpacked_name(path) != path.name:
            plain = Path(folder, unpacked_name(path))
            plain.write_bytes(read_bytes(path))
        handle = pycbf.cbf_handle_struct()
        try:
            handle.read_widefile(str(plain).encode(), pycbf.MSG_DIGEST)
        except Exception as error:
            raise _damaged(path, error) from error
        yield handle


def _check_absent(path: Path, error: Exception) -> None:
    """Let pass that CBFlib did not find something."""
    if "CBF_NOTFOUND" not in str(error):
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: truncated or damaged ({str(error).strip()}); copy the file again.")
