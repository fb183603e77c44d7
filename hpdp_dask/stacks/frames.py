"""Stacks of detector frames on disk, opened as an `xarray.Dataset`.

`frames.zarr` is a Zarr v3 group like that of particles. Stages add variables to it: these appear
all together, since what readers go by is the consolidated metadata, a file that is replaced.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from hpdp_dask import __version__
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import Detector
from hpdp_dask.stacks.claim import claimed
from hpdp_dask.stacks.frame_schema import (
    FRAME_IMAGES,
    FRAME_KIND,
    FRAME_VARIABLES,
    GEOMETRY_VARIABLES,
    check_frames,
)
from hpdp_dask.stacks.layout import plan_frames
from hpdp_dask.stacks.store import clear_folder, make_group, open_kind
from hpdp_dask.stacks.tables import write_column


def open_frames(path: str | Path) -> xr.Dataset:
    """Open a stack of frames.

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
        There is no stack at the path, or it is not one of frames.
    """
    stack = open_kind(path, FRAME_KIND)
    check_frames(stack)
    return stack


def unit_of(stack: xr.Dataset) -> str:
    """Give the name of the variable that holds the frames: `photons` or `adu`."""
    return next((name for name in FRAME_IMAGES if name in stack), FRAME_IMAGES[0])


def frame_table(
    detector: Detector | None, columns: Mapping[str, np.ndarray], **attributes: Any
) -> xr.Dataset:
    """Put together all variables of a stack but the frames.

    Parameters
    ----------
    detector : Detector or None
    columns : mapping
        Of each frame, or of `FRAME_VARIABLES` with other dimensions. Names that are not there
        are kept too, as variables of frames; further axes are numbered.
    **attributes
        Of the stack.

    Returns
    -------
    xarray.Dataset
    """
    variables: dict[str, Any] = {}
    given: dict[str, np.ndarray] = {}
    if detector is not None:
        given = {name: getattr(detector, name) for name in ("pixel_x", "pixel_y", "pixel_z")}
        given["mask"] = detector.mask.astype(np.uint8)
        for name in ("wavelength", "pixel_size"):
            if np.isfinite(getattr(detector, name)):
                given[name] = np.asarray(getattr(detector, name), np.float64)
        attributes["polarization"] = detector.polarization
    for name, values in {**given, **columns}.items():
        variables[name] = _variable(name, np.asarray(values))
    return xr.Dataset(variables, attrs={"kind": FRAME_KIND, "history": [], **attributes})


def _variable(
    name: str, values: np.ndarray, dims: Sequence[str] | None = None
) -> tuple[Sequence[str], np.ndarray, dict[str, str]]:
    """Give dimensions, values and attributes of a variable."""
    spec = FRAME_VARIABLES.get(name)
    if spec is None:
        others = (f"{name}_{axis}" for axis in range(1, values.ndim))
        return dims or ("frame", *others), values, {}
    attributes = {"long_name": spec.meaning} | ({"units": spec.unit} if spec.unit else {})
    return spec.dims, values, attributes


def new_frames(
    path: str | Path,
    table: xr.Dataset,
    number: int,
    shape: tuple[int, int],
    dtype: np.dtype | type,
    *,
    unit: str = "photons",
    images_per_shard: int | None = None,
) -> None:
    """Make a stack: all its variables, and an array of frames that is still to be written.

    Parameters
    ----------
    path : str or Path
        Where; inside `stacks.store.staging`, so that nobody sees it before it is complete.
    table : xarray.Dataset
        All variables but the frames, from `frame_table` or `open_frames`.
    number : int
        Frames.
    shape : tuple of int
        Rows and columns.
    dtype : dtype
        Of photons: an unsigned integer; ADU are float32 always.
    unit : {"photons", "adu"}, optional
    images_per_shard : int, optional
        By default as many as make 64 MB in memory.

    Raises
    ------
    ValueError
        The table is not of `number` frames, or the dtype is none of counts.
    """
    if table.sizes.get("frame", number) != number:
        raise ValueError(f"{number} frames and a table of {table.sizes['frame']}")
    layout = plan_frames(number, shape, np.dtype(dtype), unit, images_per_shard)
    layout["attributes"] |= _variable(unit, np.empty(0))[2]
    table = table.drop_vars([name for name in FRAME_IMAGES if name in table])
    make_group(path, table, unit, layout)


def detector_of(stack: xr.Dataset) -> Detector:
    """Give the detector of a stack, its positions counted from the beam.

    Parameters
    ----------
    stack : xarray.Dataset
        From `open_frames`.

    Returns
    -------
    Detector
        `beam_center` is taken off where it is known.

    Raises
    ------
    InputError
        The geometry, the mask or the wavelength is not there.
    """
    check_frames(stack, GEOMETRY_VARIABLES)
    x, y = stack["beam_center"].values if "beam_center" in stack else (0.0, 0.0)
    return Detector(
        pixel_x=stack["pixel_x"].values - x,
        pixel_y=stack["pixel_y"].values - y,
        pixel_z=stack["pixel_z"].values,
        mask=stack["mask"].values,
        wavelength=float(stack["wavelength"]),
        pixel_size=float(stack["pixel_size"]) if "pixel_size" in stack else float("nan"),
        polarization=stack.attrs.get("polarization", "x"),
    )


def add_variables(
    path: str | Path,
    variables: Mapping[str, tuple[Sequence[str], np.ndarray]],
    *,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
) -> None:
    """Add variables to a stack, all together or none.

    Parameters
    ----------
    path : str or Path
        The stack.
    variables : mapping
        Dimensions and values by name. For what all frames share, and small columns; columns of
        what is computed frame by frame are written by workers (`dataflow.columns`).
    overwrite : bool, optional
        Replace variables that are there.
    history : mapping, optional
        What to tell of it: command, parameters, seed.

    Raises
    ------
    InputError
        A variable is there, or another run is adding to the stack.
    ValueError
        A column has not as many rows as there are frames.
    """
    number = open_frames(path).sizes["frame"]
    for name, (dims, values) in variables.items():
        if "frame" in dims and len(values) != number:
            raise ValueError(f"{name} has {len(values)} rows for {number} frames")
    with adding(path, variables, overwrite=overwrite, history=history) as staged:
        group = zarr.create_group(staged, zarr_format=3)
        for name, (dims, values) in variables.items():
            write_column(group, name, *_reordered(_variable(name, np.asarray(values), dims)))


def _reordered(variable: tuple[Sequence[str], np.ndarray, dict[str, str]]) -> Any:
    dims, values, attributes = variable
    return values, dims, attributes


@contextmanager
def adding(
    path: str | Path,
    names: Iterable[str],
    *,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
) -> Iterator[Path]:
    """Give a folder to make variables in, and put them into the stack when all went well.

    Parameters
    ----------
    path : str or Path
        The stack.
    names : iterable of str
        The arrays that will be in the folder.
    overwrite, history
        As for `add_variables`.

    Yields
    ------
    Path
        Empty, within the stack, where no reader looks.

    Raises
    ------
    InputError
        A variable is there, or another run is adding to the stack.
    """
    path, names = Path(path).absolute(), list(names)
    check_absent(path, names, overwrite)
    staged = path / ".adding"
    with claimed(staged, path):
        try:
            clear_folder(staged)
            yield staged
            check_absent(path, names, overwrite)
            _commit(path, staged, names, dict(history or {}))
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def check_absent(path: str | Path, names: Iterable[str], overwrite: bool) -> None:
    """Check that a stack may be given variables: it has none of them, or they may be replaced.

    Raises
    ------
    InputError
        It has some, or there is no such stack.
    """
    found = open_frames(path)
    there = [name for name in names if name in found.variables]
    if there and not overwrite:
        raise InputError(f"{path}: has {', '.join(there)} already; --overwrite replaces it.")


def _commit(path: Path, staged: Path, names: list[str], history: dict[str, Any]) -> None:
    """Move arrays into the group, then tell of them all at once."""
    described = json.loads((path / "zarr.json").read_bytes())
    known = described["consolidated_metadata"]["metadata"]
    for name in names:
        if (path / name).exists():
            os.replace(path / name, staged / f".{name}.replaced")
        os.replace(staged / name, path / name)
        known[name] = json.loads((path / name / "zarr.json").read_bytes())
    described["attributes"]["history"] = [
        *described["attributes"].get("history", []),
        {
            **history,
            "added": names,
            "version": __version__,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    ]
    partial = path / ".zarr.json.partial"
    partial.write_text(json.dumps(described), encoding="utf-8")
    os.replace(partial, path / "zarr.json")
