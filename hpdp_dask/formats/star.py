"""Particles in STAR files of RELION: 3.0 (one table) and 3.1, 4, 5 (a table of optics groups).

Poses, shifts and CTF are in RELION's own convention, which is that of the schema; only units
differ. Not mapped: `rlnMaxValueProbDistribution` is the largest probability over poses, not that
of the class, so it is no `class_probability`; `rlnAnglePsi` alone, as a 2D classification writes
it, is no `euler_angles`. Both are kept and written back like every other column.

References: Scheres 2012, J. Struct. Biol. 180, 519; RELION's documentation, "Conventions".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from hpdp_dask.errors import InputError
from hpdp_dask.formats.columns import group_rows, read_integers, read_numbers
from hpdp_dask.formats.locations import find_stacks
from hpdp_dask.formats.particles import ParticleTable, SourceTables
from hpdp_dask.formats.star_labels import (
    CLASS,
    DETECTOR,
    GROUP,
    HALF_SET,
    IMAGE,
    MICROGRAPH,
    NUMBERS,
    ONE_TABLE,
    OPTICS,
    PIXEL_SIZES,
    SHIFT_PIXELS,
    WITH_OPTICS,
)
from hpdp_dask.formats.star_text import Columns, read_blocks, split_image_names
from hpdp_dask.formats.star_writing import write_particles

__all__ = ["read_particles", "read_table", "write_particles"]


def read_table(path: Path, block: str | None = None) -> Columns:
    """Read one table of a STAR file, such as the MTF of a detector.

    Parameters
    ----------
    path : Path
    block : str, optional
        Its name, what follows `data_`; by default the only table of the file.

    Returns
    -------
    dict of str to ndarray
        One array a column: int64, float64, or object with `str`.

    Raises
    ------
    InputError
        Not a STAR file, or it has no such table, or several and none was asked for.
    """
    blocks = read_blocks(path)
    if block is None and len(blocks) == 1:
        return next(iter(blocks.values()))
    if block is None or block not in blocks:
        names = ", ".join(f"data_{name}" for name in blocks)
        raise InputError(
            f"{path}: expected {'one table' if block is None else f'the table data_{block}'}, "
            f"found {names}."
        )
    return blocks[block]


def read_particles(
    path: Path, pixel_size: float | None = None, image_folder: Path | None = None
) -> ParticleTable:
    """Read the particles of a STAR file.

    Parameters
    ----------
    path : Path
        Written by RELION 3.0 to 5, or by others in its format.
    pixel_size : float, optional
        Of the images, Å; instead of what the file says, for all optics groups.
    image_folder : Path, optional
        Where to look for the stacks, after the folder of the file and those above it. Whether a
        stack exists is not checked.

    Returns
    -------
    ParticleTable
        All values float64 or int64. `phase_shift` is 0 where the file has a defocus and no phase
        shift; `half_set` is there unless all particles are in subset 0.

    Raises
    ------
    InputError
        Not a STAR file, no image names, no pixel size, an optics group that is not in the table
        of groups, a value that is not a finite number, a subset other than 1 and 2, the same row
        twice. The same image in several rows with different poses is allowed: expansion by
        symmetry makes such files.
    """
    path = Path(path)
    blocks = read_blocks(path)
    name = next((name for name, block in blocks.items() if IMAGE in block), None)
    if name is None:
        raise InputError(
            f"{path}: no table has the column {IMAGE}; expected a STAR file of particles."
        )
    rows = blocks.pop(name)
    optics_rows = blocks.pop("optics", {})
    # an empty block keeps the name of the table of particles
    source = SourceTables(
        format=WITH_OPTICS if optics_rows else ONE_TABLE,
        particles=rows,
        optics=optics_rows,
        blocks={name: {}, **blocks},
    )
    optics, group = (
        _join_optics(rows, optics_rows, path, pixel_size)
        if optics_rows
        else _group_optics(rows, path, pixel_size)
    )
    stacks, image_index = split_image_names(rows[IMAGE], path)
    stack_of_row, stack_names = pd.factorize(stacks)
    files, file_of_stack = np.unique(
        [str(file) for file in find_stacks(list(stack_names), path, image_folder)],
        return_inverse=True,
    )
    image_file = file_of_stack[stack_of_row]
    _refuse_repeated_rows(rows, image_file, image_index, path)
    return ParticleTable(
        particles={
            **_read_particle_columns(rows, path, optics["pixel_size"][group]),
            "optics_group": group,
        },
        optics=optics,
        image_files=[Path(file) for file in files],
        image_file=image_file.astype(np.int32),
        image_index=image_index,
        source=source,
        path=path,
    )


def _read_particle_columns(rows: Columns, path: Path, pixel_size: np.ndarray) -> Columns:
    found: Columns = {}
    for name, labels in NUMBERS.items():
        if all(label in rows for label in labels):
            columns = [read_numbers(rows, label, path) for label in labels]
            found[name] = columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    if "shift" not in found and all(label in rows for label in SHIFT_PIXELS):
        pixels = [read_numbers(rows, label, path) for label in SHIFT_PIXELS]
        found["shift"] = np.stack(pixels, axis=1) * pixel_size[:, None]
    if "defocus_u" in found:
        found.setdefault("phase_shift", np.zeros(len(pixel_size)))
    if CLASS in rows:
        found["class_number"] = read_integers(rows, CLASS, path)
    if HALF_SET in rows:
        subset = read_integers(rows, HALF_SET, path)
        if subset.any():
            bad = (subset != 1) & (subset != 2)
            if bad.any():
                row = int(np.argmax(bad))
                raise InputError(
                    f"{path}: {HALF_SET} of row {row + 1} is {subset[row]}, expected 1 or 2; mend "
                    "the row, or take the column away to have new half-sets drawn."
                )
            found["half_set"] = subset - 1
    if MICROGRAPH in rows:
        found["micrograph"] = rows[MICROGRAPH]
    return found


def _join_optics(
    rows: Columns, optics_rows: Columns, path: Path, pixel_size: float | None
) -> tuple[Columns, np.ndarray]:
    """Read the table of optics groups and find each particle's group in it."""
    for table, columns in (("optics", optics_rows), ("particles", rows)):
        if GROUP not in columns:
            raise InputError(
                f"{path}: no column {GROUP} in the table of {table}, which joins particles with "
                "their optics; expected a STAR file as RELION 3.1 writes it."
            )
    numbers = read_integers(optics_rows, GROUP, path)
    positions = pd.Index(numbers)
    if not positions.is_unique:
        raise InputError(
            f"{path}: optics group {int(numbers[positions.duplicated()][0])} occurs twice in the "
            "table of optics; give each group a number of its own."
        )
    wanted = read_integers(rows, GROUP, path)
    group = positions.get_indexer(pd.Index(wanted))
    if (group < 0).any():
        row = int(np.argmax(group < 0))
        raise InputError(
            f"{path}: row {row + 1} is in optics group {wanted[row]}, which the table of optics "
            f"does not have (it has {', '.join(map(str, numbers))}); add the group or mend the row."
        )
    sizes = _read_pixel_sizes(optics_rows, path, pixel_size)
    return _read_optics(optics_rows, sizes, path), group.astype(np.int64)


