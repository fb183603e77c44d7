"""What passes fold images into."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from hpdp_dask.cryoem.initial_model.settings import Settings
from hpdp_dask.numerics import slices
from hpdp_dask.numerics.arrays import Array, fast_namespace


class Sums(NamedTuple):
    """The accumulator of a pass.

    Attributes
    ----------
    volumes : (classes, z, y, x, 3) array of float32
        Of `slices.insert_slices`, signal / noise and CTF² / noise.
    residual : (groups, radius + 1) ndarray of float64
        Power that the maps leave unexplained, added up over samples and images.
    images : (groups,) ndarray of float64
    class_share : (classes,) ndarray of float64
        Images of each class, by their probabilities.
    moments : (2,) ndarray of float64
        Sums over images of log-evidence and highest probability.
    """

    volumes: Array
    residual: np.ndarray
    images: np.ndarray
    class_share: np.ndarray
    moments: np.ndarray


def empty_sums(settings: Settings, radius: int) -> Sums:
    """Make an empty accumulator for slices up to a shell."""
    shape = (settings.classes, *slices.accumulator_shape(radius))
    return Sums(
        fast_namespace().zeros(shape, dtype=np.float32),
        np.zeros((settings.groups, radius + 1)),
        np.zeros(settings.groups),
        np.zeros(settings.classes),
        np.zeros(2),
    )


def add_sums(sums: Iterable[np.ndarray], others: Iterable[np.ndarray]) -> Sums:
    """Add the second to the first, in place."""
    for total, part in zip(sums, others, strict=True):
        total += part
    return Sums(*sums)
