"""Any file that lists particles, or several of one kind, as one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats import cryosparc, star
from hpdp_dask.formats.mrc import read_info
from hpdp_dask.formats.particles import ParticleTable, SourceTables

#: What ends the name of a file of images.
IMAGE_SUFFIXES = (".mrc", ".mrcs", ".st")
_OPTICS = ("voltage", "spherical_aberration", "amplitude_contrast", "pixel_size")


def read_particle_files(
    inputs: Sequence[str | Path],
    pixel_size: float | None = None,
    image_folder: str | Path | None = None,
) -> ParticleTable:
    """Read the particles of one or several files as one table.

    Parameters
    ----------
    inputs : sequence of path
        Star files, which are joined one after the other; or a `.cs` file and its passthrough
        files; or stacks of images without a table, whose poses and optics are then not known.
    pixel_size : float, optional
        Å, for files that do not give it.
    image_folder : path, optional
        A further folder to look for the stacks in.

    Returns
    -------
    ParticleTable
        Optics groups of several star files that are the same in every value are one group.

    Raises
    ------
    InputError
        A file is missing or wrong, is of a kind that is not read, or does not go with the others.
    """
    files = [Path(file) for file in inputs]
    if not files:
        raise InputError("no particles were given; give a .star, .cs or .mrcs file.")
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: no such file.")
    folder = None if image_folder is None else Path(image_folder)
    suffixes = {file.with_name(file.name.removesuffix(".gz")).suffix.lower() for file in files}
    if suffixes == {".star"}:
        table = join_tables(
            [_read(star.read_particles, file, pixel_size, folder) for file in files]
        )
    elif suffixes == {".cs"}:
        table = _read(cryosparc.read_particles, files, pixel_size, folder)
    elif suffixes <= set(IMAGE_SUFFIXES):
        table = _table_of_images(files)
    else:
        raise InputError(
            f"{', '.join(map(str, files))}: files ending in {', '.join(sorted(suffixes))} cannot "
            "be read together; give star files, one .cs file with its passthrough files, or "
            "stacks of images."
        )
    if len(table) == 0:
        raise InputError(f"{files[0]}: lists no particles.")
    return table


def _read(
    reader: Callable[..., ParticleTable],
    given: Path | list[Path],
    pixel_size: float | None,
    folder: Path | None,
) -> ParticleTable:
    """Read a file; a pixel size is only for one that gives none."""
    try:
        return reader(given, image_folder=folder)
    except InputError:
        if pixel_size is None:
            raise
        return reader(given, pixel_size=pixel_size, image_folder=folder)


def select(table: ParticleTable, keep: np.ndarray) -> ParticleTable:
    """Give the table of the rows where `keep` is true, its source rows included."""
    return replace(
        table,
        particles={name: column[keep] for name, column in table.particles.items()},
        image_file=table.image_file[keep],
        image_index=table.image_index[keep],
        source=replace(
            table.source,
            particles={name: column[keep] for name, column in table.source.particles.items()},
        ),
    )


def join_tables(tables: Sequence[ParticleTable]) -> ParticleTable:
    """Put tables of one format one after the other.

    Parameters
    ----------
    tables : sequence of ParticleTable
        At least one. A single one is given back as it is.

    Returns
    -------
    ParticleTable
        Optics groups that are the same in every value are one; others follow each other, and
        get distinct names.
        Columns of the source that only some files have are left out.

    Raises
    ------
    InputError
        They are of different formats, or some have poses (CTF, half-sets, ...) that others lack.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    for other in tables[1:]:
        if other.source.format != first.source.format:
            raise InputError(
                f"{other.path} is of {other.source.format} but {first.path} of "
                f"{first.source.format}; import them one by one."
            )
        odd = sorted(set(first.particles) ^ set(other.particles))
        if odd:
            has, lacks = (first, other) if odd[0] in first.particles else (other, first)
            raise InputError(
                f"{has.path} gives {odd[0]} but {lacks.path} does not; import them one by one."
            )
    groups, optics, source_optics = _join_optics(tables)
    files = list(dict.fromkeys(file for table in tables for file in table.image_files))
    position = {file: index for index, file in enumerate(files)}
    particles = {
        name: _concatenate([table.particles[name] for table in tables]) for name in first.particles
    }
    particles["optics_group"] = np.concatenate(
        [
            group[table.particles["optics_group"]]
            for group, table in zip(groups, tables, strict=True)
        ]
    )
    source_particles = {
        name: _concatenate([table.source.particles[name] for table in tables])
        for name in first.source.particles
        if all(name in table.source.particles for table in tables)
    }
    if "rlnOpticsGroup" in source_particles and source_optics:
        source_particles["rlnOpticsGroup"] = particles["optics_group"] + 1
    return ParticleTable(
        particles=particles,
        optics=optics,
        image_files=files,
        image_file=np.concatenate([_renumber(table, position) for table in tables]),
        image_index=np.concatenate([table.image_index for table in tables]),
        source=SourceTables(
            first.source.format, source_particles, source_optics, first.source.blocks
        ),
        path=first.path,
    )


