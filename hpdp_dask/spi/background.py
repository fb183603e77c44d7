"""The background: what a frame without a particle shows, of each pixel and of each frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.mode_fit import add_to_histogram, background_of_histogram
from hpdp_dask.spi.frame_groups import FrameGroups, group_frames
from hpdp_dask.spi.frame_sums import FrameSum, chosen_frames
from hpdp_dask.spi.hit_measures import good_pixels
from hpdp_dask.stacks.frame_schema import check_frames
from hpdp_dask.stacks.frames import add_variables, open_frames

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Frames that a mode can be told from, and misses that a mean can.
_FEWEST_FRAMES = 10

#: A group of frames with fewer misses takes its scale from its neighbours.
_FEWEST_MISSES = 5


@dataclass(frozen=True)
class PhotonHistogram:
    """Counts how often each pixel has each number of photons.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns.
    bins : int, optional
        Counts from 0 to one less than this.
    column, value : str and int, optional
        Only frames where a column has a value; by default all.
    """

    shape: tuple[int, int]
    bins: int = 50
    column: str | None = None
    value: int = 0
    name: str = "histogram"
    images_per_leaf: int = 4000

    @property
    def nbytes(self) -> int:
        """Size of an accumulator."""
        return 4 * self.bins * self.shape[0] * self.shape[1]

    def start(self) -> np.ndarray:
        """Begin with no frames: (bins, y, x)."""
        return np.zeros((self.bins, *self.shape), np.uint32)

    def fold(self, histogram: np.ndarray, block: xr.Dataset) -> np.ndarray:
        """Add the frames of a block."""
        photons = block["photons"].values
        chosen = chosen_frames(block, self.column, self.value)
        add_to_histogram(histogram, photons if chosen.all() else photons[chosen])
        return histogram

    def merge(self, histogram: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Add another histogram."""
        histogram += other
        return histogram

    def finish(self, histogram: np.ndarray) -> np.ndarray:
        """Give the histogram."""
        return histogram


@dataclass(frozen=True)
class BackgroundFound:
    """What was found.

    Attributes
    ----------
    frames : int
        That it was told from.
    of : str
        What these are.
    photons : float
        Of the background of a frame, on good pixels.
    beyond : int
        Pixels with more background than was looked at; of the mode alone.
    scales : tuple of float
        Least and greatest scale of a frame; NaN without.
    groups : str
        What the scales are of; empty without.
    """

    frames: int
    of: str
    photons: float
    beyond: int
    scales: tuple[float, float]
    groups: str


