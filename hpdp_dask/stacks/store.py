"""Particle stacks on disk: made whole or not at all, opened as an `xarray.Dataset`.

`particles.zarr` is a Zarr v3 group. Its arrays are the variables of
`hpdp_dask.stacks.schema`; the group `source` holds the tables of the file that was imported,
so that it can be written again. The metadata are consolidated, which xarray expects.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from hpdp_dask.errors import InputError
from hpdp_dask.formats.particles import SourceTables
from hpdp_dask.stacks.claim import claimed
from hpdp_dask.stacks.conversion import attributes_of, to_dataset, to_table
from hpdp_dask.stacks.layout import plan, read_layout
from hpdp_dask.stacks.schema import PARTICLE_KIND, check_particles
from hpdp_dask.stacks.shard_writer import write_shard
from hpdp_dask.stacks.tables import read_source, write_column, write_source

__all__ = [
    "check_output",
    "clear_folder",
    "new_stack",
    "open_kind",
    "open_stack",
    "staging",
    "to_dataset",
    "to_table",
    "write_images",
]


def open_stack(path: str | Path) -> xr.Dataset:
    """Open a particle stack.

    Parameters
    ----------
    path : str or Path
        The stack.

    Returns
    -------
    xarray.Dataset
        Lazy: a variable is read when its values are asked for. `attrs["path"]` is the absolute
        path.

    Raises
    ------
    InputError
        There is no stack at the path, or it is not one of particles.
    """
    stack = open_kind(path, PARTICLE_KIND)
    check_particles(stack)
    return stack


def open_kind(path: str | Path, kind: str) -> xr.Dataset:
    """Open a stack of particles or of frames, without a look at its variables.

    Parameters
    ----------
    path : str or Path
    kind : str
        What its attribute `kind` must say.

    Returns
    -------
    xarray.Dataset
        Lazy; `attrs["path"]` is the absolute path.

    Raises
    ------
    InputError
        There is no such stack at the path.
    """
    path = Path(path).absolute()
    if not path.exists():
        raise InputError(f"{path}: no such stack.")
    if path.is_file():
        raise InputError(f"{path}: a file, expected a Zarr stack; make one with hpdp import.")
    try:
        described = json.loads((path / "zarr.json").read_bytes())
    except FileNotFoundError:
        within = sorted(path.glob("*/zarr.json"))[:1]
        meant = f"is {within[0].parent} meant?" if within else "make one with hpdp import."
        raise InputError(f"{path}: a folder, but not a Zarr stack of {kind}; {meant}") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a Zarr stack of {kind} ({error}); make one with hpdp import."
        ) from error
    found = described.get("attributes", {}).get("kind")
    if found != kind:
        what = f"a stack of {found}" if found else "a Zarr group"
        raise InputError(f"{path}: {what}, but not a stack of {kind}; make one with hpdp import.")
    consolidated = described.get("consolidated_metadata") is not None
    stack = xr.open_dataset(
        path, engine="zarr", chunks=None, cache=False, consolidated=consolidated
    )
    stack.attrs["path"] = str(path)
    return stack


def new_stack(
    path: str | Path,
    table: xr.Dataset,
    number: int,
    box: int | None,
    precision: str = "float32",
    images_per_shard: int | None = None,
    *,
    source: SourceTables | None = None,
) -> None:
    """Make a stack: all its variables, and an array of images that is still to be written.

    Parameters
    ----------
    path : str or Path
        Where; inside `staging`, so that nobody sees it before it is complete.
    table : xarray.Dataset
        All variables but `images`, from `to_dataset` or from `open_stack`.
    number : int
        Particles.
    box : int or None
        Pixels along a side of an image; None makes a stack without images.
    precision : {"float32", "float16", "rounded"}, optional
        How images are kept.
    images_per_shard : int, optional
        By default as many as make 64 MB (`hpdp_dask.stacks.layout.plan`).
    source : SourceTables, optional
        The tables of the imported file. By default those of the stack that `table` was opened
        from.

    Raises
    ------
    InputError
        The precision is not known.
    ValueError
        The tables are not of `number` particles.
    """
    if source is None and "path" in table.attrs:
        source = read_source(table.attrs["path"])
    rows = {len(column) for column in source.particles.values()} if source else set()
    if table.sizes["particle"] != number or rows - {number}:
        raise ValueError(
            f"{number} particles, a table of {table.sizes['particle']} and source rows of {rows}"
        )
    layout = None if box is None else plan(number, box, precision, images_per_shard)
    if layout is not None:
        layout["attributes"] |= attributes_of("images")
    make_group(path, table, "images", layout, source)


def make_group(
    path: str | Path,
    table: xr.Dataset,
    array: str,
    layout: dict[str, Any] | None,
    source: SourceTables | None = None,
) -> None:
    """Make the Zarr group of a stack: its variables, and an array of images without images.

    Parameters
    ----------
    path : str or Path
    table : xarray.Dataset
        All variables; that of the images is left out.
    array : str
        Name of the array of images.
    layout : dict or None
        From `layout.plan` or `layout.plan_frames`; None makes no such array.
    source : SourceTables, optional
        The tables of the imported file.
    """
    root = zarr.create_group(
        path,
        zarr_format=3,
        attributes={key: value for key, value in table.attrs.items() if key != "path"},
    )
    for name, variable in table.variables.items():
        if name != array:
            values = variable.values
            write_column(
                root, str(name), values, [str(dim) for dim in variable.dims], variable.attrs
            )
    if source is not None:
        write_source(root, source)
    if layout is not None:
        root.create_array(array, **layout)
        (Path(path) / array / "c").mkdir()
    with warnings.catch_warnings():
        # zarr warns that consolidated metadata are not in the specification yet; xarray warns
        # where they are absent.
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(path)


def write_images(path: str | Path, start: int, block: np.ndarray) -> None:
    """Write whole shards of images.

    Parameters
    ----------
    path : str or Path
        The stack.
    start : int
        Where the block begins, a multiple of the images of a shard.
    block : (n, box, box) ndarray
        Whole shards; only the last of the stack may be shorter.

    Raises
    ------
    ValueError
        The block does not fall on shards; parallel writes off them would lose images.
    InputError
        The images do not fit the precision of the stack.
    """
    layout = read_layout(path)
    stop = start + len(block)
    if start % layout.images_per_shard or not (
        stop == layout.number or (stop < layout.number and stop % layout.images_per_shard == 0)
    ):
        raise ValueError(
            f"images {start}:{stop} are not whole shards of {layout.images_per_shard} images "
            f"in a stack of {layout.number}"
        )
    for first in range(start, stop, layout.images_per_shard):
        part = block[first - start : first - start + layout.images_per_shard]
        write_shard(path, first // layout.images_per_shard, [part])


def check_output(path: Path, overwrite: bool) -> None:
    """Check that a stack may be put at a path: nothing is there, or a stack to overwrite.

    Raises
    ------
    InputError
        Something is there that may not be overwritten.
    """
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; give another name, or --overwrite to replace it.")
    if path.exists() and not (path / "zarr.json").is_file():
        raise InputError(
            f"{path} is not a Zarr stack, so it is not overwritten; give another name."
        )


@contextmanager
def staging(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder to build a stack in, and put it in place when all went well.

    Parameters
    ----------
    path : str or Path
        Where the stack is to be. Folders above it are made.
    overwrite : bool, optional
        Replace a stack that is there.

    Yields
    ------
    Path
        `.{name}.partial` beside the target, empty and held by a lock, so that no two runs write
        it. On an error it is removed; what a killed run left in it is cleared.

    Raises
    ------
    InputError
        The path exists and may not be overwritten, another run is writing it, or the folder
        cannot be made.
    """
    path = Path(path).absolute()
    check_output(path, overwrite)
    partial = path.with_name(f".{path.name}.partial")
    old = path.with_name(f".{path.name}.replaced")
    with claimed(partial, path):
        try:
            clear_folder(partial)
            yield partial
            # a stack may have come while this one was written
            check_output(path, overwrite)
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)
                os.replace(path, old)
            os.replace(partial, path)
        except BaseException:
            _remove(partial)
            if old.exists() and not path.exists():
                os.replace(old, path)
            raise
    shutil.rmtree(old, ignore_errors=True)


def clear_folder(folder: Path) -> None:
    """Remove what is in a folder but not the folder itself, which a lock may be held on."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _remove(folder: Path) -> None:
    """Remove a folder into which cancelled tasks may still write for a moment."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
