"""A hidden folder that one run alone writes, until it gets its name."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpdp_dask.errors import InputError


@contextmanager
def claimed(partial: Path, target: Path) -> Iterator[None]:
    """Make a hidden folder and hold a lock on it, so that two runs do not share it.

    What an earlier run left in it is still there. The lock goes with the process, however that
    ends.

    Parameters
    ----------
    partial : Path
        The hidden folder; folders above it are made.
    target : Path
        What it will become, for messages.

    Raises
    ------
    InputError
        If it cannot be made, or another run holds it.
    """
    try:
        partial.mkdir(parents=True, exist_ok=True)
        handle = os.open(partial, os.O_RDONLY)
    except OSError as error:
        raise InputError(
            f"{target}: cannot be made in {target.parent} ({error.strerror}); "
            "choose a place where you may write."
        ) from error
    taken = InputError(
        f"{target}: another run is writing this folder; wait for it, or choose another name."
    )
    try:
        with suppress(OSError):  # some network file systems know no locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise taken from None
        # the other run may have ended, and taken the folder away, just before the lock was had
        if not partial.exists() or not os.path.samestat(os.fstat(handle), partial.stat()):
            raise taken
        yield
    finally:
        os.close(handle)
