"""A second pair of eyes before hours of computing: is this what it says it is?

`validate` looks at what users most often get wrong (pixel size, units, contrast, centring, box,
half-sets) and gives advice; it changes nothing. Tables are checked in whole, images on a sample
that is spread evenly over them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpdp_dask.cryoem.particle_files import read_particle_files
from hpdp_dask.cryoem.particle_images import check_images, read_rows
from hpdp_dask.cryoem.validate_images import check_sample
from hpdp_dask.cryoem.validate_table import check_table
from hpdp_dask.errors import InputError
from hpdp_dask.formats.particles import ParticleTable
from hpdp_dask.stacks.findings import Finding
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import open_stack, to_table

__all__ = ["Finding", "validate"]

#: Images that are looked at, if they are not more than these bytes.
SAMPLE = 500
SAMPLE_BYTES = 128 * 2**20


def validate(
    path: str | Path,
    pixel_size: float | None = None,
    image_folder: str | Path | None = None,
) -> list[Finding]:
    """Check a file of particles or a stack for what is wrong or unlikely.

    Parameters
    ----------
    path : path
        `.star`, `.cs`, an mrc file of images, or a stack.
    pixel_size : float, optional
        Å, where the file does not give it.
    image_folder : path, optional
        A further folder to look for the stacks of a star or cs file in.

    Returns
    -------
    list of Finding
        One or more for each check, in their order.

    Raises
    ------
    InputError
        There is no such file, or its table cannot be read.
    """
    path = Path(path)
    return (
        _validate_stack(path) if path.is_dir() else _validate_files(path, pixel_size, image_folder)
    )


def _validate_stack(path: Path) -> list[Finding]:
    stack = open_stack(path)
    table = to_table(stack, with_source=False)
    if "images" not in stack:
        return [*check_table(table, None), Finding("ok", "images", "none in the stack")]
    reader = ImageReader(path)
    found = check_table(table, reader.box)
    layout = reader.layout
    try:
        for shard in range(layout.shards):
            if not layout.shard_file(shard).exists():
                reader.read(*layout.shard_range(shard))
        # whole inner chunks, since only those have checksums
        chunk = layout.images_per_chunk
        starts = _spread(-(-reader.number // chunk), reader.box, chunk) * chunk
        images = np.concatenate(
            [reader.read(start, min(start + chunk, reader.number)) for start in starts.tolist()]
        )
    except InputError as error:
        return [*found, Finding("error", "images", str(error))]
    return [*found, *check_sample(images.astype(np.float32))]


def _validate_files(
    path: Path, pixel_size: float | None, image_folder: str | Path | None
) -> list[Finding]:
    table = read_particle_files([path], pixel_size, image_folder)
    if pixel_size is not None:
        known = table.optics["pixel_size"]
        table.optics["pixel_size"] = np.where(np.isfinite(known), known, pixel_size)
    try:
        box, warnings = check_images(table)
        images = _read_sample(table, box)
    except InputError as error:
        return [*check_table(table, None), Finding("error", "images", str(error))]
    return [
        *check_table(table, box),
        *(Finding("warning", "pixel size", warning) for warning in warnings),
        *check_sample(images),
    ]


def _read_sample(table: ParticleTable, box: int) -> np.ndarray:
    rows = _spread(len(table), box, 1)
    images = read_rows(table.image_files, table.image_file[rows], table.image_index[rows])
    if "contrast_sign" in table.particles:
        images *= table.particles["contrast_sign"][rows, None, None]
    return images


def _spread(number: int, box: int, images: int) -> np.ndarray:
    """Choose some of a number of things of so many images each, spread evenly."""
    most = min(SAMPLE, max(1, SAMPLE_BYTES // (4 * box**2)))
    wanted = min(number, max(1, most // images))
    return np.unique(np.linspace(0, number - 1, wanted).astype(np.int64))
