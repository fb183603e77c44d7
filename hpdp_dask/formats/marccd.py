"""Images of MarCCD and Rayonix detectors: a TIFF with a header of 3072 bytes in it.

Source: marresearch, "frame_header_type" of the MarCCD documentation, appendix.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.packed_files import read_bytes
from hpdp_dask.formats.still_images import ImageHeader, across_beam
from hpdp_dask.formats.stored_frames import PartialDetector

#: First byte of the header, of the numbers, and of entries in the header.
_HEADER, _NUMBERS = 1024, 4096
_NAME, _NFAST, _NSLOW, _DEPTH, _SATURATED = 4, 80, 84, 88, 104
_DISTANCE, _BEAM_X, _BEAM_Y, _TWO_THETA, _PIXEL, _WAVELENGTH = 640, 644, 648, 668, 772, 908

#: How many first bytes of a file tell its format.
FIRST_BYTES = _HEADER + 8

_ORDERS: dict[bytes, Literal["<", ">"]] = {b"II*\0": "<", b"MM\0*": ">"}
_DTYPES: dict[int, np.dtype] = {2: np.dtype(np.uint16), 4: np.dtype(np.int32)}


def is_marccd(first: bytes) -> bool:
    """Tell whether a file is of this format, by its `FIRST_BYTES`."""
    return first[:4] in _ORDERS and first[_HEADER + _NAME :][:3] == b"MMX"


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
        The file is none of MarCCD, or is cut short within its header.
    """
    return _header(path, read_bytes(path, _NUMBERS))[0]


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
    header, order = _header(path, raw)
    rows, columns = header.shape
    expected = _NUMBERS + rows * columns * header.dtype.itemsize
    if len(raw) < expected:
        raise InputError(
            f"{path}: truncated: expected {expected} bytes for {rows} x {columns} pixels, found "
            f"{len(raw)}; copy the file again."
        )
    numbers = np.frombuffer(raw, header.dtype.newbyteorder(order), rows * columns, _NUMBERS)
    return numbers.astype(header.dtype, copy=False).reshape(rows, columns)


def _header(path: Path, raw: bytes) -> tuple[ImageHeader, Literal["<", ">"]]:
    """Give the header and the order of bytes."""
    if not is_marccd(raw):
        raise InputError(f"{path}: not a MarCCD file, it has no header MMX.")
    if len(raw) < _NUMBERS:
        raise InputError(
            f"{path}: truncated: its header ends at {_NUMBERS} bytes, the file at {len(raw)}; copy "
            "the file again."
        )
    order = _ORDERS[raw[:4]]

    def entry(offset: int) -> int:
        return int(struct.unpack_from(f"{order}i", raw, _HEADER + offset)[0])

    rows, columns, depth = entry(_NSLOW), entry(_NFAST), entry(_DEPTH)
    if rows <= 0 or columns <= 0 or depth not in _DTYPES:
        raise InputError(
            f"{path}: its header tells of {columns} x {rows} pixels of {depth} bytes, expected 2 "
            "or 4 bytes; copy the file again."
        )
    center = (1e-3 * entry(_BEAM_X) - 0.5, 1e-3 * entry(_BEAM_Y) - 0.5)
    header = ImageHeader(
        path=path,
        shape=(rows, columns),
        dtype=_DTYPES[depth],
        unit="adu",
        partial=PartialDetector(
            wavelength=_known(1e-5 * entry(_WAVELENGTH)),
            pixel_size=_known(1e-9 * entry(_PIXEL)),
            distance=_known(1e-6 * entry(_DISTANCE)),
            center=center if entry(_BEAM_X) and entry(_BEAM_Y) else None,
        ),
        saturation=_known(entry(_SATURATED)),
    )
    return across_beam(header, 1e-3 * entry(_TWO_THETA)), order


def _known(value: float) -> float:
    """Give a number, NaN for a 0 that says that nobody filled it in."""
    return value if value else float("nan")
