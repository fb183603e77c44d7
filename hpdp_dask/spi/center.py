"""Where the beam meets the detector, told from the sum of the frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.beam_center import Center, friedel_center, ring_center
from hpdp_dask.numerics.sphere_center import sphere_center
from hpdp_dask.spi.frame_sums import FrameSum, chosen_frames
from hpdp_dask.spi.hit_measures import good_pixels
from hpdp_dask.stacks.frame_schema import check_frames
from hpdp_dask.stacks.frames import add_variables, open_frames

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: The sum is made in so many parts; leaving out one after the other tells the error.
PARTS = 8


@dataclass(frozen=True)
class CenterFound:
    """What was found.

    Attributes
    ----------
    x, y : float
        As the pixels are given, m.
    error : tuple of float
        Standard deviations of both, m; NaN of fewer than two frames.
    pixel_size : float
        m.
    place : tuple of float or None
        Column and row on a detector whose pixels lie on one regular grid.
    score : float
        See `hpdp_dask.numerics.beam_center.Center`.
    diameter : float
        Å, of the sphere; NaN of other methods.
    frames : int
        That it was told from.
    hits : bool
        Whether these are the hits.
    """

    x: float
    y: float
    error: tuple[float, float]
    pixel_size: float
    place: tuple[float, float] | None
    score: float
    diameter: float
    frames: int
    hits: bool


def find_center(
    stack_path: str | Path,
    method: Literal["rings", "friedel", "sphere"] = "rings",
    *,
    client: Client | None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> CenterFound:
    """Find the beam centre from the sum of the hits, or of all frames, and add it to the stack.

    Adds `beam_center` and `beam_center_error`. The background is taken off the sum where it is
    known.

    Parameters
    ----------
    stack_path : str or Path
    method : {"rings", "friedel", "sphere"}, optional
        *rings*: about which the sum is roundest. *friedel*: about which it looks most like its
        inverse, for few frames that are not round. *sphere*: the pattern of a sphere that fits it
        best, for particles of one size.
    client : distributed.Client or None
        Where the work runs; None for this process.
    overwrite : bool, optional
        Replace a centre that is there.
    history : mapping, optional
        Kept with the stack.
    progress : Progress, optional

    Returns
    -------
    CenterFound

    Raises
    ------
    InputError
        The geometry is not known, there are no hits, no centre can be told, or one is there.
    """
    stack = open_frames(stack_path)
    path = stack.attrs["path"]
    needed = ("photons", "pixel_x", "pixel_y", "mask")
    check_frames(stack, (*needed, "pixel_z", "wavelength") if method == "sphere" else needed)
    if "beam_center" in stack and not overwrite:
        raise InputError(f"{path}: has beam_center already; --overwrite replaces it.")
    column = "hit" if "hit" in stack else None
    chosen = chosen_frames(stack, column, 1)
    if not chosen.any():
        raise InputError(
            f"{path}: none of its frames is a hit, so there is no centre to find; find hits with "
            "another rule (hpdp spi hits --sigmas 2 --overwrite), or the centre before the hits."
        )
    good = good_pixels(stack)
    sums, numbers = reduce_images(
        stack_path,
        FrameSum((stack.sizes["y"], stack.sizes["x"]), column, groups=PARTS),
        client=client,
        progress=progress,
    )
    parts = sums[numbers > 0] - _background(stack, chosen, numbers)[numbers > 0]
    total = parts.sum(axis=0)
    pixel_size = _pixel_size(stack)
    first = _locate(stack, method, good, pixel_size)
    center = first(total, None)
    if center is None:
        raise InputError(
            f"{path}: no centre can be told from the sum of {int(chosen.sum()):,} frames by the "
            f"method {method}; are the signal or the unmasked part of the detector too small?"
        )
    error = _error(first, parts, (center.x, center.y))
    add_variables(
        stack_path,
        {
            "beam_center": (("axis",), np.array([center.x, center.y])),
            "beam_center_error": (("axis",), np.array(error)),
        },
        overwrite=True,
        history={**(history or {}), "method": method, "frames": int(chosen.sum())},
    )
    return CenterFound(
        center.x,
        center.y,
        error,
        pixel_size,
        _place(stack, center, pixel_size),
        center.score,
        center.diameter,
        int(chosen.sum()),
        column is not None,
    )


def _background(stack: xr.Dataset, chosen: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Give the background in each part of the sum; 0 where it is not known."""
    if "background" not in stack:
        return np.zeros((len(numbers), 1, 1))
    scale = np.ones(len(chosen))
    if "background_scale" in stack:
        scale = stack["background_scale"].values.astype(np.float64)
    part = np.arange(len(chosen)) % len(numbers)
    times = np.bincount(part[chosen], scale[chosen], len(numbers))
    return np.asarray(times[:, None, None] * stack["background"].values)