def estimate_background(
    stack_path: str | Path,
    method: Literal["mode", "weight"] | None = None,
    *,
    largest: int = 50,
    all_frames: bool = False,
    window: int | None = None,
    client: Client | None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> BackgroundFound:
    """Estimate the background of a stack, and add it.

    Adds `background`: the mean photons of each pixel in a frame without a particle, 0 where it is
    masked. Where hits are known, also `background_scale`, how much of it each frame has: the mean
    photons of the misses in its train over those of the background, times its pulse energy over
    the mean of these misses.

    Parameters
    ----------
    stack_path : str or Path
    method : {"mode", "weight"}, optional
        *mode*: of each pixel the most frequent number of photons, for which hits need not be
        known. *weight*: the mean of the misses. By default *weight* if hits are known.
    largest : int, optional
        Photons that the mode looks at.
    all_frames : bool, optional
        For the mode, hits too, and no scale; by default hits are left out where they are known.
    window : int, optional
        Frames that share a scale; 0 for all, by default those of a train.
    client : distributed.Client or None
        Where the work runs; None for this process.
    overwrite : bool, optional
        Replace what is there.
    history : mapping, optional
        Kept with the stack.
    progress : Progress, optional

    Returns
    -------
    BackgroundFound

    Raises
    ------
    InputError
        There are no photons or too few frames, hits are needed and not known, or a background
        is there.
    """
    stack = open_frames(stack_path)
    check_frames(stack, ("photons",))
    if "background" in stack and not overwrite:
        raise InputError(f"{stack.attrs['path']}: has background already; --overwrite replaces it.")
    method = method or ("weight" if "hit" in stack else "mode")
    shape = stack.sizes["y"], stack.sizes["x"]
    good = good_pixels(stack)
    column, value, of = _frames_of_background(stack, method, all_frames)
    if column is not None:
        check_frames(stack, ("photon_count",))
    chosen = chosen_frames(stack, column, value)
    if chosen.sum() < _FEWEST_FRAMES:
        raise InputError(
            f"{stack.attrs['path']}: {int(chosen.sum())} of its frames are {of}, expected "
            f"{_FEWEST_FRAMES} or more to tell a background from."
        )
    beyond = 0
    if method == "mode":
        histogram = reduce_images(
            stack_path,
            PhotonHistogram(shape, largest, column, value),
            client=client,
            progress=progress,
        )
        background = np.where(good, background_of_histogram(histogram), 0.0)
        out_of_sight = good & (2 * histogram.sum(axis=0, dtype=np.int64) < chosen.sum())
        background[out_of_sight] = largest
        beyond = int(out_of_sight.sum())
    else:
        sums, number = reduce_images(
            stack_path, FrameSum(shape, column, value), client=client, progress=progress
        )
        background = np.where(good, sums[0] / number[0], 0.0)
    photons = float(background.sum())
    variables: dict[str, Any] = {"background": (("y", "x"), background.astype(np.float32))}
    groups, scales = "", (float("nan"), float("nan"))
    if column is not None:
        together = group_frames(stack, window)
        scale = _scale_frames(stack, together, chosen, photons)
        variables["background_scale"] = ("frame",), scale.astype(np.float32)
        groups, scales = together.words, (float(scale.min()), float(scale.max()))
    elif "background_scale" in stack:
        # the scale of another background
        variables["background_scale"] = ("frame",), np.ones(len(chosen), np.float32)
    add_variables(
        stack_path,
        variables,
        overwrite=True,
        history={**(history or {}), "method": method, "frames": of, "largest": largest},
    )
    return BackgroundFound(int(chosen.sum()), of, photons, beyond, scales, groups)


def _frames_of_background(
    stack: xr.Dataset, method: str, all_frames: bool
) -> tuple[str | None, int, str]:
    """Choose the frames that tell the background: a column, its value, and what they are."""
    if "miss" in stack and not all_frames and stack["miss"].values.any():
        return "miss", 1, "chosen misses"
    if "hit" in stack and not all_frames:
        return "hit", 0, "no hits"
    if method == "weight":
        raise InputError(
            f"{stack.attrs['path']}: the background by weight is that of frames without a hit, "
            "which are not known; run hpdp spi hits first, or take --method mode."
        )
    return None, 0, "all"


def _scale_frames(
    stack: xr.Dataset, groups: FrameGroups, misses: np.ndarray, photons: float
) -> np.ndarray:
    """Give how much of the background each frame has.

    Parameters
    ----------
    stack : xarray.Dataset
        With `photon_count`, and `pulse_energy` where it is known.
    groups : FrameGroups
    misses : (n,) ndarray of bool
        The frames that the background is the mean of.
    photons : float
        Of the background.

    Returns
    -------
    (n,) ndarray of float64
    """
    mean, number = groups.mean(stack["photon_count"].values.astype(np.float64), misses)
    scale = _filled(mean / max(photons, 1e-12), number)
    if "pulse_energy" not in stack:
        return np.asarray(scale[groups.member])
    energy = stack["pulse_energy"].values
    known = np.isfinite(energy)
    usual = _filled(*groups.mean(np.where(known, energy, 0.0), misses & known))
    share = energy / np.where(usual > 0, usual, np.nan)[groups.member]
    return np.asarray(scale[groups.member] * np.where(np.isfinite(share), share, 1.0))


def _filled(mean: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Give groups that have too few misses what lies between their neighbours."""
    enough = number >= min(_FEWEST_MISSES, max(int(number.max()), 1))
    places = np.arange(len(mean))
    return np.asarray(np.interp(places, places[enough], mean[enough]))
