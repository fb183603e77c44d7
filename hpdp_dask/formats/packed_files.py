"""Files that may be packed as a whole: `x.cbf`, `x.cbf.gz`, `x.cbf.bz2`."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpdp_dask.errors import InputError

#: What goes wrong in unpacking a file that is cut short or damaged.
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, OSError, ValueError)

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}


def unpacked_name(path: Path) -> str:
    """Give the name of a file without the ending of its packing."""
    return path.stem if path.suffix.lower() in _OPENERS else path.name


def read_bytes(path: Path, number: int = -1) -> bytes:
    """Read a file, or the first bytes of it, unpacked.

    Parameters
    ----------
    path : Path
    number : int, optional
        How many bytes, if there are so many; by default all.

    Returns
    -------
    bytes

    Raises
    ------
    InputError
        There is no such file, or what is packed is cut short or damaged.
    """
    opener = _OPENERS.get(path.suffix.lower())
    try:
        if opener is None:
            with open(path, "rb") as plain:
                return plain.read(number)
        with opener(path, "rb") as file:
            return bytes(file.read(number))
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file.") from error
    except _BROKEN as error:
        if opener is None:
            raise InputError(f"{path}: cannot be read ({error}).") from error
        raise InputError(
            f"{path}: cannot be unpacked, it is truncated or damaged ({error}); copy the file "
            "again."
        ) from error
