"""Some of the particles of a stack, as a stack of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.blocks import map_images, read_images, store_images
from hpdp_dask.errors import InputError
from hpdp_dask.formats.particles import SourceTables
from hpdp_dask.stacks.layout import plan, read_layout
from hpdp_dask.stacks.store import new_stack, staging
from hpdp_dask.stacks.tables import read_source

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


def keep_particles(
    stack: xr.Dataset,
    rows: np.ndarray,
    output: Path,
    selected: str,
    *,
    columns: Mapping[str, np.ndarray] | None = None,
    client: Client | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Copy some of the particles of a stack, with all that is known of them.

    Parameters
    ----------
    stack : xarray.Dataset
        As `stacks.store.open_stack` gives it; other variables may have been assigned.
    rows : (m,) ndarray of int
        Which of its particles, in order.
    output : Path
        The new stack.
    selected : str
        What was chosen, for the attribute `selected`; `selected_from` says of which stack.
    columns : mapping of str to (n,) ndarray, optional
        More columns of the source's table of particles, for all particles of the stack.
    client : Client, optional
        Where to run; in this process by default.
    overwrite : bool, optional
    progress : Progress, optional

    Raises
    ------
    InputError
        The output exists or is the stack itself, or the images cannot be read.
    """
    path = Path(stack.attrs["path"])
    if path.resolve().is_relative_to(output.resolve()):
        raise InputError(f"{output}: the output is the input; give the new stack another name.")
    layout = read_layout(path)
    described = (
        stack.drop_vars("images")
        .isel(particle=rows)
        .assign_attrs(
            {
                **{key: value for key, value in stack.attrs.items() if key != "path"},
                "selected": selected,
                "selected_from": str(path),
            }
        )
    )
    precision = layout.precision or "float32"
    per_shard = plan(len(rows), layout.box, precision)["shards"][0]
    images = map_images(
        read_images(path)[rows].rechunk((per_shard, layout.box, layout.box)),
        _as_they_are,
        name="select",
    )
    source = _rows_of(read_source(path), rows, columns or {})
    with staging(output, overwrite) as unfinished:
        new_stack(unfinished, described, len(rows), layout.box, precision, per_shard, source=source)
        store_images(images, unfinished, name="select", client=client, progress=progress)


def _as_they_are(images: np.ndarray) -> np.ndarray:
    return images


def _rows_of(
    source: SourceTables | None, rows: np.ndarray, columns: Mapping[str, np.ndarray]
) -> SourceTables | None:
    """Give the source tables with some of the particles, and more columns."""
    if source is None and not columns:
        return None
    source = source or SourceTables("relion-3.1")
    kept = {name: values[rows] for name, values in {**source.particles, **columns}.items()}
    return replace(source, particles=kept)
