"""Frames as pictures for a page: PNG tiles, quickly.

A picture shows the detector as it stands in the beam, with contrast of its own. Its pixels are
indices into a table of colours, so a tile is small, and one of counts is painted by looking each
count up in a table.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.assembly import plan_assembly

Scale = Literal["log", "sqrt", "linear"]

#: Matplotlib's names.
COLOURS = ("inferno", "viridis", "gray", "gray_r")

#: Indices of a picture: colours from below, then pixels that are masked, then where there is none.
_LEVELS, _MASKED, _NOWHERE = 254, 254, 255

#: Neither a colour of the tables nor that of a page.
_MASK_COLOUR = (72, 84, 100)

#: Photons, or standard deviations of a detector's noise, from the first colour to the last at
#: least: an empty frame shall look empty.
_LEAST_RANGE = 3.0

#: Counts above go through arithmetic instead of a table.
_LARGEST_TABLE = 2**16


@dataclass(frozen=True)
class Contrast:
    """How numbers become colours.

    Attributes
    ----------
    scale : {"log", "sqrt", "linear"}
        *log* is of 1 + counts; numbers of a detector are counted in their own noise.
    low, high : float
        Percentiles of the good pixels of a picture that become the first and the last colour.
    exposure : float
        Each 1 halves the number that becomes the last colour.
    colours : str
        One of `COLOURS`.

    Raises
    ------
    InputError
        Something of it cannot be.
    """

    scale: Scale = "log"
    low: float = 0.0
    high: float = 99.9
    exposure: float = 0.0
    colours: str = "inferno"

    def __post_init__(self) -> None:
        if self.scale not in ("log", "sqrt", "linear"):
            raise InputError(f"The scale is {self.scale!r}, expected log, sqrt or linear.")
        if not 0.0 <= self.low < self.high <= 100.0:
            raise InputError(
                f"The contrast is from {self.low:g} to {self.high:g} %, expected percentiles of "
                "which the first is less than the second, from 0 to 100."
            )
        if self.colours not in COLOURS:
            raise InputError(
                f"The colours are {self.colours!r}, expected one of {', '.join(COLOURS)}."
            )


class Painter:
    """Paints frames of one detector.

    Parameters
    ----------
    mask : (y, x) ndarray of int
        0 for good pixels.
    pixel_x, pixel_y : (y, x) ndarray, optional
        Where the pixels are, m; by default they are a flat rectangle whose rows go upwards.
    longest : int, optional
        Pixels along the longer side of a picture at most. What is larger is shown by sums over
        squares of pixels.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of a picture.
    """

    def __init__(
        self,
        mask: np.ndarray,
        pixel_x: np.ndarray | None = None,
        pixel_y: np.ndarray | None = None,
        longest: int | None = None,
    ) -> None:
        if pixel_x is None or pixel_y is None:
            across, up = (
                np.arange(mask.shape[1], dtype=float),
                np.arange(mask.shape[0], dtype=float),
            )
            pixel_x, pixel_y = np.meshgrid(across, up)
        self._assembly = plan_assembly(pixel_x, pixel_y)
        rows, columns = self._assembly.source.shape
        self._step = 1 if longest is None else -(-max(rows, columns) // longest)
        self._good = self._assembly.show(mask == 0, fill=False)
        self._nowhere = _sums(self._assembly.source >= 0, self._step) == 0
        self.shape: tuple[int, int] = (self._nowhere.shape[0], self._nowhere.shape[1])

    def paint(self, frames: np.ndarray, contrast: Contrast | None = None) -> list[bytes]:
        """Paint frames.

        Parameters
        ----------
        frames : (n, y, x) ndarray
            Photons, or the numbers of a detector; NaN and infinities are shown as masked.
        contrast : Contrast, optional

        Returns
        -------
        list of bytes
            PNG files.
        """
        contrast = contrast or Contrast()
        return [self._paint(frame, contrast) for frame in frames]

    def _paint(self, frame: np.ndarray, contrast: Contrast) -> bytes:
        values, good = self._assembly.show(frame), self._good
        if values.dtype.kind == "f":
            good = good & np.isfinite(values)
        if self._step > 1:
            share = _sums(good, self._step)
            values = _sums(np.where(good, values, 0), self._step)
            good = share > 0
            # cells that are masked in part are as bright as others
            values = values * (self._step**2 / np.maximum(share, 1.0))
        indices = _levels(values, good, contrast)
        indices[~good] = _MASKED
        indices[self._nowhere] = _NOWHERE
        return _png(indices, contrast.colours)


def _sums(picture: np.ndarray, step: int) -> np.ndarray:
    """Sum squares of `step` pixels a side; those at the right and the lower edge are smaller."""
    if step == 1:
        return picture
    rows = np.add.reduceat(picture, np.arange(0, picture.shape[0], step), axis=0, dtype=np.float32)
    return np.add.reduceat(rows, np.arange(0, rows.shape[1], step), axis=1)


def _levels(values: np.ndarray, good: np.ndarray, contrast: Contrast) -> np.ndarray:
    """Give the colour of each pixel, (Y, X) of uint8."""
    known = values[good]
    if not known.size:
        return np.zeros(values.shape, np.uint8)
    if values.dtype.kind == "u":
        counts = np.bincount(known)
        if counts.size <= _LARGEST_TABLE:
            low, high = np.searchsorted(
                np.cumsum(counts), np.array([contrast.low, contrast.high]) / 100 * known.size
            )
            table = _scaled(np.arange(counts.size), float(low), float(high), 1.0, contrast)
            return table[np.minimum(values, counts.size - 1)]
    low, high = np.percentile(known, [contrast.low, contrast.high])
    counted = values.dtype.kind in "iu"
    unit = 1.0 if counted else _noise(known)
    return _scaled(values, float(low), float(high), unit, contrast)


def _noise(values: np.ndarray) -> float:
    """Give a robust standard deviation of numbers, 1 where they are all the same."""
    spread = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return spread or 1.0


def _scaled(
    values: np.ndarray, low: float, high: float, unit: float, contrast: Contrast
) -> np.ndarray:
    """Bring numbers from `low` to `high` on the scale to colours."""
    most = max((high - low) / unit, _LEAST_RANGE) / 2.0**contrast.exposure
    with np.errstate(invalid="ignore"):
        above = np.clip((values.astype(np.float32) - np.float32(low)) / np.float32(unit), 0.0, most)
        if contrast.scale == "log":
            share = np.log1p(above) / np.log1p(np.float32(most))
        elif contrast.scale == "sqrt":
            share = np.sqrt(above / np.float32(most))
        else:
            share = above / np.float32(most)
        return np.nan_to_num(share * (_LEVELS - 1) + 0.5).astype(np.uint8)


@lru_cache(maxsize=len(COLOURS))
def _palette(colours: str) -> bytes:
    from matplotlib import colormaps

    table = colormaps[colours](np.linspace(0.0, 1.0, _LEVELS), bytes=True)[:, :3]
    return table.astype(np.uint8).tobytes() + bytes(_MASK_COLOUR) + bytes(3)


def _png(indices: np.ndarray, colours: str) -> bytes:
    """Write a picture of a table of colours; what is nowhere is transparent."""
    from PIL import Image

    picture = Image.fromarray(indices, "P")
    picture.putpalette(_palette(colours))
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1, transparency=_NOWHERE)
    return file.getvalue()
