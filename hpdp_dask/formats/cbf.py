"""Images in CBF files: the mini-CBF of Pilatus and Eiger detectors, and packed imgCIF.

A mini-CBF has its geometry in comments (`# Detector_distance 0.35100 m`) and its counts packed by
byte offsets; pixels between modules are -1, bad ones -2. What is packed otherwise is read by
pycbf. Source: DECTRIS, "Pilatus CBF header specification" 1.4; CBFlib's manual.
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

SIGNATURE = b"###CBF"

#: Where the numbers begin.
_BEGIN = b"\x0c\x1a\x04\xd5"

#: Bytes that are read to find the header; it is not longer, even with a whole imgCIF before it.
_HEADER_BYTES = 2**16

_TYPES = {
    "signed 8-bit integer": np.int8,
    "unsigned 8-bit integer": np.uint8,
    "signed 16-bit integer": np.int16,
    "unsigned 16-bit integer": np.uint16,
    "signed 32-bit integer": np.int32,
    "unsigned 32-bit integer": np.uint32,
}

#: Of lengths that are not in m, and wavelengths that are not in Å.
_UNITS = {"mm": 1e-3, "um": 1e-6, "nm": 10.0}

_NUMBER = r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)"


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
        The file is none of CBF, or is cut short within its header.
    """
    text, sizes = _described(path, read_bytes(path, _HEADER_BYTES))
    partial, two_theta = _geometry(text), _found(text, "Detector_2theta")
    if "_axis.id" in text and np.isnan(partial.distance):
        from hpdp_dask.formats.imgcif import imgcif_geometry

        partial, two_theta = imgcif_geometry(path)
    header = ImageHeader(
        path=path,
        shape=_shape(path, sizes),
        dtype=np.dtype(np.int32),
        unit="photons",
        partial=partial,
        saturation=_found(text, "Count_cutoff"),
    )
    return across_beam(header, two_theta)


def read_image(path: Path) -> np.ndarray:
    """Read an image.

    Returns
    -------
    (y, x) ndarray of int32

    Raises
    ------
    InputError
        The file is cut short or damaged, or packed in a way that is not read.
    """
    raw = read_bytes(path)
    _, sizes = _described(path, raw)
    packing = sizes.get("conversions", "x-CBF_NONE")
    rows, columns = _shape(path, sizes)
    expected = _integer(path, sizes, "X-Binary-Size")
    begin = raw.index(_BEGIN) + len(_BEGIN)
    numbers = np.frombuffer(raw, np.uint8, offset=begin)[:expected]
    if len(numbers) < expected:
        raise InputError(
            f"{path}: truncated: expected {begin + expected} bytes, found {len(raw)}; copy the "
            "file again."
        )
    if "x-CBF_PACKED" in packing:
        from hpdp_dask.formats.imgcif import read_packed_image

        return read_packed_image(path, (rows, columns))
    if "x-CBF_BYTE_OFFSET" in packing:
        from hpdp_dask.numerics.byte_offset import unpack_byte_offset

        try:
            return unpack_byte_offset(numbers, rows * columns).reshape(rows, columns)
        except ValueError as error:
            raise InputError(f"{path}: damaged: {error}; copy the file again.") from error
    kind = _TYPES.get(sizes.get("X-Binary-Element-Type", ""))
    if "x-CBF_NONE" not in packing or kind is None:
        raise InputError(
            f"{path}: holds {sizes.get('X-Binary-Element-Type')} packed as {packing}, expected "
            "integers packed by byte offset (x-CBF_BYTE_OFFSET) or x-CBF_PACKED; convert the file."
        )
    if expected != rows * columns * np.dtype(kind).itemsize:
        raise InputError(
            f"{path}: damaged: {expected} bytes for {rows} x {columns} pixels; copy the file again."
        )
    return numbers.view(np.dtype(kind).newbyteorder("<")).astype(np.int32).reshape(rows, columns)


def _described(path: Path, raw: bytes) -> tuple[str, Mapping[str, str]]:
    """Give the text before the numbers, and what it says of how these are kept."""
    if not raw.startswith(SIGNATURE):
        raise InputError(f"{path}: not a CBF file, it does not begin with {SIGNATURE.decode()}.")
    end = raw.find(_BEGIN)
    if end < 0:
        raise InputError(
            f"{path}: truncated: ends after {len(raw)} bytes, before its numbers begin; copy the "
            "file again."
        )
    text = raw[:end].decode("latin-1")
    sizes = dict(re.findall(r"^(X-Binary-[A-Za-z-]+):\s*\"?([^\"\r\n]*)\"?", text, re.MULTILINE))
    packing = re.search(r"conversions=\"?([^\"\r\n;]*)", text)
    return text, sizes | ({"conversions": packing[1]} if packing else {})


def _integer(path: Path, sizes: Mapping[str, str], name: str) -> int:
    value = sizes.get(name, "")
    if not value.isdecimal() or int(value) == 0:
        raise InputError(
            f"{path}: {name} is {value or 'not there'}, expected a whole number; is the header "
            "damaged? Copy the file again."
        )
    return int(value)


def _shape(path: Path, sizes: Mapping[str, str]) -> tuple[int, int]:
    fastest = _integer(path, sizes, "X-Binary-Size-Fastest-Dimension")
    return _integer(path, sizes, "X-Binary-Size-Second-Dimension"), fastest


def _found(text: str, name: str) -> float:
    """Give the number of a line of the header in m or Å, NaN where there is none."""
    match = re.search(rf"^#\s*{name}\s+{_NUMBER}[ \t]*(\w*)", text, re.MULTILINE)
    return float(match[1]) * _UNITS.get(match[2], 1.0) if match else float("nan")


def _geometry(text: str) -> PartialDetector:
    """Read wavelength, pixel size, distance and centre of the comments."""
    center = re.search(rf"^#\s*Beam_xy\s*\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)", text, re.MULTILINE)
    return PartialDetector(
        wavelength=_found(text, "Wavelength"),
        pixel_size=_found(text, "Pixel_size"),
        distance=_found(text, "Detector_distance"),
        # counted from the corner of the first pixel
        center=(float(center[1]) - 0.5, float(center[2]) - 0.5) if center else None,
    )
