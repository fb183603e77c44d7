"""Point groups against RELION's operators, and what every group must obey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.rotations import angular_distance, random_rotations
from hpdp_dask.numerics.symmetry import (
    asymmetric_unit,
    point_group,
    symmetrize,
    symmetry_distance,
)

POLYHEDRAL = {"T": 12, "O": 24, "I": 60, "I1": 60, "I2": 60, "I3": 60, "I4": 60}
names = st.one_of(
    st.builds("C{}".format, st.integers(1, 20)),
    st.builds("D{}".format, st.integers(1, 20)),
    st.sampled_from(sorted(POLYHEDRAL)),
)

# One of each pair of opposite ends of the axes of the operators that RELION 3.1.3 prints
# (relion_refine --sym NAME --print_symmetry_ops --i x --o y).
RELION_AXES = {
    ("D3", 2): [[1, 0, 0], [0.5, 0.866, 0], [0.5, -0.866, 0]],
    ("T", 2): [[0, 0.8165, 0.5774], [0.7071, -0.4082, 0.5774], [0.7071, 0.4082, -0.5774]],
    ("T", 3): [
        [0, 0, 1],
        [0, -0.9428, 0.3333],
        [-0.8165, 0.4714, 0.3333],
        [0.8165, 0.4714, 0.3333],
    ],
    ("O", 4): [[0, 0, 1], [0, 1, 0], [1, 0, 0]],
    ("I1", 5): [
        [0.8507, 0, 0.5257],
        [0.8507, 0, -0.5257],
        [0.5257, 0.8507, 0],
        [0.5257, -0.8507, 0],
        [0, 0.5257, 0.8507],
        [0, -0.5257, 0.8507],
    ],
    ("I2", 5): [
        [0.8507, 0.5257, 0],
        [0.8507, -0.5257, 0],
        [0.5257, 0, 0.8507],
        [0.5257, 0, -0.8507],
        [0, 0.8507, 0.5257],
        [0, 0.8507, -0.5257],
    ],
    ("I3", 5): [
        [0, 0, 1],
        [-0.8944, 0, 0.4472],
        [-0.2764, 0.8507, 0.4472],
        [-0.2764, -0.8507, 0.4472],
        [0.7236, 0.5257, 0.4472],
        [0.7236, -0.5257, 0.4472],
    ],
    ("I4", 5): [
        [0, 0, 1],
        [0.8944, 0, 0.4472],
        [0.2764, 0.8507, 0.4472],
        [0.2764, -0.8507, 0.4472],
        [-0.7236, 0.5257, 0.4472],
        [-0.7236, -0.5257, 0.4472],
    ],
}

RELION_T = [
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[-0.5, 0.86602539, 0], [-0.86602539, -0.5, 0], [0, 0, 1]],
    [[-0.5, -0.86602539, 0], [0.86602539, -0.5, 0], [0, 0, 1]],
    [[-1, 0, 0], [0, 0.33333, 0.94281], [0, 0.94281, -0.33333]],
    [[0.5, 0.28867, 0.8165], [0.86603, -0.16667, -0.4714], [0, 0.94281, -0.33333]],
    [[0.5, -0.28867, -0.8165], [-0.86603, -0.16667, -0.4714], [0, 0.94281, -0.33333]],
    [[0.5, 0.86603, 0], [0.28867, -0.16667, 0.94281], [0.8165, -0.4714, -0.33333]],
    [[0.5, -0.86603, 0], [-0.28867, -0.16667, 0.94281], [-0.8165, -0.4714, -0.33333]],
    [[-0.5, -0.28867, -0.8165], [0.28867, 0.83333, -0.4714], [0.8165, -0.4714, -0.33333]],
    [[0, -0.57735, 0.8165], [-0.57735, -0.66667, -0.4714], [0.8165, -0.4714, -0.33333]],
    [[-0.5, 0.28868, 0.8165], [-0.28868, 0.83333, -0.4714], [-0.8165, -0.4714, -0.33333]],
    [[0, 0.57735, -0.8165], [0.57735, -0.66667, -0.4714], [-0.8165, -0.4714, -0.33333]],
]


def nearest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Largest difference of each matrix of `a` from the nearest of `b`."""
    return np.abs(a[:, None] - b).max(axis=(-2, -1)).min(axis=1)


@given(names)
@settings(deadline=None)
def test_a_group_is_a_group(name: str) -> None:
    operators = point_group(name)
    order = POLYHEDRAL.get(name) or int(name[1:]) * {"C": 1, "D": 2}[name[0]]
    assert operators.shape == (order, 3, 3)
    np.testing.assert_array_equal(operators[0], np.eye(3))
    np.testing.assert_allclose(
        operators @ operators.swapaxes(1, 2), [np.eye(3)] * order, atol=1e-13
    )
    np.testing.assert_allclose(np.linalg.det(operators), 1.0, atol=1e-13)
    products = (operators[:, None] @ operators).reshape(-1, 3, 3)
    assert nearest(products, operators).max() < 1e-12
    assert nearest(np.linalg.inv(operators), operators).max() < 1e-12
    apart = np.abs(operators[:, None] - operators).max(axis=(-2, -1)) + np.eye(order)
    assert apart.min() > 1e-3  # no operator twice


@pytest.mark.parametrize(("name", "fold"), sorted(RELION_AXES))
def test_axes_are_relions(name: str, fold: int) -> None:
    vectors = Rotation.from_matrix(point_group(name)).as_rotvec(degrees=True)
    angles = np.linalg.norm(vectors, axis=1)
    turns = np.abs(angles - 360.0 / fold) < 1e-6
    axes = vectors[turns] / angles[turns, None]
    # A turn by 180 degrees has one axis vector, any other two opposite ones.
    expected = np.array(RELION_AXES[name, fold])
    assert len(axes) == len(expected) * (1 if fold == 2 else 2)
    assert (np.abs(axes @ expected.T).max(axis=1) > 0.9999).all()
    assert (np.abs(axes @ expected.T).max(axis=0) > 0.9999).all()


