"""Where the image stacks that a table names are on this machine, and how to name them in a table.

Tables name stacks relative to a project folder that they do not tell: RELION and cryoSPARC write
a table some folders below it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpdp_dask.formats.cryosparc_fields import IMAGE as BLOB
from hpdp_dask.formats.particles import ParticleTable
from hpdp_dask.formats.star_labels import IMAGE
from hpdp_dask.formats.star_text import split_image_names


def find_stacks(names: Sequence[str], table: Path, image_folder: Path | None) -> list[Path]:
    """Find the files that a table means.

    Parameters
    ----------
    names : sequence of str
        As the table writes them.
    table : Path
        The file that names them.
    image_folder : Path or None
        A further folder to look in.

    Returns
    -------
    list of Path
        Absolute, one for each name: the first that exists of the name in the folder of the
        table, in the folders above it and in `image_folder`; where none exists, the name in
        `image_folder`, or in the folder of the table without one.
    """
    home = table.absolute().parent
    folders = [home, *home.parents]
    fallback = home
    if image_folder is not None:
        fallback = Path(image_folder).absolute()
        folders.append(fallback)
    found = []
    for name in names:
        candidates = (_join(folder, name) for folder in folders)
        found.append(next(filter(Path.exists, candidates), _join(fallback, name)))
    return found


def name_stacks(
    files: Sequence[Path], table: Path, file_of_row: np.ndarray, names_of_rows: np.ndarray
) -> list[str]:
    """Name stacks in a table that is to be written: the inverse of `find_stacks`.

    Parameters
    ----------
    files : sequence of Path
        Absolute.
    table : Path
        The file that will name them.
    file_of_row : (n,) ndarray of int
        Index in `files` of each row, -1 for none.
    names_of_rows : (n,) ndarray of str
        How the table that was read named the stack of each row; empty where it named none.

    Returns
    -------
    list of str
        For each file: its path relative to the folder of the table if it is inside; else the name
        that it had in the table that was read; else the absolute path.
    """
    home = table.absolute().parent
    rows, firsts = np.unique(file_of_row, return_index=True)
    first_row = dict(zip(rows.tolist(), firsts.tolist(), strict=True))
    names = []
    for index, file in enumerate(files):
        before = str(names_of_rows[first_row[index]]) if index in first_row else ""
        if file.is_relative_to(home):
            names.append(file.relative_to(home).as_posix())
        elif before and _ends_with(file, before):
            names.append(before)
        else:
            names.append(file.as_posix())
    return names


def strip_marks(paths: np.ndarray) -> np.ndarray:
    """Take away the `>` that cryoSPARC puts before some paths."""
    return np.array([path.lstrip(">") for path in paths], dtype=object)


def names_in_source(table: ParticleTable) -> tuple[np.ndarray, np.ndarray]:
    """Tell how the file that a table was read from names its images.

    Returns
    -------
    stacks : (n,) object ndarray of str
        Without the marks of cryoSPARC; empty where there is no such file.
    indices : (n,) ndarray of int64
        Which image of its stack, from 0; -1 where there is no such file.
    """
    columns = table.source.particles
    if IMAGE in columns:
        return split_image_names(columns[IMAGE], table.path)
    if all(name in columns for name in BLOB):
        return strip_marks(columns[BLOB[0]]), columns[BLOB[1]].astype(np.int64)
    return np.full(len(table), "", dtype=object), np.full(len(table), -1)


def _join(folder: Path, name: str) -> Path:
    return Path(os.path.normpath(folder / name))


def _ends_with(file: Path, name: str) -> bool:
    tail = tuple(part for part in Path(os.path.normpath(name)).parts if part != os.pardir)
    return file.parts[-len(tail) :] == tail
