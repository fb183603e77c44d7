"""Two maps of one particle in different frames: turn, move and if need be mirror the one.

A map that was found from nothing lies anywhere and has either hand. It is compared with another
at points of Fourier space: all orientations of a grid at low resolution, then the best of them
by local optimisation of rotation and shift at full resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from hpdp_dask.numerics import grids
from hpdp_dask.numerics.points import PointTransform, mean_correlation, points_in_shells
from hpdp_dask.numerics.rotations import euler_to_matrix, rotation_vector_to_matrix

#: The grid of the search, and the last shell that its step of 15° is fine enough for.
_ORDER, _COARSE = 2, 6

#: The shell that comparisons begin with: the first ones are alike for any two particles.
_FIRST = 1.5

#: How many orientations are optimised at low resolution, and how many of these at full.
_CANDIDATES, _FINALISTS = 6, 2
_COARSE_POINTS, _POINTS = 150, 1200

#: Pixels that matter as much as a radian does, in optimisation.
_SHIFT_UNIT = 10.0

#: A rotation (3, 3) and a shift (3,).
Pose = tuple[np.ndarray, np.ndarray]

_MIRROR = np.diag([1.0, 1.0, -1.0])


@dataclass(frozen=True)
class Superposition:
    """How one map lies upon another.

    The fixed map at the point x (x, y, z as a row, pixels from the centre) is the moving one at
    `x @ rotation + shift`; before, where `mirrored`, the moving one was mirrored at z = 0.

    Attributes
    ----------
    rotation : (3, 3) ndarray
    shift : (3,) ndarray
        x, y, z, pixels.
    mirrored : bool
    correlation : float
        Mean of the Fourier shell correlation.
    """

    rotation: np.ndarray
    shift: np.ndarray
    mirrored: bool
    correlation: float

    def apply(self, volume: np.ndarray) -> np.ndarray:
        """Give the moving map (N, N, N) as it lies upon the fixed one."""
        return turn_volume(
            mirror_volume(volume) if self.mirrored else volume, self.rotation, self.shift
        )

    def turn_poses(self, matrices: np.ndarray) -> np.ndarray:
        """Turn poses A (..., 3, 3) of the moving map into those of the fixed one."""
        if self.mirrored:
            matrices = _MIRROR @ matrices @ _MIRROR
        return np.asarray(matrices @ self.rotation.T)


def align_volumes(
    moving: np.ndarray, fixed: np.ndarray, radius: int, *, mirror: bool = True
) -> Superposition:
    """Find how one map lies upon another.

    Parameters
    ----------
    moving, fixed : (N, N, N) ndarray
        Maps of one even box and pixel size, free of what is far from the particle.
    radius : int
        The last shell that is compared, cycles per box: one where both can be trusted.
    mirror : bool, optional
        Whether the moving map may have the other hand.

    Returns
    -------
    Superposition
        The best that was found.
    """
    found = [_align(moving, fixed, radius, mirrored) for mirrored in (False, True)[: 1 + mirror]]
    return max(found, key=lambda each: each.correlation)


def _align(moving: np.ndarray, fixed: np.ndarray, radius: int, mirrored: bool) -> Superposition:
    box = len(fixed)
    if mirrored:
        moving = mirror_volume(moving)
    of_moving, of_fixed = PointTransform(moving, radius), PointTransform(fixed, radius)
    centre, target = centre_of_mass(moving), centre_of_mass(fixed)

    def compare(points: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Correlate for rotations (..., 3, 3); the shift is that of the maps' frames."""
        turned = points @ rotation
        seen = of_moving(turned) * np.exp(2j * np.pi / box * (turned @ shift))
        return mean_correlation(seen, of_fixed(points), np.rint(_length(points)).astype(int))

    few = points_in_shells(_COARSE_POINTS, _FIRST, min(radius, _COARSE) + 0.499)
    matrices = euler_to_matrix(grids.orientations(_ORDER))
    scores = np.array([compare(few, matrix, centre - target @ matrix) for matrix in matrices])
    points = points_in_shells(_POINTS, _FIRST, radius + 0.499)

    def optimize_from(pose: Pose, points: np.ndarray) -> Pose:
        return climb(lambda *moved: float(compare(points, *moved)), pose)

    starts = [(matrices[index], centre - target @ matrices[index]) for index in _best(scores)]
    rough = [optimize_from(start, few) for start in starts]
    points = points_in_shells(_POINTS, _FIRST, radius + 0.499)
    ranked = sorted(rough, key=lambda pose: -float(compare(few, *pose)))
    fine = [optimize_from(pose, points) for pose in ranked[:_FINALISTS]]
    rotation, shift = max(fine, key=lambda pose: float(compare(points, *pose)))
    return Superposition(rotation, shift, mirrored, float(compare(points, rotation, shift)))


def _best(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, kind="stable")[:_CANDIDATES]


def climb(score: Callable[..., float], start: Pose) -> Pose:
    """Turn and move from a start to where a score is highest (BFGS, numerical gradient).

    Parameters
    ----------
    score : callable
        Of a rotation (3, 3) and a shift (3,).
    start : tuple of (3, 3) and (3,) ndarray

    Returns
    -------
    tuple of (3, 3) and (3,) ndarray
    """
    rotation, shift = start

    def pose(x: np.ndarray) -> Pose:
        turn = rotation_vector_to_matrix(x[None, :3])[0]
        return rotation @ turn, shift + _SHIFT_UNIT * x[3:]

    def cost(x: np.ndarray) -> float:
        return -score(*pose(x))

    found = optimize.minimize(
        cost,
        np.zeros(6),
        method="BFGS",
        options={"gtol": 1e-3, "eps": 1e-4, "maxiter": 40},
    )
    return pose(found.x)


def centre_of_mass(volume: np.ndarray) -> np.ndarray:
    """Find the centre of mass of what is dense in a map.

    Parameters
    ----------
    volume : (N, N, N) ndarray
        Particle positive.

    Returns
    -------
    (3,) ndarray of float64
        x, y, z, pixels from the centre N // 2. Voxels above a tenth of the largest value count.
    """
    dense = np.maximum(np.asarray(volume, np.float64) - 0.1 * float(volume.max()), 0.0)
    axis = np.arange(len(dense)) - len(dense) // 2
    weight = dense.sum()
    along = (dense.sum((0, 1)), dense.sum((0, 2)), dense.sum((1, 2)))
    return np.array([profile @ axis for profile in along]) / max(weight, 1e-300)


def mirror_volume(volume: np.ndarray) -> np.ndarray:
    """Mirror a map [z, y, x] at the plane z = N // 2."""
    turned = volume[::-1]
    return np.roll(turned, 1, axis=0) if len(volume) % 2 == 0 else turned


def turn_volume(volume: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Read a map in another frame, by cubic splines.

    Parameters
    ----------
    volume : (N, N, N) ndarray
        [z, y, x]
    rotation : (3, 3) ndarray
    shift : (3,) ndarray
        x, y, z, pixels.

    Returns
    -------
    (N, N, N) ndarray of float32
        At x (a row of x, y, z from the centre) the value at `x @ rotation + shift`; zero where
        that is outside.
    """
    centre = np.full(3, len(volume) // 2)
    indices = rotation.T[::-1, ::-1]
    offset = centre - indices @ centre + shift[::-1]
    return np.asarray(
        ndimage.affine_transform(np.asarray(volume, np.float32), indices, offset=offset)
    )


def _length(points: np.ndarray) -> np.ndarray:
    return np.sqrt((points**2).sum(axis=-1))
