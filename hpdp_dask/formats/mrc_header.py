"""The header of an MRC file: what it says, whether the file is as long as it says, and a new one.

Read here and not through `mrcfile.open`, since files of older programs lack the map identifier
and the machine stamp that mrcfile asks for, and its permissive mode warns where it should decide.
Format: Cheng et al. 2015, J. Struct. Biol. 192, 146 (MRC2014).
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import (
    byte_order_from_machine_stamp,
    machine_stamp_from_byte_order,
    mode_from_dtype,
)
from numpy.typing import DTypeLike

from hpdp_dask.errors import InputError

HEADER_BYTES = HEADER_DTYPE.itemsize

#: Mode of two pixels of four bits in a byte.
PACKED_MODE = 101

#: What a pixel is in each mode; bytes are signed, as MRC2014 says.
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", PACKED_MODE: "u1"}

_COMPLEX_MODES = (3, 4)

_BYTE_ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")


@dataclass(frozen=True)
class MrcInfo:
    """What the header of an MRC file says.

    Attributes
    ----------
    path : Path
    shape : tuple of int
        Images (or sections), rows, columns: n, y, x as stored.
    dtype : dtype
        Of a pixel as stored, byte order included.
    pixel_size : float or None
        Å; None where the header says none, or not the same one along all axes.
    is_volume : bool
        The header calls it a volume. Many programs call stacks so.
    mode : int
        MRC's number of the kind of pixel.
    offset : int
        Bytes before the first pixel.
    axes : tuple of int
        Crystal axis (1 x, 2 y, 3 z) along columns, rows and sections.
    compressed : bool
        Gzipped.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    pixel_size: float | None
    is_volume: bool
    mode: int
    offset: int
    axes: tuple[int, int, int]
    compressed: bool

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of pixels in the file."""
        columns = self.shape[2]
        return (columns + 1) // 2 if self.mode == PACKED_MODE else columns * self.dtype.itemsize

    @property
    def image_bytes(self) -> int:
        """Bytes of an image (a section) in the file."""
        return self.shape[1] * self.row_bytes


def open_mrc(path: Path) -> BinaryIO:
    """Open an MRC file, gunzipped on the way if it is compressed.

    Parameters
    ----------
    path : Path

    Returns
    -------
    binary file
        A `gzip.GzipFile` if it is compressed.

    Raises
    ------
    InputError
        It does not exist or may not be read.
    """
    try:
        with open(path, "rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        return gzip.open(path, "rb") if compressed else open(path, "rb")  # type: ignore[return-value]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from error


def read_info(path: Path) -> MrcInfo:
    """Read the header of an MRC file and check the length of the file against it.

    Parameters
    ----------
    path : Path
        `.mrc`, `.mrcs`, `.map`; also `.gz`, whose length is not checked.

    Returns
    -------
    MrcInfo

    Raises
    ------
    InputError
        Missing, not an MRC file, truncated, or of a mode that is not read.
    """
    path = Path(path)
    with open_mrc(path) as file:
        compressed = isinstance(file, gzip.GzipFile)
        try:
            raw = file.read(HEADER_BYTES)
        except (OSError, EOFError) as error:
            raise InputError(f"{path}: cannot be gunzipped: {error}.") from error
    info = _parse(path, raw, compressed)
    expected, found = info.offset + info.shape[0] * info.image_bytes, path.stat().st_size
    if not compressed and found < expected:
        raise InputError(
            f"{path}: truncated: expected {expected} bytes for {info.shape[0]} images of "
            f"{info.shape[2]} x {info.shape[1]} pixels in mode {info.mode}, found {found}; copy "
            "the file again."
        )
    return info


def _parse(path: Path, raw: bytes, compressed: bool) -> MrcInfo:
    if len(raw) < HEADER_BYTES:
        raise InputError(
            f"{path}: not an MRC file: it has {len(raw)} bytes, and the header alone has "
            f"{HEADER_BYTES}."
        )
    found = [
        (order, header)
        for order in _BYTE_ORDERS
        if _plausible(header := np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0])
    ]
    if not found:
        raise InputError(
            f"{path}: not an MRC file: its header holds no possible size, mode and axes; give an "
            ".mrc, .mrcs or .map file."
        )
    order, header = min(found, key=lambda candidate: _unlikeliness(*candidate))
    mode = int(header["mode"])
    if mode not in _DTYPES:
        raise InputError(
            f"{path}: mode {mode} (complex pixels) is not read; expected real pixels, one of the "
            f"modes {', '.join(map(str, _DTYPES))}."
        )
    axes = tuple(int(header[name]) for name in ("mapc", "mapr", "maps"))
    return MrcInfo(
        path=path,
        shape=(int(header["nz"]), int(header["ny"]), int(header["nx"])),
        dtype=np.dtype(_DTYPES[mode]).newbyteorder(order),
        pixel_size=_pixel_size(header),
        is_volume=int(header["ispg"]) > 0 and path.suffix != ".mrcs",
        mode=mode,
        offset=HEADER_BYTES + int(header["nsymbt"]),
        axes=axes if any(axes) else (1, 2, 3),  # type: ignore[arg-type]
        compressed=compressed,
    )


def _plausible(header: np.void) -> bool:
    axes = sorted(int(header[name]) for name in ("mapc", "mapr", "maps"))
    return (
        all(header[name] > 0 for name in ("nx", "ny", "nz"))
        and int(header["mode"]) in (*_DTYPES, *_COMPLEX_MODES)
        and axes in ([1, 2, 3], [0, 0, 0])
        and header["nsymbt"] >= 0
    )


def _unlikeliness(order: str, header: np.void) -> tuple[bool, int]:
    """Rank a byte order: first that of the machine stamp, then that of the smaller file."""
    try:
        stamped = byte_order_from_machine_stamp(header["machst"]) == order
    except ValueError:
        stamped = False
    return not stamped, int(header["nx"]) * int(header["ny"]) * int(header["nz"])


def _pixel_size(header: np.void) -> float | None:
    """Give the pixel size, Å, if there is one along all axes of an upright cell."""
    sizes = [
        float(header["cella"][axis]) / intervals if (intervals := int(header[f"m{axis}"])) else 0.0
        for axis in "xyz"
    ]
    if header["ispg"] == 0:
        # many programs write the number of images as the depth of the cell of a stack
        sizes.pop()
    upright = all(
        float(header["cellb"][name]) in (0.0, 90.0) for name in header["cellb"].dtype.names
    )
    positive = all(np.isfinite(size) and size > 0 for size in sizes)
    if not (upright and positive and np.allclose(sizes, sizes[0], rtol=1e-3)):
        return None
    return sizes[0]


def new_header(
    shape: tuple[int, int, int], pixel_size: float, dtype: DTypeLike, is_volume: bool
) -> np.ndarray:
    """Make the header of a new file; its statistics say that they are not known.

    Parameters
    ----------
    shape : tuple of int
        n (or z), y, x.
    pixel_size : float
        Å.
    dtype : dtype
        float32, float16, int16, uint16 or int8.
    is_volume : bool
        Space group 1, the map; else 0, a stack of images.

    Returns
    -------
    (1,) ndarray of mrcfile's `HEADER_DTYPE`
    """
    header = np.zeros(1, HEADER_DTYPE.newbyteorder("<"))
    sections, rows, columns = shape
    depth = sections if is_volume else 1
    header["nx"], header["ny"], header["nz"] = columns, rows, sections
    header["mx"], header["my"], header["mz"] = columns, rows, depth
    header["mode"] = mode_from_dtype(np.dtype(dtype))
    header["cella"] = (columns * pixel_size, rows * pixel_size, depth * pixel_size)
    header["cellb"] = (90.0, 90.0, 90.0)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    # MRC2014: a maximum below the minimum, a mean below both and a negative rms are "not known"
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = 0.0, -1.0, -2.0, -1.0
    header["ispg"] = int(is_volume)
    header["nversion"] = 20141
    header["map"] = b"MAP "
    header["machst"] = machine_stamp_from_byte_order("<")
    header["nlabl"] = 1
    header["label"][0, 0] = b"hpdp-dask"
    return header
