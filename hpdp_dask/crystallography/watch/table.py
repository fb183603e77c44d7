"""What a stream found of diffraction images, as the tables that `hpdp crystals predict` writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hpdp_dask.crystallography.image_table import ImageTables
from hpdp_dask.crystallography.prediction_table import summarize
from hpdp_dask.dataflow.stream.batches import FRAME_ID, Source
from hpdp_dask.dataflow.stream.found import Found
from hpdp_dask.formats.image_series import IMAGE_SUFFIXES, series_name
from hpdp_dask.formats.packed_files import unpacked_name


def found_tables(
    found: Found, batches: Iterable[str], source: Source, columns: Sequence[str]
) -> ImageTables:
    """Put together what was found, a row for each image.

    Parameters
    ----------
    found : Found
    batches : iterable of str
        Those that have results.
    source : Source
        Tells where each image is.
    columns : sequence of str
        What was measured.

    Returns
    -------
    ImageTables
    """
    import pandas as pd

    parts: dict[str, list[np.ndarray]] = {name: [] for name in (FRAME_ID, *columns)}
    for name in sorted(batches):
        _, values = found.columns(name)
        for column, held in parts.items():
            held.append(values[column])
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    ids = joined.pop(FRAME_ID)
    images = pd.DataFrame({**_places(ids, source), **joined})
    return ImageTables(images, summarize(images), [])


def _places(ids: np.ndarray, source: Source) -> dict[str, list[str] | list[int]]:
    """Give the data set and the file of each image, and its place there."""
    places = [source.place_of(frame_id) for frame_id in ids.tolist()]
    names: dict[str, str] = {}
    for file, _ in places:
        if file not in names:
            names[file] = data_set_of(file, source)
    return {
        "data_set": [names[file] for file, _ in places],
        "file": [file for file, _ in places],
        "frame": [place for _, place in places],
    }


def data_set_of(file: str, source: Source) -> str:
    """Name the data set of a file: what the names of its images share, below what is watched."""
    path = Path(file)
    folder = getattr(source, "path", None)
    if folder is None or not path.is_relative_to(folder) or path == folder:
        return path.name
    name = Path(series_name(path)).stem.rstrip("_-.").removesuffix("_data")
    return (path.parent.relative_to(folder) / (name or path.name)).as_posix()


def image_name(source: Source, frame_id: int) -> tuple[str, str]:
    """Name an image: short, for under a picture, and with all of its path.

    Parameters
    ----------
    source : Source
    frame_id : int

    Returns
    -------
    tuple of str
        Of a file of one image its name; else the number of the image in it.
    """
    file, place = source.place_of(frame_id)
    if unpacked_name(Path(file)).lower().endswith(IMAGE_SUFFIXES):
        return Path(file).name, file
    return f"image {place}", f"{file}, image {place}"
