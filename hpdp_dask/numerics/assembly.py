"""Pictures of frames: pixels of all modules on one regular grid, where they stand.

For people to look at, and for networks that learn on images. Each cell of the grid shows the
nearest pixel in it; nothing is interpolated, so counts stay counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.numerics.arrays import Array, namespace


@dataclass(frozen=True)
class Assembly:
    """Which pixel each cell of a picture shows.

    Attributes
    ----------
    source : (Y, X) ndarray of int
        Index of the pixel, flat; -1 where there is none. The first row is at the top, +y.
    center : tuple of float
        Row and column of the beam.
    step : float
        Edge of a cell, m.
    """

    source: np.ndarray
    center: tuple[float, float]
    step: float

    def show(self, values: Array, fill: float = 0) -> Array:
        """Put values of pixels into the picture.

        Parameters
        ----------
        values : (..., y, x) array
        fill : float, optional
            Where there is no pixel.

        Returns
        -------
        (..., Y, X) array
            Of the same dtype.
        """
        xp = namespace(values)
        flat = values.reshape(*values.shape[:-2], -1)
        source = xp.asarray(self.source)
        picture = flat[..., xp.maximum(source, 0)]
        picture[..., source < 0] = fill
        return picture


def plan_assembly(
    pixel_x: np.ndarray,
    pixel_y: np.ndarray,
    pixel_size: float | None = None,
    longest: int | None = None,
) -> Assembly:
    """Plan a picture of a detector seen along the beam.

    Parameters
    ----------
    pixel_x, pixel_y : (y, x) ndarray
        Centres of the pixels, m, from the beam.
    pixel_size : float, optional
        Edge of a pixel, m; by default the median distance of pixels that follow each other.
    longest : int, optional
        Cells along the longer side at most; cells then hold several pixels and show one of them.

    Returns
    -------
    Assembly
    """
    if pixel_size is None or not pixel_size > 0:
        step = np.hypot(np.diff(pixel_x, axis=1), np.diff(pixel_y, axis=1))
        pixel_size = float(np.median(step)) if step.size else 1.0
    left, right = float(pixel_x.min()), float(pixel_x.max())
    bottom, top = float(pixel_y.min()), float(pixel_y.max())
    cell = pixel_size
    if longest is not None:
        cell = max(cell, max(right - left, top - bottom) / max(1, longest - 1))
    column = np.rint((pixel_x - left) / cell).astype(np.int64).ravel()
    row = np.rint((top - pixel_y) / cell).astype(np.int64).ravel()
    source = np.full((int(row.max()) + 1, int(column.max()) + 1), -1, np.int64)
    # of several in a cell the one nearest to its middle comes last, and stays
    off = np.hypot(pixel_x.ravel() - left - column * cell, top - pixel_y.ravel() - row * cell)
    order = np.argsort(-off, kind="stable")
    source[row[order], column[order]] = order
    _close_seams(source)
    return Assembly(source, (top / cell, -left / cell), cell)


def _close_seams(source: np.ndarray) -> None:
    """Fill single empty cells between pixels, which turned modules leave.

    A gap between modules, two cells wide or more, stays.
    """
    empty = source < 0
    for axis in (0, 1):
        before, after = np.roll(source, 1, axis), np.roll(source, -1, axis)
        inside = np.ones(source.shape[axis], bool)
        inside[[0, -1]] = False
        among = inside[:, None] if axis == 0 else inside[None, :]
        between = empty & among & (before >= 0) & (after >= 0)
        source[between] = before[between]
