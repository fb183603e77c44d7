"""Images in SMV files (`.img`), as ADSC's CCD detectors and several programs write them.

A header in text, padded to a whole number of 512 bytes, then the numbers. `BEAM_CENTER_X` and `_Y`
are taken as Mosflm has them (x along the slow axis, mm), as ADSC's own are; a centre of XDS
(`XDS_ORGX`, in pixels from 1), which leaves no doubt, goes before. Source: ADSC, "SMV file
format"; Otwinowski & Minor's and Mosflm's conventions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.packed_files import read_bytes
from hpdp_dask.formats.still_images import ImageHeader, across_beam
from hpdp_dask.formats.stored_frames import PartialDetector

_FIRST = re.compile(rb"\s*\{\s*HEADER_BYTES\s*=\s*(\d+)\s*;")

_TYPES = {
    "unsigned_short": np.uint16,
    "unsigned short int": np.uint16,
    "signed_short": np.int16,
    "short int": np.int16,
    "unsigned_long": np.uint32,
    "signed_long": np.int32,
    "long int": np.int32,
    "unsigned_int": np.uint32,
    "signed_int": np.int32,
    "float": np.float32,
}


def is_smv(first: bytes) -> bool:
    """Tell whether a file is of this format, by its first bytes."""
    return _FIRST.match(first) is not None


def read_header(path: Path) -> ImageHeader:
    """Read the header of an image.

    Parameters
    ----------
    path : Path
        May be packed (`.gz`, `.bz2`).

    Returns
    -------
    ImageHeader

    Raises
    ------
    InputError
        The file is none of SMV, is cut short within its header, or does not say its size.
    """
    return _header(path, _entries(path, read_bytes(path, 2**16)))


def read_image(path: Path) -> np.ndarray:
    """Read an image.

    Returns
    -------
    (y, x) ndarray

    Raises
    ------
    InputError
        The file is cut short.
    """
    raw = read_bytes(path)
    entries = _entries(path, raw)
    header = _header(path, entries)
    big = entries.get("BYTE_ORDER", "").lower().startswith("big")
    begin = int(entries["HEADER_BYTES"])
    rows, columns = header.shape
    expected = begin + rows * columns * header.dtype.itemsize
    if len(raw) < expected:
        raise InputError(
            f"{path}: truncated: expected {expected} bytes for {rows} x {columns} pixels, found "
            f"{len(raw)}; copy the file again."
        )
    numbers = np.frombuffer(
        raw, header.dtype.newbyteorder(">" if big else "<"), rows * columns, begin
    )
    return numbers.astype(header.dtype, copy=False).reshape(rows, columns)


def _entries(path: Path, raw: bytes) -> dict[str, str]:
    """Give the entries of the header as text."""
    first = _FIRST.match(raw)
    if first is None:
        raise InputError(f"{path}: not an SMV file, it does not begin with HEADER_BYTES.")
    size = int(first[1])
    if len(raw) < size:
        raise InputError(
            f"{path}: truncated: its header has {size} bytes, the file {len(raw)}; copy the file "
            "again."
        )
    found = re.findall(
        r"^\s*\{?\s*([A-Za-z_0-9]+)\s*=\s*([^;]*);", raw[:size].decode("latin-1"), re.M
    )
    return {name.upper(): value.strip() for name, value in found}


def _header(path: Path, entries: Mapping[str, str]) -> ImageHeader:
    sizes = [entries.get(name, "") for name in ("SIZE2", "SIZE1")]
    spoken = entries.get("TYPE", entries.get("DATA_TYPE", "unsigned_short"))
    kind = _TYPES.get(spoken.lower())
    if not all(size.isdecimal() and int(size) for size in sizes) or kind is None:
        raise InputError(
            f"{path}: SIZE1 x SIZE2 is {sizes[1] or 'missing'} x {sizes[0] or 'missing'} of TYPE "
            f"{spoken}, expected whole numbers and one of {', '.join(_TYPES)}; is the header "
            "damaged?"
        )
    pixel = 1e-3 * _number(entries, "PIXEL_SIZE")
    header = ImageHeader(
        path=path,
        shape=(int(sizes[0]), int(sizes[1])),
        dtype=np.dtype(kind),
        unit="adu",
        partial=PartialDetector(
            wavelength=_number(entries, "WAVELENGTH"),
            pixel_size=pixel,
            distance=1e-3 * _number(entries, "DISTANCE"),
            center=_center(entries, pixel),
        ),
        saturation=_number(entries, "CCD_IMAGE_SATURATION"),
    )
    return across_beam(header, _number(entries, "TWOTHETA"))


def _center(entries: Mapping[str, str], pixel: float) -> tuple[float, float] | None:
    """Give column and row of the beam from the centre of the first pixel."""
    column, row = _number(entries, "XDS_ORGX") - 1, _number(entries, "XDS_ORGY") - 1
    if np.isnan([column, row]).any():
        row = 1e-3 * _number(entries, "BEAM_CENTER_X") / pixel - 0.5
        column = 1e-3 * _number(entries, "BEAM_CENTER_Y") / pixel - 0.5
    return (column, row) if np.isfinite([column, row]).all() else None


def _number(entries: Mapping[str, str], name: str) -> float:
    try:
        return float(entries[name])
    except (KeyError, ValueError):
        return float("nan")
