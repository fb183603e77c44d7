"""What was found of images where they lie: a table of images, and one of data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hpdp_dask.dataflow.columns import Measure
from hpdp_dask.dataflow.source_columns import measure_source
from hpdp_dask.errors import InputError
from hpdp_dask.formats.stored_frames import StoredFrames
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.frames.sources import data_set_name
from hpdp_dask.frames.stored_stacks import is_stack

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Endings of tables that can be written.
SUFFIXES = (".parquet", ".csv")

#: Bytes of a row, about.
_ROW = 200


class ImageTables(NamedTuple):
    """What was found.

    Attributes
    ----------
    images : pandas.DataFrame
        A row for each image: `data_set`, `file`, `frame` (place in the file), and what was
        measured of it.
    data_sets : pandas.DataFrame
        A row for each data set.
    notes : list of str
        What the user should know.
    """

    images: pd.DataFrame
    data_sets: pd.DataFrame
    notes: list[str]


def tabulate(
    sources: Sequence[StoredFrames],
    measures: Sequence[Measure],
    summarize: Callable[[pd.DataFrame], pd.DataFrame],
    *,
    client: Client | None = None,
    progress: Progress | None = None,
) -> ImageTables:
    """Measure the images of sources.

    Parameters
    ----------
    sources : sequence of StoredFrames
        Each a data set.
    measures : sequence of Measure
        One for each source.
    summarize : callable
        Makes the table of data sets of that of images.
    client : distributed.Client, optional
        Where to; by default in this process.
    progress : Progress, optional

    Returns
    -------
    ImageTables

    Raises
    ------
    InputError
        Images cannot be read, or a measure refused them.
    """
    import pandas as pd

    tables = []
    for source, measure, name in zip(sources, measures, _names(sources), strict=True):
        found = measure_source(source, [measure], client=client, progress=progress)
        tables.append(pd.DataFrame({"data_set": name, **_places(source), **found}))
    images = pd.concat(tables, ignore_index=True)
    notes = list(dict.fromkeys(note for source in sources for note in source.notes))
    return ImageTables(images, summarize(images), notes)


def table_paths(output: Path, overwrite: bool = False) -> tuple[Path, Path]:
    """Give the names of the table of images and of that of data sets, if they can be written.

    Raises
    ------
    InputError
        The name ends in neither of `SUFFIXES`, its folder is not there, or a table is already.
    """
    if output.suffix not in SUFFIXES:
        raise InputError(f"{output}: expected a name that ends in {' or '.join(SUFFIXES)}.")
    if not output.parent.is_dir():
        raise InputError(f"{output}: there is no folder {output.parent}; make it first.")
    paths = output, output.with_name(f"{output.stem}_data_sets{output.suffix}")
    for path in paths:
        if path.exists() and not overwrite:
            raise InputError(
                f"{path}: exists already; choose another name, or --overwrite to replace it."
            )
    return paths


def write_tables(output: Path, tables: ImageTables) -> tuple[Path, Path]:
    """Write both tables, each whole or not at all.

    Parameters
    ----------
    output : Path
        Parquet or CSV, by its ending.
    tables : ImageTables

    Returns
    -------
    tuple of Path
        Of images, of data sets.

    Raises
    ------
    InputError
        They cannot be written.
    """
    paths = table_paths(output, overwrite=True)
    for path, table in zip(paths, (tables.images, tables.data_sets), strict=True):
        with write_whole(path, _ROW * len(table)) as file:
            if path.suffix == ".csv":
                table.to_csv(file, index=False, float_format="%.6g")
            else:
                table.to_parquet(file, index=False)
    return paths


def _names(sources: Sequence[StoredFrames]) -> list[str]:
    """Name the data sets, with their folder where it takes that to tell them apart."""
    names = [data_set_name(source) for source in sources]
    names = [
        f"{source.path.parent.name}/{name}" if names.count(name) > 1 else name
        for source, name in zip(sources, names, strict=True)
    ]
    return [
        f"{name} ({names[:place].count(name) + 1})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _places(source: StoredFrames) -> dict[str, Any]:
    """Give the file of each image, and its place there."""
    columns = source.columns
    if "source_file" in columns and not is_stack(source.path):
        return {"file": columns["source_file"], "frame": columns["source_index"]}
    return {"file": str(source.path), "frame": np.arange(source.number)}
