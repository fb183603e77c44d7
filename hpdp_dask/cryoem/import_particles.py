"""Importing: star, cs or mrc files become a stack, checked before and whole or not at all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.cryoem.import_shards import (
    DISK_FULL,
    check_shard,
    disk_full,
    forecast_bytes,
    import_shard,
)
from hpdp_dask.cryoem.particle_files import read_particle_files, select
from hpdp_dask.cryoem.particle_images import check_images
from hpdp_dask.dataflow.shard_tasks import run_shards
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_info
from hpdp_dask.formats.particles import ParticleTable
from hpdp_dask.stacks.layout import PRECISIONS
from hpdp_dask.stacks.store import (
    check_output,
    clear_folder,
    new_stack,
    staging,
    to_dataset,
)

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


@dataclass(frozen=True)
class ImportSummary:
    """What an import made.

    Attributes
    ----------
    path : Path
        The stack.
    number : int
        Particles in it.
    box : int or None
        Pixels along a side; None without images.
    pixel_size : list of float
        Å, of each optics group.
    precision : str
        How the images are kept.
    half_sets_drawn : bool
        The files have no half-sets, so they were drawn at random.
    dropped : list of str
        Images left out because they hold NaN, infinity or one value only, as `number@stack`.
    warnings : list of str
        What a person should look at.
    seconds : float
    """

    path: Path
    number: int
    box: int | None
    pixel_size: list[float]
    precision: str
    half_sets_drawn: bool
    dropped: list[str]
    warnings: list[str]
    seconds: float


def import_particles(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    client: Client | None = None,
    precision: str = "float32",
    pixel_size: float | None = None,
    amplitude_contrast: float | None = None,
    voltage: float | None = None,
    spherical_aberration: float | None = None,
    image_folder: str | Path | None = None,
    invert_contrast: bool = False,
    drop_bad: bool = False,
    metadata_only: bool = False,
    seed: int = 0,
    overwrite: bool = False,
    images_per_shard: int | None = None,
    progress: Progress | None = None,
) -> ImportSummary:
    """Make a stack of particle files.

    Everything that headers tell is checked before the first image is read. Then one task a
    shard gathers its images, some 16 MB at a time, so that memory depends neither on the number
    of particles nor on how they are spread over files.

    Parameters
    ----------
    inputs : sequence of path
        Star files, a `.cs` file and its passthrough files, or stacks of images.
    output : path
        The stack.
    client : distributed.Client, optional
        Where the tasks run; by default here, one after the other.
    precision : {"float32", "float16", "rounded"}, optional
        How images are kept (`hpdp_dask.stacks.layout.PRECISIONS`).
    pixel_size, amplitude_contrast, voltage, spherical_aberration : float, optional
        Å, fraction, kV, mm: used where the files do not say.
    image_folder : path, optional
        Where to look for the stacks, after the folders of the files and those above.
    invert_contrast : bool, optional
        Multiply the images by -1, for files of dark particles that do not say so (`blob/sign`
        of cryoSPARC does, and is always applied).
    drop_bad : bool, optional
        Leave images that hold NaN, infinity or one value only out, and list them.
    metadata_only : bool, optional
        Import poses, CTF and the rest without images.
    seed : int, optional
        For the half-sets, where the files have none.
    overwrite : bool, optional
        Replace a stack that is there.
    images_per_shard : int, optional
        By default as many as make 64 MB.
    progress : Progress, optional
        Told of images as they are written.

    Returns
    -------
    ImportSummary

    Raises
    ------
    InputError
        What is wrong with the files, the options or the disk; nothing is left then.
    """
    began = time.perf_counter()
    output = Path(output)
    check_output(output, overwrite)
    if precision not in PRECISIONS:
        raise InputError(
            f"the precision {precision!r} is not known; choose one of {', '.join(PRECISIONS)}."
        )
    table = read_particle_files(inputs, pixel_size, image_folder)
    warnings = _fill_optics(
        table,
        {
            "voltage": voltage,
            "spherical_aberration": spherical_aberration,
            "amplitude_contrast": amplitude_contrast,
            "pixel_size": pixel_size,
        },
    )
    box = None
    if not metadata_only:
        _check_pixel_size(table)
        box, more = check_images(table)
        warnings += more
    needed = forecast_bytes(len(table), box, precision)
    folder = next(folder for folder in output.absolute().parents if folder.exists())
    if needed > shutil.disk_usage(folder).free:
        raise disk_full(folder, needed)
    dropped: list[str] = []
    try:
        with staging(output, overwrite) as stack:
            lay_out = partial(
                _lay_out,
                stack,
                box=box,
                precision=precision,
                images_per_shard=images_per_shard,
                seed=seed,
            )
            run = partial(run_shards, client=client, progress=progress)
            signs = _signs(table, invert_contrast)
            lay_out(table, signs, dropped)
            if drop_bad and box is not None:
                bad = np.concatenate(run(check_shard, stack, "check", signs))
                if bad.size:
                    dropped = _name_images(table, bad)
                    table = _leave_out(table, bad)
                    signs = _signs(table, invert_contrast)
                    clear_folder(stack)
                    lay_out(table, signs, dropped)
            if box is not None:
                bad = np.concatenate(run(import_shard, stack, "import", signs))
                if bad.size:
                    names = _name_images(table, bad)
                    raise InputError(
                        f"{table.path}: {len(names)} of {len(table)} images hold NaN, infinity or "
                        f"one value only: {', '.join(names[:3])}"
                        f"{', ...' if len(names) > 3 else ''}; leave them out with --drop-bad."
                    )
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise disk_full(folder, needed) from error
    return ImportSummary(
        path=output,
        number=len(table),
        box=box,
        pixel_size=[float(size) for size in table.optics["pixel_size"]],
        precision=precision,
        half_sets_drawn="half_set" not in table.particles,
        dropped=dropped,
        warnings=warnings,
        seconds=time.perf_counter() - began,
    )


def _fill_optics(table: ParticleTable, given: dict[str, float | None]) -> list[str]:
    """Fill in what the files do not say of the optics; tell what is given but not needed."""
    warnings = []
    for name, value in given.items():
        if value is None:
            continue
        option = f"--{name.replace('_', '-')}"
        positive = name in ("pixel_size", "voltage")
        if not (np.isfinite(value) and (value > 0 if positive else value >= 0)):
            raise InputError(f"{option} is {value:g}, expected a positive number.")
        known = table.optics[name]
        if np.isfinite(known).any() and not np.allclose(known[np.isfinite(known)], value):
            warnings.append(
                f"{option} {value:g} is not used where {table.path} gives {name} itself "
                f"({', '.join(f'{v:g}' for v in np.unique(known[np.isfinite(known)]))})"
            )
        table.optics[name] = np.where(np.isfinite(known), known, value)
    return warnings


def _check_pixel_size(table: ParticleTable) -> None:
    sizes = table.optics["pixel_size"]
    wrong = np.flatnonzero(np.isfinite(sizes) & (sizes <= 0))
    if wrong.size:
        raise InputError(
            f"{table.path}: the pixel size of optics group {wrong[0] + 1} is {sizes[wrong[0]]:g}, "
            "expected a positive number of Å; mend the file."
        )
    if np.isfinite(sizes).all():
        return
    hint = ""
    if table.image_files and table.image_files[0].is_file():
        in_header = read_info(table.image_files[0]).pixel_size
        if in_header:
            hint = f" (the header of {table.image_files[0]} says {in_header:.6g}; is that right?)"
    raise InputError(f"{table.path}: gives no pixel size; give --pixel-size in Å{hint}.")


def _signs(table: ParticleTable, invert_contrast: bool) -> np.ndarray:
    """Give what each image is multiplied by, 1 or -1, as int8."""
    signs = table.particles.get("contrast_sign", np.ones(len(table), np.int8))
    return np.where((signs < 0) != invert_contrast, -1, 1).astype(np.int8)


def _lay_out(
    stack: Path,
    table: ParticleTable,
    signs: np.ndarray,
    dropped: list[str],
    *,
    box: int | None,
    precision: str,
    images_per_shard: int | None,
    seed: int,
) -> None:
    """Make the stack but for its images."""
    dataset = to_dataset(table, seed)
    if box is not None:
        dataset.attrs["contrast_inverted"] = int((signs < 0).any())
        dataset.attrs["dropped"] = dropped
    new_stack(stack, dataset, len(table), box, precision, images_per_shard, source=table.source)


def _name_images(table: ParticleTable, rows: np.ndarray) -> list[str]:
    return [
        f"{table.image_index[row] + 1:06d}@{table.image_files[table.image_file[row]]}"
        for row in rows
    ]


def _leave_out(table: ParticleTable, rows: np.ndarray) -> ParticleTable:
    keep = np.ones(len(table), bool)
    keep[rows] = False
    if not keep.any():
        raise InputError(f"{table.path}: all of its images hold NaN, infinity or one value only.")
    return select(table, keep)
