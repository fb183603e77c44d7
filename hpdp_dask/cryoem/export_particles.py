"""Exporting: a stack becomes a star or cs file, with its images in an mrcs file beside it."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hpdp_dask.errors import InputError
from hpdp_dask.formats import cryosparc, star
from hpdp_dask.formats.mrc import MrcStackWriter
from hpdp_dask.formats.particles import ParticleTable
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import open_stack, to_table

if TYPE_CHECKING:
    from hpdp_dask.dataflow.progress import Progress

#: What is in memory of the images at a time.
BLOCK_BYTES = 16 * 2**20

_WRITERS = {".star": star.write_particles, ".cs": cryosparc.write_particles}


@dataclass(frozen=True)
class ExportSummary:
    """What an export wrote.

    Attributes
    ----------
    path : Path
        The star or cs file.
    image_path : Path or None
        The stack of images beside it; None for metadata alone.
    number : int
        Particles.
    warnings : list of str
        What a person should look at.
    seconds : float
    """

    path: Path
    image_path: Path | None
    number: int
    warnings: list[str]
    seconds: float


def export_particles(
    stack_path: str | Path,
    output: str | Path,
    *,
    images: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportSummary:
    """Write a stack as RELION or cryoSPARC have it.

    Parameters
    ----------
    stack_path : path
        The stack.
    output : path
        `.star` or `.cs`. With images, an `.mrcs` of the same name is written beside it.
    images : bool, optional
        Write the images of the stack, normalised or rescaled as they may be. Else only the
        metadata are written; they name the files that were imported, at the pixel size of those.
    overwrite : bool, optional
        Replace files that are there.
    progress : Progress, optional
        Told of images as they are written.

    Returns
    -------
    ExportSummary

    Raises
    ------
    InputError
        There is no such stack, it has no images, the output exists or is of another kind, or
        the disk is full; nothing is left then.
    """
    began = time.perf_counter()
    output = Path(output).absolute()
    if output.suffix not in _WRITERS:
        raise InputError(f"{output}: the name must end in .star or .cs, which tells the format.")
    stack = open_stack(stack_path)
    image_path = output.with_suffix(".mrcs") if images else None
    for path in (output, image_path):
        if path is not None and path.exists() and not overwrite:
            raise InputError(f"{path} exists; give another name, or --overwrite to replace it.")
    if not output.parent.is_dir():
        raise InputError(f"{output.parent}: no such folder; make it first.")
    table = to_table(stack)
    warnings: list[str] = []
    if image_path is None:
        warnings = _point_to_imported_files(stack, table)
        _WRITERS[output.suffix](output, table)
    elif "images" not in stack:
        raise InputError(
            f"{stack_path}: the stack has no images; export it with --no-images, which names the "
            "files that it was imported from."
        )
    else:
        _write_with_images(stack, table, output, image_path, progress)
    return ExportSummary(output, image_path, len(table), warnings, time.perf_counter() - began)


def _point_to_imported_files(stack: xr.Dataset, table: ParticleTable) -> list[str]:
    """Make a table fit the files that were imported; tell what may surprise."""
    imported = stack.attrs.get("imported_pixel_size")
    if imported is not None:
        table.optics["pixel_size"] = np.array(imported, np.float64)
    if stack.attrs.get("contrast_inverted") and table.source.format != "cryosparc":
        return [
            "the images of the stack are inverted against the files that the table names; export "
            "with images where white particles are needed"
        ]
    return []


def _write_with_images(
    stack: xr.Dataset,
    table: ParticleTable,
    output: Path,
    image_path: Path,
    progress: Progress | None,
) -> None:
    """Write images and table in a folder of their own, then move both into place."""
    reader = ImageReader(stack.attrs["path"])
    folder = output.with_name(f".{output.name}.partial-{os.getpid()}")
    try:
        folder.mkdir()
    except OSError as error:
        raise InputError(
            f"{output}: cannot be made in {output.parent} ({error.strerror}); "
            "choose a place where you may write."
        ) from error
    try:
        staged = folder / image_path.name
        shape = (reader.number, reader.box, reader.box)
        dtype = np.float16 if reader.dtype == np.float16 else np.float32
        pixel_size = float(table.optics["pixel_size"][table.particles["optics_group"][0]])
        step = max(1, BLOCK_BYTES // (4 * reader.box**2))
        stage = progress.track("export", reader.number) if progress else None
        with MrcStackWriter(staged, shape, pixel_size, dtype) as writer:
            for start in range(0, reader.number, step):
                stop = min(start + step, reader.number)
                writer.write(reader.read(start, stop))
                if stage is not None:
                    stage.advance(stop - start)
        table = replace(
            table,
            image_files=[staged],
            image_file=np.zeros(reader.number, np.int32),
            image_index=np.arange(reader.number),
            source=replace(
                table.source,
                particles=_of_new_images(table.source.particles, reader.box),
                optics=_of_new_images(table.source.optics, reader.box),
            ),
        )
        _WRITERS[output.suffix](folder / output.name, table)
        os.replace(staged, image_path)
        os.replace(folder / output.name, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _of_new_images(columns: dict[str, np.ndarray], box: int) -> dict[str, np.ndarray]:
    """Let the columns of a file that describe its images describe those that are written."""
    described = {"rlnImageSize": box, "blob/shape": box, "blob/sign": 1}
    return {
        name: np.full_like(values, described[name]) if name in described else values
        for name, values in columns.items()
    }