def _concatenate(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Put columns one after the other; as text if one of them is text."""
    if any(column.dtype == object for column in columns):
        columns = [column.astype(str).astype(object) for column in columns]
    return np.concatenate(columns)


def _renumber(table: ParticleTable, position: dict[Path, int]) -> np.ndarray:
    """Give the `image_file` of a table as an index in the files of all tables."""
    numbers = np.array([*(position[file] for file in table.image_files), -1], np.int32)
    return numbers[table.image_file]


def _join_optics(
    tables: Sequence[ParticleTable],
) -> tuple[list[np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Join optics groups: the new number of each group of each table, and the joined tables."""
    shared = [
        name
        for name in tables[0].source.optics
        if all(name in table.source.optics for table in tables)
    ]
    compared = [name for name in shared if name != "rlnOpticsGroup"]
    known: dict[str, int] = {}
    rows: list[tuple[ParticleTable, int]] = []
    numbers = []
    for table in tables:
        of_table = []
        for group in range(len(table.optics["pixel_size"])):
            # repr: NaN equals itself, and a group's every value counts
            key = repr(
                [table.optics[name][group] for name in _OPTICS]
                + [table.source.optics[name][group] for name in compared]
            )
            if key not in known:
                known[key] = len(rows)
                rows.append((table, group))
            of_table.append(known[key])
        numbers.append(np.array(of_table))
    optics = {
        name: np.array([table.optics[name][group] for table, group in rows]) for name in _OPTICS
    }
    source = {
        name: _concatenate([table.source.optics[name][group : group + 1] for table, group in rows])
        for name in shared
    }
    if "rlnOpticsGroup" in source:
        source["rlnOpticsGroup"] = np.arange(1, len(rows) + 1)
    if "rlnOpticsGroupName" in source:
        source["rlnOpticsGroupName"] = _distinct(source["rlnOpticsGroupName"])
    return numbers, optics, source


def _distinct(names: np.ndarray) -> np.ndarray:
    """Number names that occur again: `a`, `a_2`, `a_3`."""
    distinct: dict[str, None] = {}
    for name in names:
        count, new = 1, name
        while new in distinct:
            count += 1
            new = f"{name}_{count}"
        distinct[new] = None
    return np.array(list(distinct), object)


def _table_of_images(files: Sequence[Path]) -> ParticleTable:
    """Make the table of stacks of images that no table lists."""
    counts = [read_info(file).shape[0] for file in files]
    number = sum(counts)
    return ParticleTable(
        particles={"optics_group": np.zeros(number, np.int64)},
        optics={name: np.array([np.nan]) for name in _OPTICS},
        image_files=[file.absolute() for file in files],
        image_file=np.repeat(np.arange(len(files), dtype=np.int32), counts),
        image_index=np.concatenate([np.arange(count) for count in counts]),
        source=SourceTables("relion-3.1"),
        path=files[0],
    )
