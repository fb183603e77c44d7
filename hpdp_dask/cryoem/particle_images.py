"""The images of a table of particles, wherever they lie: checked before, then read by rows."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import MrcInfo, MrcStack, read_info
from hpdp_dask.formats.particles import ParticleTable

#: Relative difference of two pixel sizes that is worth a word.
TOLERANCE = 0.01


def check_images(table: ParticleTable) -> tuple[int, list[str]]:
    """Check that all images of a table are there and fit each other, from the headers alone.

    Boxes must be even: the centre of an odd box is not the same pixel to all programs (RELION
    itself displaces images of odd boxes by one pixel against its own convention).

    Parameters
    ----------
    table : ParticleTable

    Returns
    -------
    box : int
        Pixels along a side, the same for all.
    warnings : list of str
        Stacks whose header gives another pixel size than the table, which counts, and a table
        that was made for images of another box.

    Raises
    ------
    InputError
        A row names no image; a stack is missing, cut short, not square, of odd or of another
        box; an image is outside its stack.
    """
    nameless = np.flatnonzero(table.image_file < 0)
    if nameless.size:
        raise InputError(
            f"{table.path}: row {nameless[0] + 1} names no image; add the column of image names, "
            "or import with --metadata-only."
        )
    used, first_rows = np.unique(table.image_file, return_index=True)
    files = [table.image_files[file] for file in used]
    missing = [file for file in files if not file.is_file()]
    if missing:
        others = f" and {len(missing) - 1} more stacks do" if len(missing) > 1 else " does"
        raise InputError(
            f"{table.path}: {missing[0]}{others} not exist; give the folder that the paths in the "
            "file begin in with --image-folder, or import with --metadata-only."
        )
    with ThreadPoolExecutor(8) as pool:
        headers = list(pool.map(read_info, files))
    box = _common_box(headers)
    numbers = np.zeros(len(table.image_files), np.int64)
    numbers[used] = [header.shape[0] for header in headers]
    outside = np.flatnonzero(table.image_index >= numbers[table.image_file])
    if outside.size:
        row = int(outside[0])
        file = table.image_file[row]
        raise InputError(
            f"{table.path}: row {row + 1} names image {table.image_index[row] + 1} of "
            f"{table.image_files[file]}, which holds {numbers[file]}; is it the stack that the "
            "particles were taken from?"
        )
    sizes = table.optics["pixel_size"][table.particles["optics_group"][first_rows]]
    return box, [*_compare_pixel_sizes(headers, sizes), *_compare_boxes(table, box)]


def _common_box(headers: Sequence[MrcInfo]) -> int:
    """Check that images are square, even and all of one size; give the size."""
    first = headers[0]
    for header in headers:
        _, rows, columns = header.shape
        if rows != columns:
            raise InputError(
                f"{header.path}: images of {columns} x {rows} pixels; particles must be square, "
                "so extract them again in a square box."
            )
        if rows != first.shape[1]:
            raise InputError(
                f"{header.path}: images of {rows} pixels, but those of {first.path} have "
                f"{first.shape[1]}; import stacks of different boxes one by one, or bring them to "
                "one box and pixel size first."
            )
    box = first.shape[1]
    if box % 2:
        raise InputError(
            f"{first.path}: images of {box} pixels, an odd number, whose centre programs do not "
            f"agree on; crop or pad them to {box - 1} or {box + 1} pixels first (in RELION: "
            f"relion_image_handler --new_box {box - 1})."
        )
    return box


def _compare_pixel_sizes(headers: Sequence[MrcInfo], sizes: np.ndarray) -> list[str]:
    """Tell in one sentence which headers give another pixel size than the table."""
    different = [
        f"{header.path} ({header.pixel_size:.4g} Å)"
        for header, size in zip(headers, sizes, strict=True)
        if header.pixel_size and abs(header.pixel_size - size) > TOLERANCE * size
    ]
    if not different:
        return []
    others = f" and {len(different) - 1} more" if len(different) > 1 else ""
    return [
        f"the header of {different[0]}{others} gives another pixel size than the table, which "
        f"counts: {sizes[0]:.4g} Å"
    ]


def _compare_boxes(table: ParticleTable, box: int) -> list[str]:
    """Tell in one sentence if the table is of images of another box, and so of other pixels."""
    source = table.source
    used = np.unique(table.particles["optics_group"])
    told = [
        columns[name][rows]
        for columns, name, rows in (
            (source.optics, "rlnImageSize", used),
            (source.particles, "rlnImageSize", ...),
            (source.particles, "blob/shape", ...),
        )
        if name in columns and columns[name].dtype.kind in "iuf"
    ]
    others = [size for sizes in told for size in np.unique(sizes) if size != box]
    if not others:
        return []
    return [
        f"{table.path}: the table says {others[0]:g} pixels, the stack has {box}: is the pixel "
        "size that of these images?"
    ]


def read_rows(files: Sequence[Path], file: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Read images by rows of a table.

    Parameters
    ----------
    files : sequence of Path
        The stacks.
    file : (n,) ndarray of int
        Which of `files` each row's image is in.
    index : (n,) ndarray of int
        Which image of its stack, from 0.

    Returns
    -------
    (n, y, x) ndarray of float32
        In the order of the rows. Each stack is read once, in its own order; images that lie
        together are read together.

    Raises
    ------
    InputError
        A stack is missing or cut short, or does not hold an image.
    """
    order = np.lexsort((index, file))
    bounds = np.flatnonzero(np.diff(file[order])) + 1
    if not bounds.size and np.array_equal(order, np.arange(len(order))):
        return _read_sorted(files[file[0]], index)
    out: np.ndarray | None = None
    for rows in np.split(order, bounds):
        images = _read_sorted(files[file[rows[0]]], index[rows])
        if out is None:
            out = np.empty((len(order), *images.shape[1:]), np.float32)
        out[rows] = images
    assert out is not None
    return out


def _read_sorted(path: Path, index: np.ndarray) -> np.ndarray:
    """Read images of one stack in its own order: plainly if they lie together."""
    stack = MrcStack(path)
    if np.all(np.diff(index) == 1):
        return stack.read(int(index[0]), int(index[-1]) + 1)
    return stack.take(index)
