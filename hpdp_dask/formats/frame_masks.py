"""Masks that files keep frame by frame, where a stack has one for all frames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hpdp_dask.formats.frames import BAD, GOOD

#: Frames that are looked at, spread evenly, and in how many of them a bad pixel may be masked.
SAMPLE = 64
SHARE = 0.05


def common_mask(
    read: Callable[[int, int], np.ndarray], number: int, shape: tuple[int, int]
) -> np.ndarray:
    """Make one mask of those of single frames.

    A pixel that is masked in some of the memory cells of a detector, or saturated in some frames,
    is good in the others. Where that is often so it is of no use; where it is rare the frame has
    no photons there instead.

    Parameters
    ----------
    read : callable
        Gives what is masked of frames from one to before another, (n, y, x) of bool.
    number : int
        Frames.
    shape : tuple of int

    Returns
    -------
    (y, x) ndarray of uint8
        Bad where more than one in twenty of the frames are masked.
    """
    chosen = np.unique(np.linspace(0, number - 1, SAMPLE).astype(np.int64))
    masked = np.zeros(shape, np.int64)
    for frame in chosen.tolist():
        masked += read(frame, frame + 1)[0]
    return np.where(masked > SHARE * len(chosen), BAD, GOOD).astype(np.uint8)


def without_masked(frames: np.ndarray, masked: np.ndarray) -> np.ndarray:
    """Take out what is masked, in place: no photons, or no number where these are real."""
    frames[masked] = np.nan if frames.dtype.kind == "f" else 0
    return frames
