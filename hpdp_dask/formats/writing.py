"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from hpdp_dask.errors import InputError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def write_whole(path: Path, size: int) -> Iterator[BinaryIO]:
    """Open a file that takes its name only when all of it is written.

    It grows under a hidden name in the same folder and is renamed at the end; whatever goes
    wrong before, it is removed and a file that had the name stays as it was.

    Parameters
    ----------
    path : Path
        The name it gets.
    size : int
        Bytes that it will have, about, for the message when the disk is full.

    Yields
    ------
    binary file
        To write to and to seek in.

    Raises
    ------
    InputError
        The disk is full, or the folder cannot be written to. Other errors pass as they are.
    """
    # machines that share the folder may write the same file at once
    hidden = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        file = open(hidden, "wb")  # noqa: SIM115 closed below, apart from errors of opening
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; choose a name in a folder that exists "
            "and that you may write to."
        ) from error
    try:
        with file:
            yield file
        os.replace(hidden, path)
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        free = shutil.disk_usage(path.parent).free
        raise InputError(
            f"{path}: the disk is full: the file needs about {size} bytes, {free} were left when "
            "writing stopped; make room or write to another disk."
        ) from error
    finally:
        hidden.unlink(missing_ok=True)
