"""The folder of a live stream: there from the beginning, locked while one process writes it.

Other commands make their folder whole or not at all. A stream's is looked at while it grows, and
goes on growing after it was ended, so it has its name from the start; each file in it is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpdp_dask.errors import InputError
from hpdp_dask.stacks.claim import claimed
from hpdp_dask.stacks.store import clear_folder

#: What a stream is; who goes on must have the same.
STREAM_FILE = "stream.json"


@contextmanager
def held_folder(
    path: Path, about: Mapping[str, Any], *, resume: bool, overwrite: bool
) -> Iterator[bool]:
    """Hold the folder of a stream while a block runs.

    Parameters
    ----------
    path : Path
    about : mapping
        What the results depend on: source, frames of a batch, measures, version.
    resume : bool
        Go on with what is in the folder, if it is there.
    overwrite : bool
        Begin anew in a folder that a stream was in.

    Yields
    ------
    bool
        Whether it goes on with an earlier stream.

    Raises
    ------
    InputError
        The folder is there and may not be used, is of another stream or of something else, or
        another process holds it. A folder without results is removed.
    """
    goes_on = check_folder(path, about, resume=resume, overwrite=overwrite)
    with claimed(path, path):
        if not goes_on:
            clear_folder(path)
            temporary = path / f".{STREAM_FILE}.partial"
            temporary.write_text(json.dumps(dict(about), indent=2) + "\n", encoding="utf-8")
            temporary.replace(path / STREAM_FILE)
        try:
            yield goes_on
        except BaseException:
            if not any((path / "results").glob("*.npz")):
                shutil.rmtree(path, ignore_errors=True)
            raise


def check_folder(path: Path, about: Mapping[str, Any], *, resume: bool, overwrite: bool) -> bool:
    """Tell whether a stream goes on in a folder, or refuse it; as `held_folder`."""
    if not path.parent.is_dir():
        raise InputError(
            f"{path}: the folder {path.parent} to hold it does not exist; make it first."
        )
    if not path.exists():
        return False
    file = path / STREAM_FILE
    try:
        before = json.loads(file.read_bytes())
    except (OSError, ValueError):
        raise InputError(
            f"{path}: exists and holds no {STREAM_FILE}, so no stream was in it; choose another "
            "name."
        ) from None
    if overwrite and not resume:
        return False
    if not resume:
        raise InputError(
            f"{path}: a stream was here before; --resume goes on with it, --overwrite begins anew."
        )
    for name, value in about.items():
        if before.get(name) != value:
            raise InputError(
                f"{path}: the stream in it had the {name} {before.get(name)}, now it is {value}; "
                "call it as it was called, or give another name for a new one."
            )
    return True
