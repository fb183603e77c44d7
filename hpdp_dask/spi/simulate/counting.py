"""Photons as a detector counts them: Poisson noise, and ADU."""

from __future__ import annotations

import numpy as np

from hpdp_dask.spi.simulate.background import DARK, HOT
from hpdp_dask.spi.simulate.settings import Readout


def draw_counts(mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw Poisson counts.

    Parameters
    ----------
    mean : (m,) ndarray of float64
        Of each pixel.
    rng : Generator

    Returns
    -------
    (m,) ndarray of int64
        Where there are fewer photons than pixels, their number is drawn, and then a pixel for each:
        the same distribution at a fraction of the time.
    """
    edges = np.cumsum(mean)
    if edges[-1] > 0.25 * len(mean):
        return rng.poisson(mean)
    photons = rng.poisson(edges[-1])
    # in order, so that the search stays in the cache
    struck = np.sort(rng.random(photons)) * edges[-1]
    places = np.minimum(np.searchsorted(edges, struck, side="right"), len(mean) - 1)
    return np.bincount(places, minlength=len(mean))


def read_out(
    photons: np.ndarray, defects: np.ndarray, readout: Readout, rng: np.random.Generator
) -> np.ndarray:
    """Give what a detector makes of counts.

    Parameters
    ----------
    photons : (y, x) ndarray of int
    defects : (y, x) ndarray of uint8
    readout : Readout
    rng : Generator

    Returns
    -------
    (y, x) ndarray of float32
        ADU: gain, noise of each pixel, a common mode of each half of a row. Dark pixels read 0,
        hot ones infinity, as in frames of a pnCCD whose gain map has holes.
    """
    rows, columns = photons.shape
    adu = photons * np.float32(readout.gain)
    adu += np.float32(readout.noise) * rng.standard_normal(photons.shape, dtype=np.float32)
    stripes = np.float32(readout.stripes) * rng.standard_normal((rows, 2), dtype=np.float32)
    half = columns // 2
    adu[:, :half] += stripes[:, :1]
    adu[:, half:] += stripes[:, 1:]
    adu[defects == DARK] = 0.0
    adu[defects == HOT] = np.inf
    return adu
