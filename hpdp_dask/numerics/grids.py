"""Grids of directions, orientations and shifts: how finely, where, and how they are refined.

A grid of the order o has the step of RELION, 360° / (6 · 2^o): 60, 30, 15, 7.5, 3.75, ... Its
directions are the centres of the 12 · 4^o equal areas of HEALPix (Górski et al. 2005,
Astrophys. J. 622, 759), numbered in the nested scheme, the longitude being rot and the colatitude
tilt; with each go the 6 · 2^o in-plane angles psi = (k + 1/2) steps. The orientation of the
direction d and the in-plane angle k has the index `d * 6 * 2**order + k`. A grid so made is
uniform over the rotations (Yershova et al. 2010, Int. J. Robot. Res. 29, 801), and the grid of
the next order is that of the children: 8 of them cut the cell of each orientation.

To move the whole grid, a rotation R (`random_perturbation`) is multiplied from the right to the
matrices of the orientations, `A @ R`, which keeps the in-plane angles of a direction together.
Everything else stays as it is: the neighbours of a pose P in the moved grid are those of
`P @ R.T` in this one, and its asymmetric unit under the operators S is that under `R @ S @ R.T`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from astropy_healpix import healpy
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from hpdp_dask.numerics.rotations import euler_to_matrix, rotation_vector_to_matrix

#: The longest arc at the particle's rim between two orientations, in units of the resolution;
#: RELION's value for volumes (it takes 1.5 for two-dimensional classes).
ARC_PER_RESOLUTION = 1.2


def angular_step(order: int) -> float:
    """Give the step of a grid, degrees: 60 at the order 0, half of it at each next order."""
    return 60.0 / 2**order


def order_for(resolution: float, diameter: float, arc: float = ARC_PER_RESOLUTION) -> int:
    """Find the coarsest grid that is fine enough for a resolution.

    Parameters
    ----------
    resolution : float
        Å.
    diameter : float
        Of the particle, Å.
    arc : float
        The longest arc that one step may take at the particle's rim, in units of the resolution.

    Returns
    -------
    int
        The smallest order whose step is an arc of at most `arc * resolution`.
    """
    arc_of_order_0 = np.pi * diameter / 6.0
    return max(0, int(np.ceil(np.log2(arc_of_order_0 / (arc * resolution)) - 1e-9)))


def resolution_for(order: int, diameter: float, arc: float = ARC_PER_RESOLUTION) -> float:
    """Give the finest resolution, Å, that a grid is fine enough for; see `order_for`."""
    return np.pi * diameter * angular_step(order) / 360.0 / arc


def directions(order: int, indices: ArrayLike | None = None) -> np.ndarray:
    """Give the directions of a grid.

    Parameters
    ----------
    order : int
    indices : (n,) array_like of int, optional
        Of directions; by default all 12 · 4^order.

    Returns
    -------
    (n, 2) ndarray of float64
        rot in [0, 360) and tilt, degrees.
    """
    chosen = np.arange(12 * 4**order) if indices is None else np.asarray(indices)
    colatitude, longitude = healpy.pix2ang(2**order, chosen, nest=True)
    return np.degrees(np.stack([longitude, colatitude], axis=-1))


def in_plane_angles(order: int) -> np.ndarray:
    """Give psi of the 6 · 2^order in-plane angles of a grid, degrees, in (0, 360)."""
    return (np.arange(6 * 2**order) + 0.5) * angular_step(order)


def orientations(order: int, indices: ArrayLike | None = None) -> np.ndarray:
    """Give the orientations of a grid.

    Parameters
    ----------
    order : int
    indices : (...) array_like of int, optional
        Of orientations, of any shape; by default all 72 · 8^order.

    Returns
    -------
    (..., 3) ndarray of float64
        rot, tilt, psi in degrees, as `hpdp_dask.numerics.rotations.euler_to_matrix` takes them.
    """
    chosen = np.arange(72 * 8**order) if indices is None else np.asarray(indices)
    direction, in_plane = np.divmod(chosen, 6 * 2**order)
    rot_tilt = directions(order, direction.ravel()).reshape(*chosen.shape, 2)
    return np.concatenate([rot_tilt, in_plane_angles(order)[in_plane][..., None]], axis=-1)


def orientations_along(order: int, indices: ArrayLike) -> np.ndarray:
    """List the orientations that look along some directions.

    Parameters
    ----------
    order : int
    indices : (n,) array_like of int
        Of directions.

    Returns
    -------
    (n, 6 · 2^order) ndarray of int64
        The indices of each direction's orientations, by in-plane angle.
    """
    in_plane = 6 * 2**order
    return np.asarray(indices, dtype=np.int64)[:, None] * in_plane + np.arange(in_plane)


def children(order: int, indices: ArrayLike) -> np.ndarray:
    """List the orientations of the next order that lie in the cells of some of this one.

    Parameters
    ----------
    order : int
        Of the parents.
    indices : (...) array_like of int
        Of orientations.

    Returns
    -------
    (..., 8) ndarray of int64
        Indices in the grid of `order + 1`: 4 directions times 2 in-plane angles, a quarter of a
        step from the parent's angle. Each orientation has one parent.
    """
    in_plane = 6 * 2**order
    direction, angle = np.divmod(np.asarray(indices, dtype=np.int64)[..., None], in_plane)
    fourth, half = np.divmod(np.arange(8), 2)
    return (4 * direction + fourth) * 2 * in_plane + 2 * angle + half


def shifts_on_disc(radius: float, step: float) -> np.ndarray:
    """Give the points of a square grid on a disc about no shift.

    Parameters
    ----------
    radius : float
        The longest shift, in Å, as all shifts of this package are, or any other unit of length.
    step : float
        Distance of neighbours along x and y, in the same unit.

    Returns
    -------
    (n, 2) ndarray of float64
        x, y in the unit of the arguments, among them (0, 0). The squares about them, of one step,
        cover at least the disc of `radius - step / sqrt(2)`.
    """
    number = int(radius / step + 1e-6)
    axis = np.arange(-number, number + 1) * step
    shifts = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return shifts[np.hypot(*shifts.T) <= radius + 1e-6 * step]


def shift_children(shifts: ArrayLike, step: float) -> np.ndarray:
    """Cut the squares about shifts in four.

    Parameters
    ----------
    shifts : (..., 2) array_like
        x, y of the parents.
    step : float
        Of the parents' grid, in the unit of the shifts.

    Returns
    -------
    (..., 4, 2) ndarray of float64
        The centres of the quarters; their step is `step / 2`.
    """
    quarter = step / 4.0 * np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])
    return np.asarray(shifts, dtype=np.float64)[..., None, :] + quarter


def random_perturbation(order: int, seed: int | np.random.Generator) -> np.ndarray:
    """Draw a rotation that moves a grid by at most half a step.

    Parameters
    ----------
    order : int
    seed : int or numpy.random.Generator

    Returns
    -------
    (3, 3) ndarray of float64
        R, for `A @ R`. Its rotation vector is uniform in the ball of half a step. A grid is as
        uniform after a rotation as before.
    """
    generator = np.random.default_rng(seed)
    axis = generator.normal(size=3)
    angle = np.radians(angular_step(order) / 2.0) * generator.random() ** (1.0 / 3.0)
    return rotation_vector_to_matrix(angle * axis[None] / np.linalg.norm(axis))[0]


def asymmetric_directions(order: int, operators: np.ndarray) -> np.ndarray:
    """Choose directions of a grid that, with their symmetry mates, stand for all.

    The unit is the part of the sphere that is nearer to one point than to the point's mates. The
    directions in it are taken and, where the group does not map the grid onto itself and cells
    leave gaps along the border, those that fill the gaps.

    Parameters
    ----------
    order : int
    operators : (g, 3, 3) ndarray
        Of the particle's group, the identity first; the mates of a row vector d are `d @ S`.

    Returns
    -------
    (n,) ndarray of int64
        Indices in ascending order: 12 · 4^order / g and some along the border. Every direction or
        a mate of it is in the cell of one of them, but for slivers below a sixteenth of a cell;
        only along the border are two of them mates.
    """
    mates = operators @ _roundest_centre(operators)

    def lag(vectors: np.ndarray) -> np.ndarray:
        """Give the cosine to the nearest of all mates less that to the centre: 0 in the unit."""
        nearness = vectors @ mates.T
        return np.asarray(nearness.max(axis=1) - nearness[:, 0])

    behind = lag(_unit_vectors(order))
    chosen = behind < 1e-9  # on a symmetry axis a direction is its own mate, to rounding

    # Corners are at most 1.02 steps from the centre of a cell and the lag changes by at most 2 a
    # radian, so farther cells do not reach into the unit.
    crossing = np.flatnonzero(~chosen & (behind < 2.04 * np.radians(angular_step(order))))
    parts = _unit_vectors(order + 2, (16 * crossing[:, None] + np.arange(16)).ravel())
    parts = parts[lag(parts) == 0.0]
    x, y, z = np.moveaxis(parts @ operators, -1, 0)
    cells = healpy.vec2pix(2**order, x, y, z, nest=True).T  # of each part and each of its mates
    cells = cells[~chosen[cells].any(axis=1)]
    while len(cells):
        fullest = np.bincount(cells[:, 0]).argmax()
        chosen[fullest] = True
        cells = cells[(cells != fullest).all(axis=1)]
    return np.flatnonzero(chosen)


def _roundest_centre(operators: np.ndarray) -> np.ndarray:
    """Give the point on the sphere, of many, that is farthest from its nearest mate.

    Random points are in no special position, so no direction of a grid is on the unit's border.
    """
    points = np.random.default_rng(0).normal(size=(2000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    cosines = np.sum(points @ operators[1:] * points, axis=-1)
    return np.asarray(points[cosines.max(axis=0, initial=-1.0).argmin()])


def neighbours(order: int, poses: ArrayLike, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """List the orientations of a grid near poses.

    For a direction at the angle b from that of the pose, the trace of the rotation between them is
    (1 + cos b) cos(psi - psi0) + cos b, so the in-plane angles near enough are one interval.

    Parameters
    ----------
    order : int
    poses : (n, 3, 3) array_like
        Matrices A.
    radius : float
        The largest angular distance, degrees, below 180. No pose is farther than 0.94 steps from
        the nearest orientation.

    Returns
    -------
    indices : (m,) ndarray of int64
        Of orientations; those of the first pose first.
    starts : (n + 1,) ndarray of int64
        Those of pose i are `indices[starts[i] : starts[i + 1]]`.

    Raises
    ------
    ValueError
        If the radius is not in (0, 180).
    """
    if not 0.0 < radius < 180.0:
        raise ValueError(f"the radius must be between 0 and 180 degrees, not {radius}")
    matrices = np.asarray(poses, dtype=np.float64)
    chord = 2.0 * np.sin(np.radians(radius) / 2.0)
    pairs = KDTree(matrices[:, 2]).sparse_distance_matrix(
        _tree_of_directions(order), chord, output_type="ndarray"
    )
    pairs = pairs[np.lexsort((pairs["j"], pairs["i"]))]
    pose, direction = pairs["i"].astype(np.int64), pairs["j"].astype(np.int64)

    at_psi_0 = euler_to_matrix(
        np.concatenate([directions(order, direction), np.zeros((len(pairs), 1))], axis=1)
    )
    turn = at_psi_0 @ np.swapaxes(matrices[pose], -1, -2)
    best = np.degrees(np.arctan2(turn[:, 1, 0] - turn[:, 0, 1], turn[:, 0, 0] + turn[:, 1, 1]))
    cosine = turn[:, 2, 2]
    limit = (1.0 + 2.0 * np.cos(np.radians(radius)) - cosine) / (1.0 + cosine)
    reach = np.degrees(np.arccos(np.clip(limit, -1.0, 1.0)))

    step, in_plane = angular_step(order), 6 * 2**order
    first = np.ceil((best - reach) / step - 0.5).astype(np.int64)
    last = np.floor((best + reach) / step - 0.5).astype(np.int64)
    number = np.clip(last - first + 1, 0, in_plane)

    ends = np.cumsum(number)
    along = np.arange(number.sum()) - np.repeat(ends - number, number)
    angle = (np.repeat(first, number) + along) % in_plane
    per_pose = np.bincount(pose, weights=number, minlength=len(matrices)).astype(np.int64)
    indices = np.repeat(direction, number) * in_plane + angle
    return indices, np.concatenate([[0], np.cumsum(per_pose)])


@lru_cache(maxsize=2)
def _tree_of_directions(order: int) -> KDTree:
    return KDTree(_unit_vectors(order))


def _unit_vectors(order: int, indices: np.ndarray | None = None) -> np.ndarray:
    """Give directions as unit vectors (x, y, z): the last rows of their matrices."""
    rot, tilt = np.radians(directions(order, indices)).T
    return np.stack([np.cos(rot) * np.sin(tilt), np.sin(rot) * np.sin(tilt), np.cos(tilt)], axis=-1)
