"""What compression gives, whatever the noise; and how a batch is worked off in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from hpdp_dask.numerics.arrays import Array

#: What one piece of a batch may occupy: to stay in the caches of a CPU, to fill a GPU.
_BYTES_ON_CPU, _BYTES_ON_GPU = 8 << 20, 256 << 20


@dataclass(frozen=True)
class Sums:
    """Images compressed into references.

    Attributes
    ----------
    signal : (r, m) array
        The weighted sum of the images for each reference.
    weight : (r, m) or (r, 1) array of float32
        The weights; `signal / weight` is the reference of greatest likelihood.
    scale_product, scale_power : (n,) arrays of float64
        For each image <X, A> and <A, A>, the image and its expectation A by the references;
        sums of the one over sums of the other are the factor that A should be scaled by.
    """

    signal: Array
    weight: Array
    scale_product: Array
    scale_power: Array


def piece_bytes(xp: ModuleType) -> int:
    """Give the size that pieces of a batch are cut to."""
    return _BYTES_ON_CPU if xp is np else _BYTES_ON_GPU


def pieces(number: int, bytes_each: int, xp: ModuleType) -> Iterator[slice]:
    """Cut a batch of images into pieces of bounded size, at least one image each."""
    step = max(1, piece_bytes(xp) // bytes_each)
    for start in range(0, number, step):
        yield slice(start, min(start + step, number))
