"""Particles written to STAR files of RELION."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.columns import merge_column
from hpdp_dask.formats.locations import name_stacks, names_in_source
from hpdp_dask.formats.mrc_header import read_info
from hpdp_dask.formats.particles import ParticleTable
from hpdp_dask.formats.star_labels import (
    CLASS,
    DETECTOR,
    GROUP,
    GROUP_NAME,
    HALF_SET,
    IMAGE,
    IMAGE_SIZE,
    MICROGRAPH,
    NUMBERS,
    ONE_TABLE,
    OPTICS,
    PIXEL_SIZES,
    SHIFT_PIXELS,
    WITH_OPTICS,
)
from hpdp_dask.formats.star_text import Columns, write_blocks


def write_particles(path: Path, table: ParticleTable) -> None:
    """Write particles as a STAR file.

    A table that came from a STAR file is written in its layout, with all its columns; numbers
    are replaced where they differ from those of the file by more than 1e-6 relative, and what is
    new gets new columns. Any other table is written in the layout of RELION 3.1. Images are named
    relative to the folder of the file if they are inside, else as in the file that was read.

    RELION expects white particles and has no label for `contrast_sign` and `class_probability`:
    these are not written.

    Parameters
    ----------
    path : Path
    table : ParticleTable
        Rows of `source` are those of `particles`.

    Raises
    ------
    InputError
        The disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    source = table.source
    from_star = source.format in (ONE_TABLE, WITH_OPTICS)
    rows = dict(source.particles) if from_star else {}
    blocks = dict(source.blocks) if from_star else {}
    # the reader left an empty block under the name of the table of particles
    name = next((name for name, block in blocks.items() if not block), "particles")
    blocks.pop(name, None)
    _update_images(rows, table, path)
    _update_particles(rows, table)
    group = table.particles["optics_group"]
    if source.format == ONE_TABLE:
        _update_optics(rows, {key: values[group] for key, values in table.optics.items()})
        write_blocks(path, {name: rows, **blocks})
        return
    optics = dict(source.optics) if from_star and source.optics else _new_optics(table)
    _update_optics(optics, table.optics)
    rows[GROUP] = merge_column(rows.get(GROUP), optics[GROUP][group])
    write_blocks(path, {"optics": optics, name: rows, **blocks})


def _update_images(rows: Columns, table: ParticleTable, path: Path) -> None:
    if not table.image_files:
        return
    if (table.image_file < 0).any():
        row = int(np.argmax(table.image_file < 0))
        raise InputError(
            f"{table.path}: row {row + 1} names no image, and a STAR file of particles has one in "
            "each row; leave the row out."
        )
    stacks, indices = names_in_source(table)
    names = name_stacks(table.image_files, path, table.image_file, stacks)
    after = np.array(names, dtype=object)[table.image_file]
    written = [f"{n + 1:06d}@{s}" for n, s in zip(table.image_index.tolist(), after, strict=True)]
    # a name that means the same keeps its form, say 1@stack.mrcs
    same = (stacks == after) & (indices == table.image_index) & (IMAGE in rows)
    rows[IMAGE] = np.where(same, rows.get(IMAGE, stacks), np.array(written, dtype=object))


def _update_particles(rows: Columns, table: ParticleTable) -> None:
    particles = table.particles

    def put(label: str, values: np.ndarray) -> None:
        rows[label] = merge_column(rows.get(label), values)

    for name, labels in NUMBERS.items():
        if name not in particles or name == "shift":
            continue
        # no column for a phase plate that there is not
        if name == "phase_shift" and labels[0] not in rows and not particles[name].any():
            continue
        for label, values in zip(labels, particles[name].reshape(len(table), -1).T, strict=True):
            put(label, values)
    if "shift" in particles:
        shift = particles["shift"]
        pixels = shift / table.optics["pixel_size"][particles["optics_group"]][:, None]
        in_pixels = SHIFT_PIXELS[0] in rows
        in_angstrom = NUMBERS["shift"][0] in rows or not (
            in_pixels or table.source.format == ONE_TABLE
        )
        for axis in (0, 1):
            if in_angstrom:
                put(NUMBERS["shift"][axis], shift[:, axis])
            if in_pixels or not in_angstrom:
                put(SHIFT_PIXELS[axis], pixels[:, axis])
    if "class_number" in particles:
        put(CLASS, particles["class_number"])
    if "half_set" in particles:
        put(HALF_SET, particles["half_set"] + 1)
    if "micrograph" in particles:
        put(MICROGRAPH, particles["micrograph"])


def _update_optics(columns: Columns, optics: Mapping[str, np.ndarray]) -> None:
    """Update voltage, aberration, contrast and pixel size in a table that has them as columns."""
    for name, label in OPTICS.items():
        if label in columns or np.isfinite(optics[name]).any():
            columns[label] = merge_column(columns.get(label), optics[name])
    sizes = optics["pixel_size"]
    if all(label in columns for label in DETECTOR):
        detector = sizes * columns[DETECTOR[1]] / 1e4
        columns[DETECTOR[0]] = merge_column(columns[DETECTOR[0]], detector)
    else:
        label = next((label for label in PIXEL_SIZES if label in columns), PIXEL_SIZES[0])
        columns[label] = merge_column(columns.get(label), sizes)


def _new_optics(table: ParticleTable) -> Columns:
    """Begin a table of optics groups: numbers, names and, if it is known here, the box."""
    number = len(table.optics["pixel_size"])
    optics: Columns = {
        GROUP: np.arange(1, number + 1),
        GROUP_NAME: np.array([f"opticsGroup{i}" for i in range(1, number + 1)], dtype=object),
    }
    stack = next((file for file in table.image_files if file.exists()), None)
    if stack is not None:
        size = read_info(stack).shape[2]
    elif "blob/shape" in table.source.particles:
        size = int(table.source.particles["blob/shape"][0, 0])
    else:
        return optics
    return {**optics, IMAGE_SIZE[0]: np.full(number, size), IMAGE_SIZE[1]: np.full(number, 2)}
