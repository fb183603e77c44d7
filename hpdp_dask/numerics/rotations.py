"""Rotations: RELION's Euler angles, matrices, quaternions, and the distance between two.

The matrix `A` of the angles (rot, tilt, psi) is RELION's `Euler_angles2matrix`: it takes
coordinates of the particle's frame to the frame of the image. The Fourier transform of the
projection at the frequency (x, y) is that of the volume at the row vector `(x, y, 0) @ A`,
written (x, y, z); volumes are indexed [z, y, x].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation


def euler_to_matrix(euler_angles: ArrayLike) -> np.ndarray:
    """Turn RELION's Euler angles into matrices.

    Parameters
    ----------
    euler_angles : (..., 3) array_like
        rot, tilt, psi in degrees, the intrinsic ZYZ convention of RELION (Heymann, Chagoyen &
        Belnap 2005, J. Struct. Biol. 151, 196).

    Returns
    -------
    (..., 3, 3) ndarray of float64
        `A`, from the particle's frame to the frame of the image.
    """
    angles = np.asarray(euler_angles, dtype=np.float64)
    turned = Rotation.from_euler("ZYZ", angles.reshape(-1, 3), degrees=True)
    return np.swapaxes(turned.as_matrix(), -1, -2).reshape(*angles.shape[:-1], 3, 3)


def matrix_to_euler(matrices: ArrayLike) -> np.ndarray:
    """Turn matrices into RELION's Euler angles, the inverse of `euler_to_matrix`.

    At tilt 0 or 180 only one combination of rot and psi is fixed; psi is 0 there.

    Parameters
    ----------
    matrices : (..., 3, 3) array_like
        From the particle's frame to the frame of the image.

    Returns
    -------
    (..., 3) ndarray of float64
        rot, tilt, psi in degrees; rot and psi in [-180, 180], tilt in [0, 180].
    """
    a = np.asarray(matrices, dtype=np.float64)
    in_plane = np.hypot(a[..., 2, 0], a[..., 2, 1])
    tilt = np.arctan2(in_plane, a[..., 2, 2])
    gimbal = in_plane < 1e-8
    rot = np.where(
        gimbal,
        np.arctan2(np.sign(a[..., 2, 2]) * a[..., 0, 1], np.sign(a[..., 2, 2]) * a[..., 0, 0]),
        np.arctan2(a[..., 2, 1], a[..., 2, 0]),
    )
    psi = np.where(gimbal, 0.0, np.arctan2(a[..., 1, 2], -a[..., 0, 2]))
    return np.degrees(np.stack([rot, tilt, psi], axis=-1))


def rotation_vector_to_matrix(vectors: ArrayLike) -> np.ndarray:
    """Turn rotation vectors (axis times angle in radians) into matrices by Rodrigues' formula.

    Parameters
    ----------
    vectors : (n, 3) array_like
        Axis times angle, radians.

    Returns
    -------
    (n, 3, 3) ndarray of float64
    """
    return np.asarray(Rotation.from_rotvec(np.asarray(vectors, dtype=np.float64)).as_matrix())


def matrix_to_rotation_vector(matrices: ArrayLike) -> np.ndarray:
    """Turn (n, 3, 3) matrices into (n, 3) rotation vectors, radians."""
    return np.asarray(Rotation.from_matrix(np.asarray(matrices, dtype=np.float64)).as_rotvec())


def quaternion_to_matrix(quaternions: ArrayLike) -> np.ndarray:
    """Turn (n, 4) unit quaternions, scalar first, into (n, 3, 3) matrices."""
    q = np.asarray(quaternions, dtype=np.float64)
    return np.asarray(Rotation.from_quat(q, scalar_first=True).as_matrix())


def matrix_to_quaternion(matrices: ArrayLike) -> np.ndarray:
    """Turn (n, 3, 3) matrices into (n, 4) unit quaternions, scalar first and not negative."""
    turned = Rotation.from_matrix(np.asarray(matrices, dtype=np.float64))
    return np.asarray(turned.as_quat(canonical=True, scalar_first=True))


def angular_distance(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Measure the angle of the rotation between matrices.

    Parameters
    ----------
    a, b : (..., 3, 3) array_like
        Rotation matrices; they broadcast.

    Returns
    -------
    (...) ndarray of float64
        Degrees, from 0 to 180. Right down to rounding at both ends: it comes from the sine and
        the cosine of the angle, not from the arc cosine of the trace.
    """
    turn = np.asarray(a, dtype=np.float64) @ np.swapaxes(np.asarray(b, dtype=np.float64), -1, -2)
    twice_sine = np.sqrt(
        (turn[..., 2, 1] - turn[..., 1, 2]) ** 2
        + (turn[..., 0, 2] - turn[..., 2, 0]) ** 2
        + (turn[..., 1, 0] - turn[..., 0, 1]) ** 2
    )
    twice_cosine = np.trace(turn, axis1=-2, axis2=-1) - 1.0
    return np.asarray(np.degrees(np.arctan2(twice_sine, twice_cosine)))


def random_rotations(number: int, seed: int | np.random.Generator) -> np.ndarray:
    """Draw rotations uniformly over SO(3): (number, 3, 3) float64 matrices."""
    return np.asarray(Rotation.random(number, rng=np.random.default_rng(seed)).as_matrix())
