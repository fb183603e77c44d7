"""Small pictures of diffraction images in which spots survive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr

from hpdp_dask.formats.frames import GOOD


class _Plan(NamedTuple):
    """Which good pixels, ordered by cells, and where those of each cell begin."""

    pixels: np.ndarray
    starts: np.ndarray
    cells: np.ndarray
    shape: tuple[int, int]


@dataclass(frozen=True)
class SpotPicture:
    """Shows the detector as it stands, each cell by the greatest of its good pixels.

    Sums or means would drown a spot of three pixels in the background of a cell.

    Attributes
    ----------
    longest : int
        Cells along the longer side.
    """

    longest: int = 320

    def prepare(self, stack: xr.Dataset) -> _Plan:
        """Plan the picture; without geometry the pixels are a flat rectangle."""
        good = stack["mask"].values == GOOD
        if "pixel_x" in stack:
            x, y = (stack[name].values for name in ("pixel_x", "pixel_y"))
        else:
            y, x = np.indices(good.shape, float)
        left, bottom = x.min(), y.min()
        cell = max(np.ptp(x), np.ptp(y)) / (self.longest - 1)
        column, row = (((at - low) / cell).astype(np.int32) for at, low in ((x, left), (y, bottom)))
        shape = int(row.max()) + 1, int(column.max()) + 1
        pixels = np.flatnonzero(good)
        of_cell = (row * shape[1] + column).ravel()[pixels]
        pixels = pixels[np.argsort(of_cell, kind="stable")]
        counts = np.bincount(of_cell)
        cells = np.flatnonzero(counts)
        counts = counts[cells]
        return _Plan(pixels, np.cumsum(counts) - counts, cells, shape)

    def make(self, frame: np.ndarray, prepared: _Plan) -> np.ndarray:
        """Make a picture.

        Parameters
        ----------
        frame : (y, x) ndarray
        prepared : object
            From `prepare`.

        Returns
        -------
        (Y, X) ndarray of float32
            Rows go up; NaN where no pixel is good.
        """
        picture = np.full(prepared.shape, np.nan, np.float32)
        if prepared.pixels.size:
            values = frame.ravel()[prepared.pixels]
            picture.ravel()[prepared.cells] = np.maximum.reduceat(values, prepared.starts)
        return picture
