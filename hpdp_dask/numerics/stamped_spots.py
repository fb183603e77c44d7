"""Spots stamped into an image: Gaussians in two dimensions, each only where it can be seen."""

from __future__ import annotations

import numba
import numpy as np

from hpdp_dask.numerics.arrays import Array, namespace

_compiled = numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


def stamp_spots(image: Array, spots: np.ndarray, faintest: float = 0.003) -> None:
    """Add spots to an image, in place.

    Parameters
    ----------
    image : (y, x) array of float32
        NumPy or CuPy. On a device sums are in steps of 4e-9 photons.
    spots : (m, 7) ndarray of float64
        As `bragg_spots` gives them.
    faintest : float, optional
        Photons below which the tail of a spot is cut.
    """
    if namespace(image) is np:
        _stamp(image, np.ascontiguousarray(spots, np.float64), faintest)
        return
    from hpdp_dask.numerics.stills import gpu

    gpu.stamp_spots(image, spots, faintest)


def spot_areas(spots: np.ndarray) -> np.ndarray:
    """Give the pixels that the photons of spots would fill at their peak: (m,) ndarray.

    Parameters
    ----------
    spots : (m, 7) ndarray
        As `bragg_spots` gives them.
    """
    return 2.0 * np.pi / np.sqrt(spots[:, 2] * spots[:, 4] - spots[:, 3] ** 2)


@_compiled
def _stamp(image: np.ndarray, spots: np.ndarray, faintest: float) -> None:
    rows, columns = image.shape
    for spot in range(len(spots)):
        x, y, xx, xy, yy, peak = spots[spot, :6]
        if peak <= faintest:
            continue
        # where the exponent is below this, nothing is left to add
        limit = 2.0 * np.log(peak / faintest)
        determinant = xx * yy - xy * xy
        tall = np.sqrt(limit * xx / determinant)
        for row in range(max(0, int(np.ceil(y - tall))), min(rows - 1, int(y + tall)) + 1):
            dy = row - y
            # the row cuts the ellipse here
            middle = -xy * dy / xx
            rest = limit - (yy - xy * xy / xx) * dy * dy
            if rest <= 0.0:
                continue
            wide = np.sqrt(rest / xx)
            start = max(0, int(np.ceil(x + middle - wide)))
            stop = min(columns - 1, int(np.floor(x + middle + wide)))
            for column in range(start, stop + 1):
                dx = column - x
                exponent = np.float32(-0.5 * (xx * dx * dx + 2.0 * xy * dx * dy + yy * dy * dy))
                image[row, column] += np.float32(peak) * np.exp(exponent)
