"""Where a map's axes of symmetry are, and whether it has them at all.

The map is correlated with itself, turned by operators that generate the group; the score of a
frame is the lowest of these correlations, each a mean over shells: near 1 where the map has the
symmetry, as far as its noise allows, and low where it has only a part of it. The frame is found
in two steps. The correlation of the map with itself turned by one angle, about all directions in
turn, is a map on the sphere (the self-rotation function: Rossmann & Blow 1962, Acta Cryst. 15,
24); sums of these at the axes of the group rank all orientations of the frame. The best are
optimised together with the centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy_healpix import healpy
from numpy.typing import ArrayLike

from hpdp_dask.numerics import grids
from hpdp_dask.numerics.points import PointTransform, mean_correlation, points_in_shells
from hpdp_dask.numerics.rotations import (
    angular_distance,
    euler_to_matrix,
    matrix_to_rotation_vector,
    random_rotations,
    rotation_vector_to_matrix,
)
from hpdp_dask.numerics.superposition import Pose, centre_of_mass, climb

#: The first shell that counts: those before are alike in any frame.
_FIRST = 2.5

#: Directions of the self-rotation function (a step of 3.75°) and orientations of the frame.
_DIRECTIONS, _FRAMES = 4, 3

#: How many frames are optimised with few points, and how many of these with all.
_CANDIDATES, _FINALISTS = 5, 1
_FEW_POINTS, _POINTS = 250, 1000

#: By how many operators frames are scored, and how many random frames tell what chance gives.
_OPERATORS, _RANDOM = 4, 60

#: What a map that has the symmetry reaches of the way from chance to 1.
LEAST_SCORE = 0.5


@dataclass(frozen=True)
class SymmetryAxes:
    """The frame in which a map comes nearest to a point group.

    Attributes
    ----------
    rotation : (3, 3) ndarray
    shift : (3,) ndarray
        x, y, z, pixels. In its standard setting the map is, at x, what it is now at
        `x @ rotation + shift`: `superposition.turn_volume`.
    score : float
        Correlation of the map with itself in this frame, turned by the operator that fits least.
    chance, spread : float
        Mean and standard deviation of the score in random frames.
    """

    rotation: np.ndarray
    shift: np.ndarray
    score: float
    chance: float
    spread: float

    @property
    def z_score(self) -> float:
        """How many standard deviations the score is above chance."""
        return (self.score - self.chance) / max(self.spread, 1e-6)

    @property
    def holds(self) -> bool:
        """Whether the map has the symmetry: the score is nearer to 1 than to chance."""
        return self.score - self.chance > LEAST_SCORE * (1.0 - self.chance)


class SelfSimilarity:
    """A map that is compared with itself, turned.

    Parameters
    ----------
    volume : (N, N, N) array_like
        Even box; free of what is far from the particle.
    radius : int
        The last shell that can be trusted, cycles per box.
    number : int, optional
        Of the points in Fourier space where it is.
    """

    def __init__(self, volume: ArrayLike, radius: int, number: int = _POINTS) -> None:
        self._box = len(np.asarray(volume))
        self._transform = PointTransform(volume, radius)
        self._points = points_in_shells(number, _FIRST, radius + 0.499)
        length = np.sqrt((self._points**2).sum(axis=1))
        self._shell = np.rint(length).astype(int)

    def _at(self, points: np.ndarray, centre: np.ndarray) -> np.ndarray:
        phase = np.exp(2j * np.pi / self._box * (points @ centre))
        return np.asarray(self._transform(points) * phase)

    def under(self, operators: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Score operators (k, 3, 3) in a frame, each by itself: (k,)."""
        here = self._at(self._points @ rotation, shift)
        there = self._at(self._points @ operators @ rotation, shift)
        return mean_correlation(here, there, self._shell)

    def about(self, centre: np.ndarray, angle: float, axes: np.ndarray) -> np.ndarray:
        """Score turns by one angle (radians) about axes (k, 3) through a centre: (k,)."""
        here = self._at(self._points, centre)
        turns = rotation_vector_to_matrix(angle * axes)
        return np.array(
            [
                mean_correlation(here, self._at(self._points @ turn, centre), self._shell)
                for turn in turns
            ]
        )


def symmetry_score(
    volume: ArrayLike,
    operators: np.ndarray,
    radius: int,
    rotation: ArrayLike = np.eye(3),
    shift: ArrayLike = (0.0, 0.0, 0.0),
) -> SymmetryAxes:
    """Tell how well a map fulfils a point group in a frame, its own standard setting by default.

    Parameters
    ----------
    volume : (N, N, N) array_like
        Even box; free of what is far from the particle.
    operators : (g, 3, 3) ndarray
        Of the point group, the identity first.
    radius : int
        The last shell that can be trusted, cycles per box.
    rotation, shift : array_like, optional
        The frame, as of `SymmetryAxes`.

    Returns
    -------
    SymmetryAxes
        In this frame.
    """
    similarity = SelfSimilarity(volume, radius)
    return _scored(similarity, operators, np.asarray(rotation), np.asarray(shift, float))


