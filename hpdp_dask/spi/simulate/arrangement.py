"""Where several particles are that are hit together: doubles and aggregates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpdp_dask.numerics.rotations import random_rotations

#: How often a place for one more particle of an aggregate is sought.
_ATTEMPTS = 100


@dataclass(frozen=True)
class Placed:
    """A particle in the beam.

    Attributes
    ----------
    size : float
        Diameter of the sphere of equal volume, Å.
    matrix : (3, 3) ndarray
        From its frame to the laboratory's.
    place : (3,) ndarray
        Of its centre, Å.
    """

    size: float
    matrix: np.ndarray
    place: np.ndarray


def pair(first: Placed, size: float, distance: float, rng: np.random.Generator) -> list[Placed]:
    """Put a second particle beside one, in any direction and turned in any way."""
    return [first, Placed(size, random_rotations(1, rng)[0], distance * _direction(rng))]


def aggregate(first: Placed, sizes: Sequence[float], rng: np.random.Generator) -> list[Placed]:
    """Let particles stick to one, each to any that is there already.

    Parameters
    ----------
    first : Placed
    sizes : sequence of float
        Of the others, Å: spheres of these diameters touch and do not overlap.
    rng : Generator

    Returns
    -------
    list of Placed
    """
    cluster = [first]
    for size in sizes:
        for _ in range(_ATTEMPTS):
            neighbour = cluster[rng.integers(len(cluster))]
            place = neighbour.place + 0.5 * (neighbour.size + size) * _direction(rng)
            apart = [np.linalg.norm(place - other.place) for other in cluster]
            touching = [0.5 * (size + other.size) for other in cluster]
            if all(far > 0.999 * near for far, near in zip(apart, touching, strict=True)):
                break
        cluster.append(Placed(size, random_rotations(1, rng)[0], place))
    return cluster


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.standard_normal(3)
    return np.asarray(vector / np.linalg.norm(vector))