def _group_optics(
    rows: Columns, path: Path, pixel_size: float | None
) -> tuple[Columns, np.ndarray]:
    """Make optics groups of the particles that agree in what a group has in common."""
    optics = _read_optics(rows, _read_pixel_sizes(rows, path, pixel_size), path)
    keys = [*optics.values(), *([read_integers(rows, GROUP, path)] if GROUP in rows else [])]
    first, group = group_rows(keys)
    return {name: values[first] for name, values in optics.items()}, group


def _read_optics(columns: Columns, pixel_size: np.ndarray, path: Path) -> Columns:
    unknown = np.full(len(pixel_size), np.nan)
    optics = {
        name: read_numbers(columns, label, path) if label in columns else unknown
        for name, label in OPTICS.items()
    }
    return {**optics, "pixel_size": pixel_size}


def _read_pixel_sizes(columns: Columns, path: Path, pixel_size: float | None) -> np.ndarray:
    """Give the pixel size of each row of a table, Å."""
    number = len(next(iter(columns.values())))
    label = next((label for label in PIXEL_SIZES if label in columns), None)
    if pixel_size is not None:
        return np.full(number, float(pixel_size))
    if all(column in columns for column in DETECTOR):
        detector, magnification = (read_numbers(columns, column, path) for column in DETECTOR)
        label = " * 1e4 / ".join(DETECTOR)
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes = detector * 1e4 / magnification
    elif label is not None:
        sizes = read_numbers(columns, label, path)
    else:
        raise InputError(
            f"{path}: no pixel size: expected {PIXEL_SIZES[0]} (RELION 3.1) or {DETECTOR[0]} and "
            f"{DETECTOR[1]} (3.0); give it with --pixel-size."
        )
    bad = ~(np.isfinite(sizes) & (sizes > 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{path}: {label} of row {row + 1} gives a pixel size of {sizes[row]} Å, expected a "
            "positive number; mend the row or give --pixel-size."
        )
    return sizes


def _refuse_repeated_rows(
    rows: Columns, image_file: np.ndarray, image_index: np.ndarray, path: Path
) -> None:
    images = pd.DataFrame({"file": image_file, "index": image_index})
    again = np.flatnonzero(images.duplicated(keep=False))
    # names may differ in zeros and dots: the image is compared as what it means
    others = {label: values[again] for label, values in rows.items() if label != IMAGE}
    repeated = images.iloc[again].reset_index(drop=True).assign(**others).duplicated().to_numpy()
    if repeated.any():
        row = again[int(np.argmax(repeated))]
        raise InputError(
            f"{path}: row {row + 1} ({rows[IMAGE][row]}) repeats an earlier row in every column; "
            "remove it."
        )
