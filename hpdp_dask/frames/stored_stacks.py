"""Stacks of frames as sources of frames, like files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from hpdp_dask.formats.frames import Detector
from hpdp_dask.formats.stored_frames import PartialDetector, StoredFrames
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.stacks.shards import ImageReader


def is_stack(path: Path) -> bool:
    """Tell whether a path is a Zarr stack, of whatever."""
    return path.is_dir() and (path / "zarr.json").exists()


def read_stack(path: Path) -> StoredFrames:
    """Open a stack of frames as a source.

    Parameters
    ----------
    path : Path

    Returns
    -------
    StoredFrames
        With the variables of frames that are one number each as columns.

    Raises
    ------
    InputError
        There is no stack of frames at the path.
    """
    stack = open_frames(path)
    reader = ImageReader(path)
    detector, mask, wavelength = known_of_stack(stack)
    size = float(stack["pixel_size"]) if "pixel_size" in stack else float("nan")
    return StoredFrames(
        path=path,
        number=reader.number,
        shape=reader.image_shape,
        dtype=reader.dtype,
        unit="adu" if reader.layout.array == "adu" else "photons",
        reader=StackReader(path),
        detector=detector,
        partial=PartialDetector(mask, wavelength, size),
        columns={
            str(name): stack[name].values
            for name in stack.data_vars
            if stack[name].dims == ("frame",)
        },
        modules=int(stack.attrs.get("modules", 1)),
        saturation=float(stack.attrs.get("saturation", "nan")),
    )


@dataclass(frozen=True)
class StackReader:
    """Reads frames of a stack."""

    path: Path

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`."""
        return ImageReader(self.path).read(start, stop)


def known_of_stack(stack: xr.Dataset) -> tuple[Detector | None, np.ndarray | None, float]:
    """Give the detector of a stack, its mask and wavelength, as far as they are known.

    Parameters
    ----------
    stack : xarray.Dataset
        From `open_frames`.
    """
    wavelength = float(stack["wavelength"]) if "wavelength" in stack else float("nan")
    mask = stack["mask"].values if "mask" in stack else None
    places = [stack[name].values for name in ("pixel_x", "pixel_y", "pixel_z") if name in stack]
    if len(places) < 3 or mask is None:
        return None, mask, wavelength
    x, y = stack["beam_center"].values if "beam_center" in stack else (0.0, 0.0)
    size = float(stack["pixel_size"]) if "pixel_size" in stack else float("nan")
    detector = Detector(
        places[0] - x,
        places[1] - y,
        places[2],
        mask,
        wavelength,
        size,
        stack.attrs.get("polarization", "x"),
    )
    return detector, mask, wavelength