def test_tetrahedral_operators_are_relions() -> None:
    assert nearest(np.array(RELION_T), point_group("T")).max() < 1e-5


def test_names_are_read_in_either_case() -> None:
    np.testing.assert_array_equal(point_group(" d7 "), point_group("D7"))
    np.testing.assert_array_equal(point_group("i"), point_group("I2"))  # as RELION reads it


def test_axial_groups_turn_about_z_and_x() -> None:
    np.testing.assert_array_equal(point_group("C4")[1], [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(point_group("D1")[1], np.diag([1, -1, -1]))


@pytest.mark.parametrize(
    "name", ["", "C0", "D-1", "X7", "C", "D", "C1.5", "C100", "I5", "Oh", "C03"]
)
def test_impossible_groups_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"C1 to C99, D1 to D99, T, O, I1, I2, I3, I4"):
        point_group(name)


@given(names, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_equivalent_poses_share_one_representative(name: str, seed: int) -> None:
    operators = point_group(name)
    poses = random_rotations(5, seed)
    unit = asymmetric_unit(poses, operators)
    assert angular_distance(unit, np.eye(3)) == pytest.approx(
        angular_distance(poses[:, None] @ operators, np.eye(3)).min(axis=1), abs=1e-9
    )
    np.testing.assert_allclose(symmetry_distance(unit, poses, operators), 0.0, atol=1e-9)
    other = poses @ operators[seed % len(operators)]
    np.testing.assert_allclose(asymmetric_unit(other, operators), unit, atol=1e-9)
    np.testing.assert_allclose(symmetry_distance(other, poses, operators), 0.0, atol=1e-9)


@given(names, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_symmetry_distance_is_the_smallest_of_all(name: str, seed: int) -> None:
    operators = point_group(name)
    a, b = random_rotations(2, seed)
    both = angular_distance((a @ operators)[:, None], b @ operators)
    assert float(symmetry_distance(a, b, operators)) == pytest.approx(both.min(), abs=1e-9)
    assert float(symmetry_distance(b, a, operators)) == pytest.approx(both.min(), abs=1e-9)


def test_shapes_of_poses_broadcast() -> None:
    operators = point_group("D2")
    poses = random_rotations(6, 0).reshape(2, 3, 3, 3)
    assert asymmetric_unit(poses, operators).shape == (2, 3, 3, 3)
    assert asymmetric_unit(poses[0, 0], operators).shape == (3, 3)
    assert symmetry_distance(poses[:, None], poses, operators).shape == (2, 2, 3)


@pytest.mark.parametrize("name", ["C3", "D5", "T", "O", "I1", "I3"])
def test_equivalent_poses_give_one_image(name: str) -> None:
    """Atoms of a symmetric particle are projected to the same places by A and by A @ S."""
    operators = point_group(name)
    atoms = operators @ np.array([3.0, 5.0, 11.0])  # one in the unit and its mates, (x, y, z)
    pose = random_rotations(1, 4)[0]

    def image(matrix: np.ndarray) -> np.ndarray:
        places = (atoms @ matrix.T)[:, :2]  # x, y of each atom in the image's frame
        frequencies = np.random.default_rng(0).normal(0.0, 0.1, (50, 2))
        return np.exp(-2j * np.pi * frequencies @ places.T).sum(axis=1)

    for operator in operators:
        np.testing.assert_allclose(image(pose @ operator), image(pose), atol=1e-9)
    assert np.abs(image(operators[2] @ pose) - image(pose)).max() > 1.0  # the order matters


def blobs(box: int, places: np.ndarray, width: float) -> np.ndarray:
    """Gaussians at places (x, y, z) from the centre box//2, [z, y, x]."""
    axis = np.arange(box) - box // 2
    volume = np.zeros((box,) * 3)
    for place in places:
        x, y, z = (np.exp(-((axis - c) ** 2) / (2.0 * width**2)) for c in place)
        volume += z[:, None, None] * y[:, None] * x
    return volume.astype(np.float32)


@pytest.mark.parametrize("box", [32, 33])
@pytest.mark.parametrize("name", ["C1", "C2", "C3", "C4", "D2", "D3", "T", "O", "I1", "I4"])
def test_symmetrize_spreads_a_blob_over_its_mates(name: str, box: int) -> None:
    operators = point_group(name)
    place = np.array([3.0, 5.0, 7.0])
    one = blobs(box, place[None], 2.0)
    expected = blobs(box, operators @ place, 2.0) / len(operators)
    np.testing.assert_allclose(symmetrize(one, operators), expected, atol=2e-3 * expected.max())


@pytest.mark.parametrize("box", [8, 9])
@pytest.mark.parametrize("name", ["C2", "C4", "D2", "D4", "O"])
def test_symmetrize_is_exact_where_axes_map_to_axes(name: str, box: int) -> None:
    operators = point_group(name)
    volume = np.random.default_rng(1).normal(size=(box,) * 3).astype(np.float32)
    symmetric = symmetrize(volume, operators)
    offsets = np.indices(volume.shape).reshape(3, -1).T - box // 2  # z, y, x
    expected = np.zeros(volume.size)
    for operator in operators.astype(int):
        z, y, x = ((offsets[:, ::-1] @ operator.T)[:, ::-1] + box // 2).T % box
        expected += volume[z, y, x]
    np.testing.assert_allclose(symmetric.ravel(), expected / len(operators), atol=1e-6)
    np.testing.assert_allclose(symmetrize(symmetric, operators), symmetric, atol=1e-6)
