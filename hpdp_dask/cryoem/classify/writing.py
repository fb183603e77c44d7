"""The files of a classification: class averages, their table, and the particles in them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.classify.quality import ClassTable
from hpdp_dask.cryoem.export_particles import export_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats import mrc
from hpdp_dask.formats.particles import SourceTables
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.stacks.conversion import attributes_of
from hpdp_dask.stacks.store import new_stack
from hpdp_dask.stacks.tables import read_source

#: The variables of a stack that a classification finds.
FOUND = ("euler_angles", "shift", "class_number", "class_probability")

#: RELION's column of the probability of the best pose.
_PROBABILITY = "rlnMaxValueProbDistribution"


def write_classes(folder: Path, averages: np.ndarray, table: ClassTable, pixel_size: float) -> None:
    """Write `classes.mrcs` and `classes.csv`, one image and one row a class."""
    mrc.write_stack(folder / "classes.mrcs", averages, pixel_size)
    lines = ["class_number,particles,resolution,score"]
    for number, row in enumerate(
        zip(table.particles, table.resolution, table.score, strict=True), start=1
    ):
        particles, resolution, score = row
        known = f"{resolution:.2f}" if np.isfinite(resolution) else ""
        lines.append(f"{number},{particles},{known},{score:.4f}")
    text = ("\n".join(lines) + "\n").encode()
    with write_whole(folder / "classes.csv", len(text)) as stream:
        stream.write(text)


def read_scores(folder: Path) -> np.ndarray:
    """Read the scores of `classes.csv`, (k,) float64 by class number.

    Raises
    ------
    InputError
        There is no such file, or it is another.
    """
    path = folder / "classes.csv"
    try:
        with path.open(newline="") as file:
            return np.array([float(row["score"]) for row in csv.DictReader(file)])
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); is {folder} a folder that hpdp cryoem "
            "classify2d made?"
        ) from None
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: a row has no score, expected a number from 0 to 1; classify again."
        ) from None


def write_particles_of(
    folder: Path, stack: xr.Dataset, results: dict[str, np.ndarray], order: np.ndarray
) -> None:
    """Write `particles.zarr`, a stack without images, and `particles.star`.

    Parameters
    ----------
    folder : Path
    stack : xarray.Dataset
        That was classified.
    results : dict of arrays
        Of the last pass, one row a particle.
    order : (k,) ndarray of int
        The classes, best first.
    """
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(1, len(order) + 1)
    angles = np.zeros((len(results["psi"]), 3))
    # the grids of angles begin anywhere
    angles[:, 2] = (results["psi"] + 180.0) % 360.0 - 180.0
    found = {
        "euler_angles": (("particle", "angle"), angles),
        "shift": (("particle", "axis"), results["shift"].astype(np.float64)),
        "class_number": ("particle", rank[results["class_number"]]),
        "class_probability": ("particle", results["class_probability"].astype(np.float64)),
    }
    table = stack.drop_vars([name for name in ("images", *FOUND) if name in stack]).assign(
        {name: (dims, values, attributes_of(name)) for name, (dims, values) in found.items()}
    )
    table.attrs["classified_from"] = stack.attrs["path"]
    source = read_source(stack.attrs["path"]) or SourceTables("relion-3.1")
    if source.format.startswith("relion"):
        probability = results["pose_probability"].astype(np.float64)
        source = replace(source, particles={**source.particles, _PROBABILITY: probability})
    path = folder / "particles.zarr"
    new_stack(path, table, len(angles), None, source=source)
    export_particles(path, folder / "particles.star", images=False)
