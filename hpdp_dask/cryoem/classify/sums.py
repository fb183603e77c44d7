"""What a pass sums over its images."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

from hpdp_dask.numerics.arrays import Array


class ClassSums(NamedTuple):
    """The accumulator of a pass.

    Attributes
    ----------
    signal : (k, M) array of complex64
        CTF x image / noise power, turned into the average, on `planar.fine_plane`.
    weight : (k, M) array of float32
        CTF² / noise power likewise.
    residual : (groups, radius + 1) array of float64
        What the averages leave unexplained; see `likelihood.GaussianSums`.
    images : (groups,) array of float64
        Of each optics group.
    members : (k,) array of float64
        Images of each class, by probability.
    tallies : (4,) array of float64
        Squared shifts, Å²; probabilities of the best poses; images whose class changed, and
        images of which that is known.
    """

    signal: Array
    weight: Array
    residual: Array
    images: Array
    members: Array
    tallies: Array


def empty_sums(classes: int, samples: int, groups: int, radius: int, xp: ModuleType) -> ClassSums:
    """Make sums over no images."""
    return ClassSums(
        xp.zeros((classes, samples), xp.complex64),
        xp.zeros((classes, samples), xp.float32),
        xp.zeros((groups, radius + 1)),
        xp.zeros(groups),
        xp.zeros(classes),
        xp.zeros(4),
    )


def add_sums(sums: ClassSums, other: ClassSums) -> ClassSums:
    """Add the second to the first, in place."""
    for total, part in zip(sums, other, strict=True):
        total += part
    return sums