def find_axes(volume: np.ndarray, operators: np.ndarray, radius: int) -> SymmetryAxes:
    """Find the frame in which a map comes nearest to a point group.

    Parameters
    ----------
    volume : (N, N, N) ndarray
        Even box; free of what is far from the particle.
    operators : (g, 3, 3) ndarray
        Of the point group, the identity first; two or more.
    radius : int
        The last shell that can be trusted, cycles per box.

    Returns
    -------
    SymmetryAxes
        Its `holds` tells whether the map has the symmetry.
    """
    centre = centre_of_mass(volume)
    few = _representatives(operators)
    coarse, fine = (SelfSimilarity(volume, radius, number) for number in (_FEW_POINTS, _POINTS))

    def climbed(similarity: SelfSimilarity, starts: Sequence[Pose]) -> list[Pose]:
        """Optimise frames, and give them by rank."""

        def score(rotation: np.ndarray, shift: np.ndarray) -> float:
            return float(similarity.under(few, rotation, shift).mean())

        return sorted((climb(score, start) for start in starts), key=lambda pose: -score(*pose))

    frames = _rank_frames(coarse, operators, centre)
    rough = climbed(coarse, [(frame, centre) for frame in frames])
    rotation, shift = climbed(fine, rough[:_FINALISTS])[0]
    return _scored(fine, operators, rotation, _centred(operators, rotation, shift, centre))


def _scored(
    similarity: SelfSimilarity, operators: np.ndarray, rotation: np.ndarray, shift: np.ndarray
) -> SymmetryAxes:
    few = _representatives(operators)
    random = [similarity.under(few, matrix, shift).min() for matrix in random_rotations(_RANDOM, 0)]
    score = float(similarity.under(few, rotation, shift).min())
    return SymmetryAxes(rotation, shift, score, float(np.mean(random)), float(np.std(random)))


def _kinds(operators: np.ndarray) -> np.ndarray:
    """List the angles of a group's operators, radians: at most four, of the finest the first.

    Turns by multiples of an angle hold where the turn by that angle does; and half a turn, the
    last of the list, is what makes a dihedral group of a cyclic one.
    """
    angles = np.linalg.norm(matrix_to_rotation_vector(operators[1:]), axis=1)
    kinds = np.unique(np.round(angles, 6))
    return kinds if len(kinds) <= _OPERATORS else kinds[[*range(_OPERATORS - 1), -1]]


def _of_kind(operators: np.ndarray, kind: float) -> np.ndarray:
    angles = np.linalg.norm(matrix_to_rotation_vector(operators), axis=1)
    return operators[np.abs(angles - kind) < 1e-5]


def _representatives(operators: np.ndarray) -> np.ndarray:
    """Choose operators that generate the group: of each kind, far apart.

    An operator and its inverse have the same score, so one of them is enough.
    """
    kinds = _kinds(operators)
    chosen: list[np.ndarray] = []
    for kind in np.resize(kinds, max(_OPERATORS, len(kinds))):
        known = np.array([np.eye(3), *chosen, *(each.T for each in chosen)])
        candidates = _of_kind(operators, kind)
        apart = np.array([angular_distance(operator, known).min() for operator in candidates])
        farthest = int(np.argmax(np.round(apart, 6)))
        if apart[farthest] > 1e-3:
            chosen.append(candidates[farthest])
    return np.array(chosen)


def _rank_frames(
    similarity: SelfSimilarity, operators: np.ndarray, centre: np.ndarray
) -> list[np.ndarray]:
    """Give the best orientations of the frame, no two of them near each other."""
    side = 2**_DIRECTIONS
    everywhere = np.stack(healpy.pix2vec(side, np.arange(12 * side**2), nest=True), axis=1)
    upper = everywhere[:, 2] >= 0.0
    frames = euler_to_matrix(grids.orientations(_FRAMES))
    total = np.zeros(len(frames))
    for kind in _kinds(operators):
        # a pixel on the rim may have its centre below: it counts nothing
        of_pixel = np.zeros(len(everywhere))
        of_pixel[upper] = similarity.about(centre, float(kind), everywhere[upper])
        for axis in _half(matrix_to_rotation_vector(_of_kind(operators, kind)) / kind):
            turned = axis @ frames
            turned *= np.where(turned[:, 2] < 0.0, -1.0, 1.0)[:, None]
            total += of_pixel[healpy.vec2pix(side, *turned.T, nest=True)]
    best: list[np.ndarray] = []
    step = grids.angular_step(_FRAMES)
    for index in np.argsort(-total, kind="stable"):
        mates = operators @ np.array(best).reshape(-1, 1, 3, 3)
        if (angular_distance(frames[index], mates) > 2 * step).all():
            best.append(frames[index])
        if len(best) == _CANDIDATES:
            break
    return best


def _half(axes: np.ndarray) -> np.ndarray:
    """Keep one of each axis and its opposite."""
    kept: list[np.ndarray] = []
    for axis in axes:
        if not any(np.allclose(axis, -other, atol=1e-6) for other in kept):
            kept.append(axis)
    return np.array(kept)


def _centred(
    operators: np.ndarray, rotation: np.ndarray, shift: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """Put the centre of mass at the origin along directions that the group leaves free.

    The mean of all operators projects onto what they leave in place: the axis of Cn, which
    has no point to begin from; nothing, for groups with axes that cross.
    """
    free = rotation.T @ operators.mean(axis=0) @ rotation
    return np.asarray(shift + (centre - shift) @ free)
