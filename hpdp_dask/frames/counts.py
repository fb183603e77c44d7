"""Numbers of a detector into counts of photons, or a sentence that says why they are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError

#: The dtypes that photons are kept in, the smallest first.
COUNTS = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32))

#: Numbers that are looked at together.
_PIECE = 2**15


def smallest_counts(largest: int) -> np.dtype:
    """Give the smallest dtype of counts that holds a number; the largest if none does."""
    return next((dtype for dtype in COUNTS if largest <= np.iinfo(dtype).max), COUNTS[-1])


def to_counts(frames: np.ndarray, bad: np.ndarray | None, first: int, path: Path) -> np.ndarray:
    """Turn frames into counts of photons.

    Parameters
    ----------
    frames : (n, y, x) ndarray
        Numbers that should be counts. Where a pixel of a single frame has no number (NaN), it
        has no photons.
    bad : (y, x) ndarray of bool or None
        Pixels that are masked: what is no count there becomes 0.
    first : int
        The first frame, for messages.
    path : Path
        Likewise.

    Returns
    -------
    (n, y, x) ndarray of integers
        From 0 on, and no larger than the largest of `COUNTS` holds. The input where it is so.

    Raises
    ------
    InputError
        A good pixel holds a number that is negative, infinite, no whole number or too large:
        names frame, row and column.
    """
    largest = np.iinfo(COUNTS[-1]).max
    if frames.dtype == bool:
        return frames.view(np.uint8)
    if frames.dtype.kind in "iu":
        if frames.min(initial=0) >= 0 and frames.max(initial=0) <= largest:
            return frames
        wrong = (frames < 0) | (frames > largest)
        zero = np.zeros_like(wrong)
    else:
        counts = _whole(frames)
        if counts is not None:
            return counts
        zero = np.isnan(frames)
        wrong = ~((frames >= 0) & (frames <= largest) & (frames == np.rint(frames))) & ~zero
    if bad is not None:
        zero |= wrong & bad
        wrong &= ~bad
    if wrong.any():
        frame, row, column = (int(index) for index in np.argwhere(wrong)[0])
        raise InputError(
            f"{path}: frame {first + frame} holds {frames[frame, row, column]:g} in row {row}, "
            f"column {column}, expected counts of photons (whole numbers from 0 to {largest}); "
            "mask the pixel with --mask, or import with --unit adu and count photons with hpdp "
            "spi calibrate."
        )
    return np.where(zero, 0, frames).astype(np.uint32)


def _whole(frames: np.ndarray) -> np.ndarray | None:
    """Turn real numbers that are counts into such, NaN into 0; None if one of them is none.

    Piece by piece, since whole frames do not stay in a core's cache from step to step.
    """
    largest = np.iinfo(COUNTS[-1]).max
    given = np.ascontiguousarray(frames).reshape(-1)
    counts = np.empty(given.shape, np.uint32)
    for start in range(0, len(given), _PIECE):
        piece = given[start : start + _PIECE]
        absent = np.isnan(piece)
        if absent.any():
            piece = np.where(absent, 0, piece)
        if not (piece.min() >= 0 and piece.max() <= largest):
            return None
        out = counts[start : start + _PIECE]
        out[...] = piece
        if not np.array_equal(out, piece):
            return None
    return counts.reshape(frames.shape)
