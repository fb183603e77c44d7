"""Point groups: their operators, equivalent poses, symmetrised maps.

The settings of the axes are RELION's: Cn has its axis on z; Dn the n-fold on z and a twofold on
x; T a threefold on z and a twofold on (0, √2, 1); O its fourfolds on x, y, z. The four
icosahedral settings are I1 (twofolds on x, y, z, a fivefold in the plane of y and z), I2
(twofolds on x, y, z, a fivefold in the plane of x and z), I3 and I4 (a fivefold on z, a twofold
on y, the next fivefold on (2, 0, -1) and on (2, 0, 1)). A bare I is I2, as RELION reads it.

With the matrix `A` of a pose (`hpdp_dask.numerics.rotations`) and the operators S of the
particle's group, the poses `A @ S` all give the same image: the slice is read at the row vector
`(x, y, 0) @ A @ S`, where a symmetric volume has the value that it has at `(x, y, 0) @ A`.
Reference for the groups: Heymann, Chagoyen & Belnap 2005, J. Struct. Biol. 151, 196.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial.transform import Rotation

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.rotations import angular_distance

_GOLDEN = (1.0 + np.sqrt(5.0)) / 2.0

#: Two rotations that generate each polyhedral group: the order and the axis (x, y, z) of each.
_GENERATORS = {
    "T": ((3, (0.0, 0.0, 1.0)), (2, (0.0, np.sqrt(2.0), 1.0))),
    "O": ((4, (0.0, 0.0, 1.0)), (3, (1.0, 1.0, 1.0))),
    "I1": ((2, (0.0, 0.0, 1.0)), (5, (0.0, 1.0, _GOLDEN))),
    "I2": ((2, (0.0, 0.0, 1.0)), (5, (1.0, 0.0, _GOLDEN))),
    "I3": ((5, (0.0, 0.0, 1.0)), (5, (2.0, 0.0, -1.0))),
    "I4": ((5, (0.0, 0.0, 1.0)), (5, (2.0, 0.0, 1.0))),
}


def point_group(name: str) -> np.ndarray:
    """Give the rotations of a point group.

    Parameters
    ----------
    name : str
        C1 to C99, D1 to D99, T, O, I1, I2, I3, I4 or I (which is I2), in either case.

    Returns
    -------
    (n, 3, 3) ndarray of float64
        Rotation matrices on column vectors (x, y, z), the identity first. Entries that are 0, 1
        or -1 are so exactly.

    Raises
    ------
    InputError
        If there is no such group.
    """
    group = name.strip().upper()
    axial = re.fullmatch(r"([CD])([1-9][0-9]?)", group)
    if axial:
        operators = _rotations(int(axial[2]), (0.0, 0.0, 1.0))
        if axial[1] == "D":
            operators = np.concatenate([operators, operators @ np.diag([1.0, -1.0, -1.0])])
    elif group in _GENERATORS or group == "I":
        operators = _closure(_GENERATORS["I2" if group == "I" else group])
    else:
        raise InputError(
            f"There is no point group {name!r}; give one of C1 to C99, D1 to D99, T, O, I1, I2, "
            "I3, I4, or I for I2."
        )
    whole = np.rint(operators)
    return np.where(np.abs(operators - whole) < 1e-12, whole, operators) + 0.0  # no -0


def _rotations(order: int, axis: tuple[float, float, float]) -> np.ndarray:
    """Give all rotations about an n-fold axis, (n, 3, 3), the identity first."""
    unit = np.asarray(axis) / np.linalg.norm(axis)
    angles = 2.0 * np.pi * np.arange(order) / order
    return np.asarray(Rotation.from_rotvec(angles[:, None] * unit).as_matrix())


def _closure(generators: tuple[tuple[int, tuple[float, float, float]], ...]) -> np.ndarray:
    """Multiply the rotations about the given axes until no new one comes out."""
    steps = [_rotations(order, axis)[1] for order, axis in generators]
    found = [np.eye(3)]
    for operator in found:  # grows while it is walked through
        for step in steps:
            product = operator @ step
            if not any(np.allclose(product, known, atol=1e-6) for known in found):
                found.append(product)
    return np.stack(found)


def asymmetric_unit(matrices: ArrayLike, operators: np.ndarray) -> np.ndarray:
    """Turn poses into the equivalent ones that are nearest to no rotation at all.

    Parameters
    ----------
    matrices : (..., 3, 3) array_like
        Poses A.
    operators : (n, 3, 3) ndarray
        Of the particle's group.

    Returns
    -------
    (..., 3, 3) ndarray of float64
        The `A @ S` of the smallest rotation angle. Equivalent poses give the same matrix, but
        for those on the border of the unit, where two are equally near.
    """
    poses = np.asarray(matrices, dtype=np.float64)
    # The trace of a rotation matrix falls with its angle.
    traces = poses.reshape(-1, 9) @ np.swapaxes(operators, -1, -2).reshape(-1, 9).T
    nearest = traces.argmax(axis=-1).reshape(poses.shape[:-2])
    return np.asarray(poses @ operators[nearest])


def symmetry_distance(a: ArrayLike, b: ArrayLike, operators: np.ndarray) -> np.ndarray:
    """Measure the angle between two poses of a symmetric particle.

    Parameters
    ----------
    a, b : (..., 3, 3) array_like
        Poses; they broadcast.
    operators : (n, 3, 3) ndarray
        Of the particle's group.

    Returns
    -------
    (...) ndarray of float64
        Degrees: the smallest angular distance of `a @ S` from `b` over the group.
    """
    a = np.asarray(a, dtype=np.float64)
    distance = angular_distance(a, b)
    for operator in operators[1:]:
        distance = np.minimum(distance, angular_distance(a @ operator, b))
    return distance


def symmetrize(volume: np.ndarray, operators: np.ndarray) -> np.ndarray:
    """Average a map over a point group.

    Operators that only exchange and turn around axes move voxels without interpolation; the
    others go through cubic splines, with zero outside the box. In an even box the planes of
    index 0, which have no mates, stay where they are.

    Parameters
    ----------
    volume : (n, n, n) ndarray
        Map [z, y, x] with its centre at the voxel n//2.
    operators : (k, 3, 3) ndarray
        Of the particle's group.

    Returns
    -------
    (n, n, n) ndarray of float32
    """
    total = np.zeros(volume.shape, dtype=np.float64)
    smooth = None
    for operator in operators:
        indices = operator[::-1, ::-1]  # from (x, y, z) to [z, y, x]
        if np.array_equal(indices, np.rint(indices)):
            total += _permute(volume, indices.astype(int))
            continue
        if smooth is None:
            smooth = ndimage.spline_filter(volume, output=np.float32)
        centre = np.array(volume.shape) // 2
        total += ndimage.affine_transform(
            smooth, indices, offset=centre - indices @ centre, prefilter=False
        )
    return (total / len(operators)).astype(np.float32)


def _permute(volume: np.ndarray, operator: np.ndarray) -> np.ndarray:
    """Read a map at the indices that a signed permutation about n//2 gives, modulo n."""
    along = np.abs(operator).argmax(axis=1)  # the output axis that each input axis runs along
    signs = operator[np.arange(3), along]
    moved = np.transpose(volume, np.argsort(along))
    for axis in along[signs < 0]:
        # i -> -i about n//2: turned around, and for an even box rolled by the voxel without mate
        moved = np.roll(np.flip(moved, axis), 1 - volume.shape[axis] % 2, axis)
    return moved
