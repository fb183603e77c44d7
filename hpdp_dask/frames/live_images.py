"""Images that appear in a folder while a beamline writes them: opened quickly, one by one.

Hundreds of files are of one detector at one place. Where each pixel is, and which are masked, is
made of the first of them and held.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections import deque
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.image_series import (
    IMAGE_SUFFIXES,
    ImageKind,
    SeriesReader,
    image_kind,
    read_image_header,
    same_geometry,
)
from hpdp_dask.formats.still_images import ImageHeader
from hpdp_dask.formats.stored_frames import StoredFrames
from hpdp_dask.frames.sources import check_complete, open_source

#: Endings of files that are taken from a folder: images, packed or not, and HDF5.
LIVE_SUFFIXES = (
    *(suffix + packing for suffix in IMAGE_SUFFIXES for packing in ("", ".gz", ".bz2")),
    *(".h5", ".hdf5", ".nxs", ".cxi"),
)

#: The master of a data set tells of the detector; its frames come in data files.
MASTER = "_master.h5"
_DATA_FILE = re.compile(r"(?P<data_set>.+)_data_(?P<number>\d+)\.h5")

#: Geometries that are held: 150 MB each for six million pixels.
_HELD = 2

_known: deque[tuple[ImageHeader, Hashable, StoredFrames]] = deque(maxlen=_HELD)
_lock = threading.Lock()


def open_live_image(path: Path, **described: Any) -> StoredFrames:
    """Open a file of images as it comes.

    Parameters
    ----------
    path : Path
        A file of one image, a data file of a master file that lies beside it, or another file of
        frames.
    **described
        As for `frames.sources.open_source`.

    Returns
    -------
    StoredFrames
        With a detector.

    Raises
    ------
    InputError
        The file cannot be read, its master is not there, or the geometry is not known.
    """
    if match := _DATA_FILE.fullmatch(path.name):
        source = _of_master(path, match["data_set"], match["number"], described)
    elif kind := image_kind(path):
        source = _image(path, kind, described)
    else:
        source = open_source(path, **described)
    check_complete(source)
    return source


def _of_master(path: Path, data_set: str, number: str, described: dict[str, Any]) -> StoredFrames:
    """Open the frames of a data file as its master file shows them."""
    master = path.with_name(data_set + MASTER)
    if not master.exists():
        raise InputError(
            f"{path}: its master file {master.name} is not beside it, which tells of the detector; "
            "copy it there."
        )
    dataset = f"entry/data/data_{number}"
    return replace(open_source(master, dataset=dataset, **described), path=path)


def _image(path: Path, kind: ImageKind, described: dict[str, Any]) -> StoredFrames:
    """Open a file of one image; the first of its geometry is looked at closely."""
    header = read_image_header(path, kind)
    key = tuple(sorted(described.items()))
    with _lock:
        for known_header, known_key, known in _known:
            if known_key == key and same_geometry(known_header, header):
                return _like(known, path)
        source = open_source(path, **described)
        _known.append((header, key, source))
        return source


def _like(known: StoredFrames, path: Path) -> StoredFrames:
    """Give an image of which only where it lies is other than that of another."""
    assert isinstance(known.reader, SeriesReader)
    reader = replace(
        known.reader,
        folder=str(path.absolute().parent),
        packed_names=zlib.compress(path.name.encode()),
    )
    columns = {**known.columns, "source_file": np.array([str(path)], object)}
    return replace(known, path=path, reader=reader, columns=columns)
