"""Digests of inputs, of any size, that are quick to make."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from hpdp_dask.errors import InputError

#: How much of an input is read whole for its digest, and how much of the rest is sampled.
_WHOLE_BYTES = 64 * 2**20
_SAMPLED_FILES = 64
_SAMPLES = 4
_SAMPLE_BYTES = 64 * 2**10


class Input(BaseModel):
    """A file or folder that a run read, as `fingerprint` describes it.

    Attributes
    ----------
    path : str
        Absolute.
    bytes, files : int
        Size of all its files, and how many they are.
    sha256 : str
        Digest of its files' names, sizes and contents.
    sampled : bool
        Whether only parts of the contents went into the digest.
    """

    path: str
    bytes: int
    files: int
    sha256: str
    sampled: bool


def fingerprint(path: Path) -> Input:
    """Describe a file or a folder, a Zarr stack say, by a digest that is quick to make.

    The digest covers the name and size of every file. Contents are read whole, smallest files
    first, up to 64 MiB in all, which takes in a stack's metadata and most of its table. Of what
    is larger, four blocks of 64 KiB go in, evenly spread from the first byte to the last, for at
    most 64 files, evenly chosen. Noise never repeats, so another data set is always told apart;
    a change of single bytes inside a large file is not.

    Parameters
    ----------
    path : Path
        A file, or a folder of files.

    Returns
    -------
    Input

    Raises
    ------
    InputError
        If it is not there or cannot be read.
    """
    path = Path(os.path.abspath(path))
    try:
        sizes = {file: (path / file).stat().st_size for file in _files_of(path)}
        by_size = sorted(sizes, key=lambda file: (sizes[file], file))
        total = np.cumsum([sizes[file] for file in by_size], dtype=np.int64)
        n_whole = int(np.searchsorted(total, _WHOLE_BYTES, side="right"))
        large = sorted(by_size[n_whole:])
        step = max(1, math.ceil(len(large) / _SAMPLED_FILES))
        sampled = set(large[::step])
        digest = hashlib.sha256()
        for file in sorted(sizes):
            digest.update(f"{sizes[file]}:".encode() + os.fsencode(file) + b"\0")
        for file in (*by_size[:n_whole], *sorted(sampled)):
            _add_contents(digest, path / file, sizes[file], whole=file not in sampled)
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: this input cannot be read ({error.strerror})."
        ) from None
    return Input(
        # a name that is no text must still go into JSON and HTML
        path=os.fsencode(path).decode("utf-8", "backslashreplace"),
        bytes=sum(sizes.values()),
        files=len(sizes),
        sha256=digest.hexdigest(),
        sampled=bool(large),
    )


def _files_of(path: Path) -> list[str]:
    """List the files of a folder by their path in it; of a file, give the path of nothing more."""

    def fail(error: OSError) -> None:
        raise error

    if not path.is_dir():
        return [""]
    return [
        os.path.relpath(os.path.join(folder, name), path)
        for folder, _, names in os.walk(path, onerror=fail)
        for name in names
    ]


def _add_contents(digest: Any, path: Path, size: int, whole: bool) -> None:
    """Feed a file to a digest, or blocks of it that are evenly spread."""
    with path.open("rb") as file:
        if whole:
            while block := file.read(2**20):
                digest.update(block)
            return
        for offset in np.linspace(0, max(0, size - _SAMPLE_BYTES), _SAMPLES, dtype=np.int64):
            file.seek(int(offset))
            digest.update(file.read(_SAMPLE_BYTES))
