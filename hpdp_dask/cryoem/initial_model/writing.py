"""The files of an initial model: maps, and the classes of particles where there are several."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from hpdp_dask.cryoem.export_particles import export_particles
from hpdp_dask.cryoem.initial_model.stage import InitialModel
from hpdp_dask.formats import mrc
from hpdp_dask.stacks.conversion import attributes_of
from hpdp_dask.stacks.store import new_stack
from hpdp_dask.stacks.tables import read_source


def map_names(classes: int) -> list[str]:
    """Name the files of the maps: `map.mrc`, or `class001.mrc`, ... if there are several."""
    if classes == 1:
        return ["map.mrc"]
    return [f"class{number:03d}.mrc" for number in range(1, classes + 1)]


def write_initial_model(folder: Path, stack: xr.Dataset, result: InitialModel) -> None:
    """Write the maps; and, of several classes, `particles.zarr` without images and the star file.

    Parameters
    ----------
    folder : Path
    stack : xarray.Dataset
        That the model is of.
    result : InitialModel
    """
    for name, volume in zip(map_names(len(result.maps)), result.maps, strict=True):
        mrc.write_map(folder / name, volume, result.settings.pixel_size)
    if not result.class_number.size:
        return
    found = {
        "class_number": result.class_number,
        "class_probability": result.class_probability,
    }
    table = stack.drop_vars([name for name in ("images", *found) if name in stack]).assign(
        {name: ("particle", values, attributes_of(name)) for name, values in found.items()}
    )
    path = folder / "particles.zarr"
    new_stack(path, table, len(result.class_number), None, source=read_source(stack.attrs["path"]))
    export_particles(path, folder / "particles.star", images=False)
