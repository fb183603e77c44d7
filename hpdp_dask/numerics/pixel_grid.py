"""Pixels of any detector on one regular grid, for what asks for one, as Fourier transforms do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Of a cell that is shared by pixels, so much must be covered to count.
_COVERED = 0.3


class Grid(NamedTuple):
    """An image on a regular grid, each pixel shared among the four cells that it touches.

    Attributes
    ----------
    values : (Y, X) ndarray of float64
        Weighted mean of the pixels in a cell.
    noise : (Y, X) ndarray of float64
        Its variance, for pixels with a variance of 1.
    weights : (Y, X) ndarray of float64
        How much of a cell is covered by good pixels; 0 where too little.
    origin : tuple of float
        x and y of the first cell, m.
    step : float
        Edge of a cell, m.
    """

    values: np.ndarray
    noise: np.ndarray
    weights: np.ndarray
    origin: tuple[float, float]
    step: float


def to_grid(
    image: np.ndarray,
    good: np.ndarray,
    pixel_x: np.ndarray,
    pixel_y: np.ndarray,
    pixel_size: float,
    middle: tuple[float, float] | None = None,
) -> Grid:
    """Put pixels where they are onto a regular grid with cells of their size.

    Parameters
    ----------
    image : (y, x) ndarray
    good : (y, x) ndarray of bool
        Others do not count.
    pixel_x, pixel_y : (y, x) ndarray of float
        m.
    pixel_size : float
        m.
    middle : tuple of float, optional
        x and y of the middle of a cell, m; by default a grid that fits most pixels, which on a
        flat detector without gaps gives the image itself.

    Returns
    -------
    Grid
    """
    x, y, value = pixel_x[good], pixel_y[good], image[good].astype(np.float64)
    left, bottom = float(x.min()) - pixel_size, float(y.min()) - pixel_size
    if middle is None:
        left += _common_part(x - left, pixel_size)
        bottom += _common_part(y - bottom, pixel_size)
    else:
        left = middle[0] - pixel_size * np.ceil((middle[0] - left) / pixel_size)
        bottom = middle[1] - pixel_size * np.ceil((middle[1] - bottom) / pixel_size)
    across, up = (x - left) / pixel_size, (y - bottom) / pixel_size
    shape = int(up.max()) + 2, int(across.max()) + 2
    column, row = across.astype(np.int64), up.astype(np.int64)
    right, above = across - column, up - row
    total, noise, weight = (np.zeros(shape) for _ in range(3))
    for rows, share_y in ((row, 1.0 - above), (row + 1, above)):
        for columns, share_x in ((column, 1.0 - right), (column + 1, right)):
            share = share_x * share_y
            place = rows * shape[1] + columns
            weight += np.bincount(place, share, weight.size).reshape(shape)
            total += np.bincount(place, share * value, weight.size).reshape(shape)
            noise += np.bincount(place, share**2, weight.size).reshape(shape)
    covered = weight > _COVERED
    divisor = np.where(covered, weight, np.inf)
    return Grid(
        total / divisor,
        noise / divisor**2,
        np.where(covered, np.minimum(weight, 1.0), 0.0),
        (left, bottom),
        pixel_size,
    )


def _common_part(places: np.ndarray, step: float) -> float:
    """Give the offset that most places share, beyond whole steps; from -step / 2 to step / 2."""
    turned = np.exp(2j * np.pi * places / step)
    return float(np.angle(turned.mean()) * step / (2.0 * np.pi))
