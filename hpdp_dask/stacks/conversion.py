"""Tables of particles to and from the variables of a stack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from hpdp_dask.formats.particles import ParticleTable, SourceTables
from hpdp_dask.stacks.schema import PARTICLE_KIND, PARTICLE_VARIABLES
from hpdp_dask.stacks.tables import read_source


def to_dataset(table: ParticleTable, seed: int) -> xr.Dataset:
    """Turn a table of particles into the variables of a stack.

    Parameters
    ----------
    table : ParticleTable
        As a format's reader gives it; `contrast_sign` is not kept, since importing applies it.
    seed : int
        For the half-sets, where the file has none: a random half of the particles each.

    Returns
    -------
    xarray.Dataset
        All variables but `images`. The attribute `half_set_source` says where the half-sets
        come from.
    """
    number = len(table)
    columns: dict[str, np.ndarray] = {
        name: values
        for name, values in table.particles.items()
        if name not in ("micrograph", "contrast_sign")
    }
    half_set_source = "file"
    if "half_set" not in columns:
        half_set_source = f"drawn, seed {seed}"
        columns["half_set"] = np.random.default_rng(seed).permutation(number) % 2
    if "micrograph" in table.particles:
        names, index = np.unique(table.particles["micrograph"].astype(object), return_inverse=True)
        columns["micrograph"], columns["micrograph_name"] = index, names
    if table.image_files:
        columns["image_file"], columns["image_index"] = table.image_file, table.image_index
        columns["image_file_name"] = np.array([str(file) for file in table.image_files], object)
    columns.update(table.optics)
    return xr.Dataset(
        {
            name: (spec.dims, _typed(columns[name], spec.kind), attributes_of(name))
            for name, spec in PARTICLE_VARIABLES.items()
            if name in columns
        },
        attrs={
            "kind": PARTICLE_KIND,
            "half_set_source": half_set_source,
            "source_file": str(table.path),
            "imported_pixel_size": [
                None if np.isnan(size) else float(size) for size in table.optics["pixel_size"]
            ],
        },
    )


def to_table(stack: xr.Dataset, with_source: bool = True) -> ParticleTable:
    """Turn the variables of a stack back into a table of particles, the inverse of `to_dataset`.

    Parameters
    ----------
    stack : xarray.Dataset
        From `open_stack`.
    with_source : bool, optional
        Read the source tables too, which writing a file needs and nothing else.

    Returns
    -------
    ParticleTable
        With the half-sets of the stack, and the source tables as they were imported.
    """
    columns = {
        str(name): stack[name].values
        for name in stack.data_vars
        if name in PARTICLE_VARIABLES and name != "images"
    }
    number = stack.sizes["particle"]
    files = columns.pop("image_file_name", np.array([], object))
    file = columns.pop("image_file", np.full(number, -1))
    index = columns.pop("image_index", np.arange(number))
    if "micrograph" in columns:
        names = columns.pop("micrograph_name").astype(object)
        columns["micrograph"] = names[columns["micrograph"]]
    optics = {
        name: columns.pop(name)
        for name, spec in PARTICLE_VARIABLES.items()
        if spec.dims == ("optics",) and name in columns
    }
    return ParticleTable(
        particles=columns,
        optics=optics,
        image_files=[Path(str(name)) for name in files],
        image_file=file.astype(np.int32),
        image_index=index.astype(np.int64),
        source=(read_source(stack.attrs["path"]) if with_source else None)
        or SourceTables(format="relion-3.1"),
        path=Path(stack.attrs["path"]),
    )


def _typed(values: np.ndarray, kind: str) -> np.ndarray:
    """Give real numbers as float64, indices as int32, text as it is."""
    return values if kind == "U" else values.astype(np.float64 if kind == "f" else np.int32)


def attributes_of(name: str) -> dict[str, str]:
    """Give the attributes of a variable: `long_name` and, if it has one, `units`."""
    spec = PARTICLE_VARIABLES[name]
    attributes = {"long_name": spec.meaning}
    if spec.unit:
        attributes["units"] = spec.unit
    return attributes
