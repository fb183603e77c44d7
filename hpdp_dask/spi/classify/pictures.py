"""Frames as small square pictures about the beam, which networks look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpdp_dask.formats.frames import GOOD, Detector
from hpdp_dask.numerics.arrays import csr_matrix

#: Cells along an edge.
SIDE = 48


@dataclass(frozen=True)
class PictureMaker:
    """Makes pictures of the frames of one detector.

    Attributes
    ----------
    sums : (cells, pixels) scipy.sparse.csr_matrix
        Adds up the good pixels in each cell.
    weights : (cells,) ndarray of float32
        Take a sum to what a cell full of good pixels would count; 0 where there is nothing.
    recipe : dict
        What the pictures depend on, for the record of a model.
    """

    sums: Any
    weights: np.ndarray
    recipe: dict[str, Any]

    def __call__(self, photons: np.ndarray) -> np.ndarray:
        """Make pictures of frames.

        Parameters
        ----------
        photons : (n, y, x) ndarray

        Returns
        -------
        (n, SIDE, SIDE) ndarray of float32
            Square root of the photons in each cell, which makes their noise alike everywhere.
        """
        flat = photons.reshape(len(photons), -1).astype(np.float32)
        cells = (self.sums @ flat.T).T * self.weights
        return np.sqrt(np.maximum(cells, 0.0)).reshape(-1, SIDE, SIDE)


def plan_pictures(detector: Detector) -> PictureMaker:
    """Plan the pictures of a detector's frames.

    Pixels count where they stand, whatever module they are on. A cell without good pixels shows
    the cell on the other side of the beam, which scatters alike by Friedel's law. The pictures
    reach to where the detector ends first, in x or in y.

    Parameters
    ----------
    detector : Detector
        Its positions relative to the beam.

    Returns
    -------
    PictureMaker
    """
    x, y, z = (getattr(detector, f"pixel_{axis}").ravel() for axis in "xyz")
    good = detector.mask.ravel() == GOOD
    across = np.diff(detector.pixel_x, axis=1), np.diff(detector.pixel_y, axis=1)
    step = float(np.median(np.hypot(*across)))
    reach = min(np.abs(x[good]).max(), np.abs(y[good]).max()) + step / 2.0
    column, row = (
        np.floor((each + reach) * SIDE / (2 * reach)).astype(np.int64) for each in (x, y)
    )
    used = np.flatnonzero(good & (np.minimum(column, row) >= 0) & (np.maximum(column, row) < SIDE))
    cell = row[used] * SIDE + column[used]
    ones = np.ones(len(used), np.float32)
    sums = csr_matrix(ones, cell, used, (SIDE * SIDE, len(x)), np)
    counts = np.bincount(cell, minlength=SIDE * SIDE)
    # the cell opposite another has the last number where that has the first
    own = np.arange(SIDE * SIDE)
    shown = np.where(counts > 0, own, own[::-1])
    sums, counts = sums[shown], counts[shown]
    full = np.median(counts[counts > 0])
    weights = np.where(counts > 0, full / np.maximum(counts, 1), 0.0).astype(np.float32)
    angle = np.arctan2(reach, np.median(np.abs(z)))
    recipe = {
        "kind": "pictures",
        "cells": SIDE,
        # three digits: the same detector moved by a pixel is the same to a network
        "reach": f"{2.0 * np.sin(angle / 2.0) / detector.wavelength:.3g} 1/Å",
        "pixels_in_a_cell": f"{full:.3g}",
    }
    return PictureMaker(sums, weights, recipe)
