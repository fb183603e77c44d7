"""What all frames of a stream share, and workers that are ready before the first comes."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.stream.batches import Batch
from hpdp_dask.dataflow.stream.folder import StreamFolder, as_block
from hpdp_dask.dataflow.stream.task import Recipe, runners_of
from hpdp_dask.stacks.frames import frame_table, open_frames
from hpdp_dask.stacks.store import make_group, staging

#: Dark frames that a worker gets ready on.
_WARMING = 4


def shared_by_frames(known: xr.Dataset | None, batch: Batch) -> xr.Dataset:
    """Complete what is known of all frames by what the first ones tell: how many pixels there are.

    Parameters
    ----------
    known : xarray.Dataset or None
    batch : Batch

    Returns
    -------
    xarray.Dataset
        With a mask.

    Raises
    ------
    InputError
        The frames cannot be read.
    """
    table = frame_table(None, {}) if known is None else known
    if "mask" in table:
        return table
    block = batch.read()
    shape = next(block[name].shape[1:] for name in ("photons", "adu") if name in block)
    return table.assign(mask=(("y", "x"), np.zeros(shape, np.uint8)))


def share(recipe: Recipe, table: xr.Dataset, geometry: int = 0) -> None:
    """Write down what all frames of a stream share, or those of one of its geometries.

    Raises
    ------
    InputError
        A measure lacks something of the first geometry, which is told before many tasks find it.
    """
    if not geometry:
        for measure in recipe.measures:
            measure.prepare(table)
    with staging(StreamFolder(recipe.folder).shared_of(geometry)) as staged:
        make_group(staged, table, "photons", None)


def warm_up(recipe: Recipe) -> None:
    """Get ready for frames: compile, and prepare what all frames share, before the first comes."""
    shared = open_frames(StreamFolder(recipe.folder).shared)
    given = {name for measure in recipe.measures for name in measure.columns}
    needed = {name for measure in recipe.measures for name in measure.needs} - given
    dark = np.zeros((_WARMING, *shared["mask"].shape), np.uint16)
    block = as_block({name: np.zeros(_WARMING) for name in needed})
    block["photons"] = ("frame", "y", "x"), dark
    for runner in runners_of(recipe):
        # what is wrong shows with the first frames, and dark ones are odd
        with suppress(Exception), np.errstate(all="ignore"):
            block = block.assign(as_block(runner.run(block)).variables)
