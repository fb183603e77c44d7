"""Frames without their background, for what cannot take it into account."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.dataflow.blocks import map_images, read_images, store_images
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.photon_counts import subtract_photons
from hpdp_dask.spi.hit_measures import good_pixels
from hpdp_dask.stacks.frame_schema import check_frames
from hpdp_dask.stacks.frames import new_frames, open_frames
from hpdp_dask.stacks.layout import read_layout
from hpdp_dask.stacks.store import staging

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: What was found with the background in the frames; which of them are hits stays true.
_OF_BEFORE = (
    *("background", "background_scale", "photon_count", "lit_pixels", "hit_score", "lambda_score"),
    *("particle_size", "size_error", "size_score", "particle_elongation", "particle_direction"),
    *("features", "label", "label_probability", "label_accepted", "class_name"),
)


def subtract_background(
    stack_path: str | Path,
    output: str | Path,
    *,
    overflow: int | None = None,
    client: Client | None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Make a stack of frames without their background.

    Whole photons are taken off, so that counts stay counts: the background, times the scale of
    the frame where it is known, rounded down; no pixel goes below zero, and masked pixels have
    none (Bobkov's rule). Noise of the background stays, and is no longer that of photons: what
    knows the background, as orientation does, should get the frames as they are.

    Parameters
    ----------
    stack_path, output : str or Path
    overflow : int, optional
        Pixels with more photons, where the detector is not linear, stay as they are.
    client : distributed.Client or None
        Where the work runs; None for this process.
    overwrite : bool, optional
        Replace a stack at `output`.
    history : mapping, optional
        Kept with the new stack.
    progress : Progress, optional

    Raises
    ------
    InputError
        The background is not known, or `output` exists.
    """
    stack_path, output = Path(stack_path).absolute(), Path(output).absolute()
    stack = open_frames(stack_path)
    check_frames(stack, ("photons", "background"))
    if output == stack_path:
        raise InputError(f"{output}: the output is the input; give the new stack another name.")
    layout = read_layout(stack_path)
    scale = np.ones(layout.number)
    if "background_scale" in stack:
        scale = stack["background_scale"].values.astype(np.float64)
    images = map_images(
        read_images(stack_path),
        _subtract,
        scale,
        name="subtract",
        path=stack_path,
        overflow=overflow,
    )
    gone = [name for name in ("photons", *_OF_BEFORE) if name in stack]
    past = {"subtracted_background_of": str(stack_path), "overflow": overflow, **(history or {})}
    described = stack.drop_vars(gone).assign_attrs(history=[*stack.attrs.get("history", []), past])
    with staging(output, overwrite) as unfinished:
        new_frames(
            unfinished,
            described,
            layout.number,
            layout.image_shape,
            layout.dtype,
            images_per_shard=layout.images_per_shard,
        )
        store_images(images, unfinished, name="subtract", client=client, progress=progress)


def _subtract(
    photons: np.ndarray, scale: np.ndarray, *, path: Path, overflow: int | None
) -> np.ndarray:
    """Take the background off the frames of a shard.

    Parameters
    ----------
    photons : (n, y, x) ndarray of unsigned integers
    scale : (n,) ndarray of float64
    path : Path
        The stack.
    overflow : int or None

    Returns
    -------
    (n, y, x) ndarray
        Of the same dtype.
    """
    stack = open_frames(path)
    background = stack["background"].values
    return subtract_photons(photons, good_pixels(stack), background, scale, overflow)