Locate = Callable[[np.ndarray, tuple[float, float] | None], Center | None]


def _locate(stack: xr.Dataset, method: str, good: np.ndarray, pixel_size: float) -> Locate:
    """Give a function that finds the centre of an image, near a place or anywhere."""
    x, y = stack["pixel_x"].values, stack["pixel_y"].values
    places = good, x, y, pixel_size

    def locate(image: np.ndarray, near: tuple[float, float] | None) -> Center | None:
        image = np.maximum(image, 0.0)
        if near is None:
            rough = friedel_center(image, *places)
            if rough is None:
                return None
            near = rough.x, rough.y
        if method == "sphere":
            pixels = x, y, stack["pixel_z"].values
            return sphere_center(image, good, pixels, pixel_size, float(stack["wavelength"]), near)
        round_one = ring_center(image, *places, near)
        if method == "rings":
            return round_one
        # the roundest place is nearer than the highest of many peaks may be
        return friedel_center(image, *places, (round_one.x, round_one.y) if round_one else near)

    return locate


def _error(locate: Locate, parts: np.ndarray, center: tuple[float, float]) -> tuple[float, float]:
    """Give the standard deviation of a centre by the jackknife (Quenouille 1956).

    The frames differ more than their photons do, so only a look at fewer of them tells.
    """
    found = []
    for index in range(len(parts) if len(parts) > 1 else 0):
        left = locate(np.delete(parts, index, axis=0).sum(axis=0), center)
        if left is not None:
            found.append((left.x, left.y))
    if len(found) < 2:
        return float("nan"), float("nan")
    spread = np.var(found, axis=0) * (len(found) - 1)
    return float(spread[0] ** 0.5), float(spread[1] ** 0.5)


def _pixel_size(stack: xr.Dataset) -> float:
    """Give the edge of a pixel, m: as it is known, or from where neighbours are."""
    if "pixel_size" in stack:
        return float(stack["pixel_size"])
    x, y = stack["pixel_x"].values, stack["pixel_y"].values
    step = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1))
    return float(np.median(step))


def _place(stack: xr.Dataset, center: Center, pixel_size: float) -> tuple[float, float] | None:
    """Give column and row of the centre, if the pixels lie on one grid along x and y."""
    x, y = stack["pixel_x"].values, stack["pixel_y"].values
    column = np.arange(x.shape[1])
    row = np.arange(x.shape[0])
    if len(column) < 2 or len(row) < 2:
        return None
    across, up = (x[0, -1] - x[0, 0]) / column[-1], (y[-1, 0] - y[0, 0]) / row[-1]
    if not across or not up:
        return None
    off_x = np.abs(x - (x[0, 0] + across * column[None, :])).max()
    off_y = np.abs(y - (y[0, 0] + up * row[:, None])).max()
    if max(off_x, off_y) > 0.01 * pixel_size:
        return None
    return float((center.x - x[0, 0]) / across), float((center.y - y[0, 0]) / up)
