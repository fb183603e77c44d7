"""Rotations against explicit sines and cosines, and their inverses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpdp_dask.numerics.rotations import (
    angular_distance,
    euler_to_matrix,
    matrix_to_euler,
    matrix_to_quaternion,
    matrix_to_rotation_vector,
    quaternion_to_matrix,
    random_rotations,
    rotation_vector_to_matrix,
)

angle = st.floats(-720.0, 720.0)
eulers = st.tuples(angle, angle, angle)
unit_interval = st.floats(-1.0, 1.0)
vectors = arrays(np.float64, 3, elements=unit_interval).filter(lambda v: np.linalg.norm(v) > 1e-3)


def explicit_matrix(rot: float, tilt: float, psi: float) -> np.ndarray:
    """The matrix of the Euler angles written out, R_z(psi) R_y(tilt) R_z(rot) of the axes."""
    (sr, st_, sp), (cr, ct, cp) = (
        np.sin(np.radians([rot, tilt, psi])),
        np.cos(np.radians([rot, tilt, psi])),
    )
    return np.array(
        [
            [cp * ct * cr - sp * sr, cp * ct * sr + sp * cr, -cp * st_],
            [-sp * ct * cr - cp * sr, -sp * ct * sr + cp * cr, sp * st_],
            [st_ * cr, st_ * sr, ct],
        ]
    )


@given(eulers)
@settings(deadline=None)
def test_euler_matrix_is_the_written_out_one(angles: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(euler_to_matrix(angles), explicit_matrix(*angles), atol=1e-12)


def test_euler_matrix_keeps_leading_axes() -> None:
    angles = np.random.default_rng(0).uniform(-180, 180, (2, 5, 3))
    matrices = euler_to_matrix(angles)
    assert matrices.shape == (2, 5, 3, 3)
    np.testing.assert_allclose(matrices[1, 3], explicit_matrix(*angles[1, 3]), atol=1e-13)
    assert euler_to_matrix(np.empty((0, 3))).shape == (0, 3, 3)


@given(eulers)
@settings(deadline=None)
def test_matrix_to_euler_inverts(angles: tuple[float, float, float]) -> None:
    back = matrix_to_euler(euler_to_matrix(angles))
    assert 0.0 <= back[1] <= 180.0
    assert np.all(np.abs(back[[0, 2]]) <= 180.0)
    np.testing.assert_allclose(explicit_matrix(*back), explicit_matrix(*angles), atol=5e-8)


@given(angle, st.sampled_from([0.0, 180.0, -180.0, 1e-9, 179.9999999, 1e-6, 180.0 - 1e-6]), angle)
@settings(deadline=None)
def test_matrix_to_euler_at_the_poles(rot: float, tilt: float, psi: float) -> None:
    matrix = explicit_matrix(rot, tilt, psi)
    np.testing.assert_allclose(explicit_matrix(*matrix_to_euler(matrix)), matrix, atol=5e-8)


@given(angle, st.floats(1.0, 179.0), angle)
@settings(deadline=None)
def test_matrix_to_euler_gives_the_angles_back(rot: float, tilt: float, psi: float) -> None:
    back = matrix_to_euler(explicit_matrix(rot, tilt, psi))
    difference = (back - [rot, tilt, psi] + 180.0) % 360.0 - 180.0
    np.testing.assert_allclose(difference, 0.0, atol=1e-9)


@given(vectors)
@settings(deadline=None)
def test_rotation_vectors_follow_rodrigues(vector: np.ndarray) -> None:
    vector = 3.0 * vector / max(1.0, np.linalg.norm(vector))
    theta = np.linalg.norm(vector)
    x, y, z = vector / theta
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    expected = np.eye(3) + np.sin(theta) * cross + (1 - np.cos(theta)) * cross @ cross
    matrix = rotation_vector_to_matrix(vector[None])
    np.testing.assert_allclose(matrix[0], expected, atol=1e-13)
    np.testing.assert_allclose(matrix_to_rotation_vector(matrix)[0], vector, atol=1e-9)


@given(arrays(np.float64, 4, elements=unit_interval).filter(lambda q: np.linalg.norm(q) > 1e-3))
@settings(deadline=None)
def test_quaternions_have_their_scalar_first(quaternion: np.ndarray) -> None:
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    expected = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix = quaternion_to_matrix(np.array([[w, x, y, z]]))
    np.testing.assert_allclose(matrix[0], expected, atol=1e-13)
    back = matrix_to_quaternion(matrix)[0]
    assert back[0] >= 0.0
    assert abs(abs(back @ [w, x, y, z]) - 1.0) < 1e-12


@given(
    eulers,
    st.one_of(st.floats(0.0, 180.0), st.sampled_from([0.0, 1e-9, 1e-6, 90.0, 180.0 - 1e-6, 180.0])),
    vectors,
)
@settings(deadline=None)
def test_angular_distance_is_the_angle_turned(
    angles: tuple[float, float, float], degrees: float, axis: np.ndarray
) -> None:
    turn = rotation_vector_to_matrix((np.radians(degrees) * axis / np.linalg.norm(axis))[None])[0]
    a = euler_to_matrix(angles)
    assert abs(float(angular_distance(a, turn @ a)) - degrees) < 1e-10
    assert abs(float(angular_distance(a @ turn, a)) - degrees) < 1e-10


def test_angular_distance_broadcasts() -> None:
    a, b = random_rotations(4, 0), random_rotations(3, 1)
    distances = angular_distance(a[:, None], b)
    assert distances.shape == (4, 3)
    cosine = (np.einsum("aij,bij->ab", a, b) - 1.0) / 2.0
    np.testing.assert_allclose(distances, np.degrees(np.arccos(cosine)), atol=1e-6)


def test_random_rotations_are_uniform_and_of_the_seed() -> None:
    matrices = random_rotations(4000, 5)
    np.testing.assert_array_equal(matrices, random_rotations(4000, 5))
    np.testing.assert_allclose(np.linalg.det(matrices), 1.0, atol=1e-12)
    np.testing.assert_allclose(matrices.mean(axis=0), 0.0, atol=4.5 / np.sqrt(3 * 4000))
    # Of uniform rotations the angle has the density (1 - cos) / 180 degrees: mean 126.5 degrees.
    mean = np.degrees(np.pi / 2 + 2 / np.pi)
    assert angular_distance(matrices, np.eye(3)).mean() == pytest.approx(mean, abs=2.0)
