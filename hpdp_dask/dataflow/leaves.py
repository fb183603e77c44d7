"""Leaves of a reduction: groups of whole shards that one task folds into one accumulator."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from hpdp_dask.dataflow.kept import newest
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.stacks.layout import Layout
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import open_stack

#: Images are read and folded in blocks of at most this size as float32, or of one inner chunk.
BLOCK_BYTES = 64 * 2**20

#: Even leaves come in multiples of so many, that workers are done at the same time.
FEWEST_LEAVES = 8

#: Which stack and which reduction the leaves in a folder belong to.
_OWNER_FILE = "leaves.json"


class Leaf(NamedTuple):
    """The images of a leaf, or of a sum of leaves: the first, and the one after the last."""

    start: int
    stop: int

    @property
    def file_name(self) -> str:
        """Give the name of the file that keeps its accumulator."""
        return f"leaf-{self.start:09d}-{self.stop - 1:09d}.npy"

    @classmethod
    def of_file(cls, file: str | Path) -> Leaf:
        """Read which images an accumulator is of off the name of its file."""
        _, first, last = Path(file).stem.split("-")
        return cls(int(first), int(last) + 1)


def is_kept(span: Leaf, folder: Path, suffix: str = ".npy") -> bool:
    """Tell whether a folder holds the accumulator of some images, or a sum that they are in."""
    kept = map(Leaf.of_file, folder.glob(f"leaf-*{suffix}"))
    return any(leaf.start <= span.start and span.stop <= leaf.stop for leaf in kept)


def group_shards(number: int, images_per_shard: int, images_per_leaf: int) -> list[Leaf]:
    """Group shards that follow each other into leaves of at least so many images.

    Parameters
    ----------
    number : int
        Images in the stack.
    images_per_shard, images_per_leaf : int

    Returns
    -------
    list of Leaf
        In order; the last may have fewer images. They depend on nothing else, so that sums do
        not depend on the workers.
    """
    step = -(-images_per_leaf // images_per_shard) * images_per_shard
    return [Leaf(start, min(start + step, number)) for start in range(0, number, step)]


def block_length(reader: ImageReader) -> int:
    """Give how many images are folded at a time: whole inner chunks that make a block."""
    chunk = reader.layout.images_per_chunk
    rows, columns = reader.image_shape
    # small integers become real numbers, in work that takes no more memory for it
    blocks = max(1, BLOCK_BYTES // (chunk * rows * columns * 4))
    return min(reader.images_per_shard, blocks * chunk)


def even_leaves(number: int, images_per_chunk: int, images_per_leaf: int) -> list[Leaf]:
    """Cut a stack into leaves of nearly equal length, wherever its shards end.

    For work that takes much longer than reading, and is shared fairly only if there are several
    leaves for each worker.

    Parameters
    ----------
    number : int
        Images in the stack.
    images_per_chunk : int
        Leaves begin with an inner chunk.
    images_per_leaf : int
        About how many; fewer if there are few images.

    Returns
    -------
    list of Leaf
        A multiple of `FEWEST_LEAVES`, unless that makes leaves shorter than an inner chunk.
    """
    wanted = -(-number // max(1, images_per_leaf))
    leaves = -(-wanted // FEWEST_LEAVES) * FEWEST_LEAVES
    step = -(-number // leaves)
    step = -(-step // images_per_chunk) * images_per_chunk
    return [Leaf(start, min(start + step, number)) for start in range(0, number, step)]


def read_blocks(
    path: Path,
    leaf: Leaf,
    names: Collection[str] | None = None,
    *,
    images: bool = True,
    reuse: bool = False,
) -> Iterator[xr.Dataset]:
    """Read the images of a leaf block by block, with what the stack knows of them.

    Parameters
    ----------
    path : Path
        The stack.
    leaf : Leaf
    names : collection of str, optional
        Only these variables.
    images : bool, optional
        Read the images too.
    reuse : bool, optional
        The images of each block take the memory of those of the one before.

    Yields
    ------
    xarray.Dataset
        In memory: the images as stored, all variables of these particles and of the optics
        groups, or of these frames and their mask, the stack's attributes, and the attribute
        `first_image`, the position of the block's first image in the stack. No block goes beyond
        a shard.

    Raises
    ------
    InputError
        A shard is missing or damaged.
    """
    reader = ImageReader(path)
    layout = reader.layout
    table = _rows(_table(layout, names), layout, slice(leaf.start, leaf.stop)).load()
    memory: np.ndarray | None = None
    if images and reuse:
        memory = np.empty((block_length(reader), *reader.image_shape), reader.dtype)
    for shard in range(leaf.start, leaf.stop, reader.images_per_shard):
        end = min(shard + reader.images_per_shard, leaf.stop)
        for first in range(shard, end, block_length(reader)):
            last = min(first + block_length(reader), end)
            block = _rows(table, layout, slice(first - leaf.start, last - leaf.start))
            if images:
                out = None if memory is None else memory[: last - first]
                block[layout.array] = (layout.dimension, "y", "x"), reader.read(first, last, out)
            yield block.assign_attrs(first_image=first)


def images_in(block: xr.Dataset) -> int:
    """Give how many images a block has, of particles or of frames."""
    return block.sizes["particle" if "particle" in block.sizes else "frame"]


def read_rows(path: Path, rows: np.ndarray) -> xr.Dataset:
    """Read some images with what the stack knows of them.

    Parameters
    ----------
    path : Path
        The stack.
    rows : (n,) ndarray of int
        Places in the stack, in order.

    Returns
    -------
    xarray.Dataset
        As `read_blocks` gives blocks, but without `first_image`.

    Raises
    ------
    InputError
        A shard is missing or damaged.
    """
    reader = ImageReader(path)
    first, last = int(rows[0]), int(rows[-1]) + 1
    together = len(rows) == last - first
    within = slice(first, last) if together else rows
    layout = reader.layout
    block = _rows(_table(layout, None), layout, within).load()
    images = reader.read(first, last) if together else reader.take(rows)
    block[layout.array] = (layout.dimension, "y", "x"), images
    return block


def _table(layout: Layout, names: Collection[str] | None) -> xr.Dataset:
    """Give what a stack knows of its particles and optics groups, or frames, lazily."""
    stack = opened(layout.path, layout.array)
    if names is None:
        names = {
            "mask",
            *(
                str(name)
                for name, variable in stack.variables.items()
                if {layout.dimension, "optics"} & set(variable.dims)
            ),
        }
    return stack[[name for name in stack.variables if name in names and name != layout.array]]


def opened(path: Path, array: str) -> xr.Dataset:
    """Open a stack, or give it as it was opened by this process if it has not changed since.

    Parameters
    ----------
    path : Path
    array : str
        That holds its images: `images` of particles, else frames.
    """
    make = open_stack if array == "images" else open_frames
    return newest("stack", (path, state_of(path)), partial(make, path))


def state_of(path: Path) -> int:
    """Give a number that changes when variables of a stack do.

    Raises
    ------
    InputError
        There is no such stack any more.
    """
    try:
        return (path / "zarr.json").stat().st_mtime_ns
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; is the stack still there?") from error


def _rows(table: xr.Dataset, layout: Layout, rows: slice | np.ndarray) -> xr.Dataset:
    """Give some rows of a table, which may have no variable of that dimension."""
    return table.isel({layout.dimension: rows}) if layout.dimension in table.dims else table


def own_folder(folder: Path, path: Path, reduction: Any) -> None:
    """Make a folder for durable leaves, or see that the leaves in it are of the same work.

    Parameters
    ----------
    folder : Path
    path : Path
        The stack; its files count with size and time of change.
    reduction : Reduction
        Counts by Dask's token, which goes by the values of its attributes.

    Raises
    ------
    InputError
        There are leaves of another stack or reduction in the folder.
    """
    owner = {
        "stack": _digest_stack(path),
        "reduction": tokenize(reduction, ensure_deterministic=True),
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _OWNER_FILE
    if file.exists() or any(folder.glob("leaf-*.npy")):
        found = json.loads(file.read_bytes()) if file.exists() else {}
        for name, value in owner.items():
            if found.get(name) != value:
                raise InputError(
                    f"{folder}: holds partial sums of another {name} than that of {path}; remove "
                    "the folder, or begin anew instead of resuming."
                )
    _replace(file, lambda target: target.write_text(json.dumps(owner)))


def save_leaf(file: Path, accumulator: Any) -> None:
    """Write an accumulator, whole or not at all.

    Parameters
    ----------
    file : Path
    accumulator : ndarray

    Raises
    ------
    TypeError
        The accumulator is not one array of plain numbers.
    """
    if not isinstance(accumulator, np.ndarray) or accumulator.dtype.hasobject:
        raise TypeError(f"durable leaves are single arrays of numbers, not {type(accumulator)}")

    def save(target: Path) -> None:
        with target.open("wb") as stream:
            np.save(stream, accumulator, allow_pickle=False)

    _replace(file, save)


def load_leaf(file: str) -> np.ndarray:
    """Map an accumulator from disk, to read only."""
    found: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    return found


def _replace(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a name of its own, then give it its name."""
    partial = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        write(partial)
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def _digest_stack(path: Path) -> str:
    """Digest the names, sizes and times of change of all files of a stack."""
    digest = hashlib.sha256(str(path).encode())
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            entry = Path(folder, name)
            state = entry.stat()
            digest.update(f"\n{entry}\0{state.st_size}\0{state.st_mtime_ns}".encode())
    return digest.hexdigest()
