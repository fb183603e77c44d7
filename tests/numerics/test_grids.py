"""Grids: counts, how densely and evenly they cover, their refinement, symmetry, neighbours."""

import numpy as np
import pytest
from astropy_healpix import healpy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree, SphericalVoronoi
from scipy.spatial.transform import Rotation

from hpdp_dask.numerics.grids import (
    angular_step,
    asymmetric_directions,
    children,
    directions,
    in_plane_angles,
    neighbours,
    order_for,
    orientations,
    orientations_along,
    random_perturbation,
    resolution_for,
    shift_children,
    shifts_on_disc,
)
from hpdp_dask.numerics.rotations import (
    angular_distance,
    euler_to_matrix,
    matrix_to_rotation_vector,
    random_rotations,
)
from hpdp_dask.numerics.symmetry import point_group

GROUPS = ["C1", "C2", "C3", "C4", "C7", "D2", "D3", "D4", "D7", "T", "O", "I1", "I2", "I3", "I4"]


def unit_vectors(order: int, indices: np.ndarray | None = None) -> np.ndarray:
    """Directions as the last rows of the matrices of their poses."""
    rot_tilt = directions(order, indices)
    return euler_to_matrix(np.pad(rot_tilt, ((0, 0), (0, 1))))[:, 2]


def farthest_direction(order: int) -> float:
    """Degrees from the nearest direction at the worst place: a corner of their Voronoi cells."""
    vectors = unit_vectors(order)
    corners = SphericalVoronoi(vectors).vertices
    return float(np.degrees(2.0 * np.arcsin(KDTree(vectors).query(corners)[0].max() / 2.0)))


def covering_radius(order: int) -> float:
    """What no rotation exceeds: the farthest direction and half a step in plane, put together."""
    tilt, turn = np.radians([farthest_direction(order) / 2.0, angular_step(order) / 4.0])
    return float(np.degrees(2.0 * np.arccos(np.cos(tilt) * np.cos(turn))))


def nearest_distance(grid: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Degrees from each pose to the nearest of the grid, by quaternions."""
    quaternions = Rotation.from_matrix(grid).as_quat()
    tree = KDTree(np.concatenate([quaternions, -quaternions]))
    chord = tree.query(Rotation.from_matrix(poses).as_quat())[0]
    return np.degrees(4.0 * np.arcsin(chord / 2.0))


@pytest.mark.parametrize(("order", "step"), [(0, 60.0), (1, 30.0), (2, 15.0), (3, 7.5), (4, 3.75)])
def test_counts_and_steps_are_relions(order: int, step: float) -> None:
    assert angular_step(order) == step
    assert directions(order).shape == (12 * 4**order, 2)
    angles = in_plane_angles(order)
    assert len(angles) == 360.0 / step
    np.testing.assert_allclose(np.diff(angles), step)
    assert angles[0] + 360.0 - angles[-1] == pytest.approx(step)
    # The side of an equal-area cell is the step to 3 %.
    area = 4.0 * np.pi / len(directions(order))
    assert np.degrees(np.sqrt(area)) == pytest.approx(step, rel=0.03)
    if order < 4:
        assert orientations(order).shape == (72 * 8**order, 3)


def test_directions_of_order_0_are_those_of_the_paper() -> None:
    """Górski et al. 2005, equations 4 and 8: three rings of four at z = 2/3, 0, -2/3."""
    rot, tilt = directions(0).T
    np.testing.assert_allclose(
        np.cos(np.radians(tilt)), np.repeat([2 / 3, 0, -2 / 3], 4), atol=1e-12
    )
    np.testing.assert_allclose(rot, [45, 135, 225, 315, 0, 90, 180, 270, 45, 135, 225, 315])


def test_orientations_are_directions_times_angles() -> None:
    euler = orientations(2).reshape(192, 24, 3)
    np.testing.assert_array_equal(euler[:, 5, :2], directions(2))
    np.testing.assert_array_equal(euler[7, :, 2], in_plane_angles(2))
    some = np.array([[3, 1], [100, 4000]])
    np.testing.assert_array_equal(orientations(2, some), orientations(2)[some])
    np.testing.assert_array_equal(directions(2, [3, 8]), directions(2)[[3, 8]])
    along = orientations_along(2, [3, 8])
    np.testing.assert_array_equal(orientations(2, along), euler[[3, 8]])


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_no_rotation_is_far_from_the_grid(order: int) -> None:
    bound = covering_radius(order)
    assert bound < 0.94 * angular_step(order)
    distance = nearest_distance(euler_to_matrix(orientations(order)), random_rotations(20000, 1))
    assert 0.88 * bound < distance.max() <= bound + 1e-6
    # A cube of one step has a mean distance of 0.48 steps from its centre.
    assert distance.mean() == pytest.approx(0.48 * angular_step(order), rel=0.06)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_orientations_keep_apart(order: int) -> None:
    grid = Rotation.from_matrix(euler_to_matrix(orientations(order))).as_quat()
    chord = KDTree(np.concatenate([grid, -grid])).query(grid, k=2)[0][:, 1]
    assert np.degrees(4.0 * np.arcsin(chord.min() / 2.0)) > 0.6 * angular_step(order)


def test_grid_is_uniform() -> None:
    grid = euler_to_matrix(orientations(3)) @ random_perturbation(3, 5)
    np.testing.assert_allclose(grid.mean(axis=0), 0.0, atol=1e-12)
    # Uniform rotations: the mean product of two entries is 1/3 if they are the same, else 0.
    entries = grid.reshape(-1, 9)
    np.testing.assert_allclose(entries.T @ entries / len(grid), np.eye(9) / 3.0, atol=2e-3)
    # A ball of the angle a holds (a - sin a) / pi of all rotations.
    angle = np.radians(40.0)
    expected = len(grid) * (angle - np.sin(angle)) / np.pi
    counts = [(angular_distance(grid, pose) <= 40.0).sum() for pose in random_rotations(60, 2)]
    assert np.mean(counts) == pytest.approx(expected, rel=0.01)
    assert np.std(counts) < 0.7 * np.sqrt(expected)  # more even than drawn at random


@pytest.mark.parametrize("order", [0, 1, 2])
def test_children_partition_the_next_grid(order: int) -> None:
    below = children(order, np.arange(72 * 8**order))
    np.testing.assert_array_equal(np.sort(below.ravel()), np.arange(72 * 8 ** (order + 1)))


@given(st.integers(0, 6), st.integers(0, 2**40))
@settings(deadline=None)
def test_children_stay_in_the_cell_of_their_parent(order: int, index: int) -> None:
    index %= 72 * 8**order
    below = children(order, index)
    assert below.shape == (8,)
    rot, tilt, psi = orientations(order + 1, below).T
    cells = healpy.ang2pix(2**order, np.radians(tilt), np.radians(rot), nest=True)
    assert (cells == index // (6 * 2**order)).all()
    offset = psi - orientations(order, index)[2]
    np.testing.assert_allclose(np.abs(offset), angular_step(order) / 4.0)
    assert len(np.unique(np.stack([rot, tilt, psi]).round(6), axis=1).T) == 8


def test_children_keep_the_shape_of_indices() -> None:
    assert children(2, np.zeros((5, 3), dtype=int)).shape == (5, 3, 8)


@given(st.integers(0, 6), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_perturbation_is_a_rotation_of_half_a_step_at_most(order: int, seed: int) -> None:
    rotation = random_perturbation(order, seed)
    assert angular_distance(rotation, np.eye(3)) <= angular_step(order) / 2.0 + 1e-9
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_array_equal(rotation, random_perturbation(order, seed))
    assert not np.array_equal(rotation, random_perturbation(order, seed + 1))


def test_perturbations_fill_their_ball_evenly() -> None:
    generator = np.random.default_rng(0)
    rotations = np.stack([random_perturbation(3, generator) for _ in range(2000)])
    vectors = np.degrees(matrix_to_rotation_vector(rotations)) / (angular_step(3) / 2.0)
    volume = np.linalg.norm(vectors, axis=1) ** 3  # uniform in 0 to 1
    assert volume.mean() == pytest.approx(0.5, abs=4.5 * np.sqrt(1 / 12 / 2000))
    np.testing.assert_allclose(vectors.mean(axis=0), 0.0, atol=4.5 * np.sqrt(0.2 / 2000))


@pytest.mark.parametrize("perturbed", [False, True])
@pytest.mark.parametrize("name", GROUPS)
def test_asymmetric_unit_covers_all_once(name: str, perturbed: bool) -> None:
    """Every direction or a mate is in a chosen cell, and in the interior in one alone."""
    order = 4
    operators = point_group(name)
    if perturbed:
        rotation = random_perturbation(order, 3)
        operators = rotation @ operators @ rotation.T
    chosen = asymmetric_directions(order, operators)
    assert (np.diff(chosen) > 0).all()
    share = 12 * 4**order / len(operators)
    border = 2.0 * np.sqrt(4.0 * np.pi * share)  # twice a circle of the area, in cells
    assert share <= len(chosen) <= share + 0.5 * border

    probes = random_rotations(3000, 4)[:, 2]
    x, y, z = np.moveaxis(probes @ operators, -1, 0)
    cells = healpy.vec2pix(2**order, x, y, z, nest=True).T
    hit = np.isin(cells, chosen)
    # The gaps that are left between the tested parts of cells are slivers.
    assert (hit.sum(axis=1) == 0).mean() < 0.01
    cosine = np.max((probes @ operators) @ unit_vectors(order, chosen).T, axis=(0, 2))
    assert np.degrees(np.arccos(cosine.min())) < 0.85 * angular_step(order)  # 0.78 without symmetry

    # In the interior: no direction within three steps is left out.
    vectors = unit_vectors(order)
    left_out = np.delete(vectors, chosen, axis=0)
    if len(operators) == 1:
        assert len(left_out) == 0
        return
    apart = KDTree(left_out).query(vectors[chosen])[0]
    inner = chosen[apart > 2.0 * np.sin(np.radians(1.5 * angular_step(order)))]
    in_the_interior = np.isin(cells, inner).any(axis=1)
    assert (hit[in_the_interior].sum(axis=1) == 1).all()
    if len(operators) <= 24:
        assert in_the_interior.mean() > 0.1


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["C1", "C2", "C4", "D1", "D2", "D4"])
def test_each_orbit_is_taken_once_where_the_group_maps_the_grid(name: str, order: int) -> None:
    operators = point_group(name)
    vectors = unit_vectors(order)
    x, y, z = np.moveaxis(vectors @ operators, -1, 0)
    tree = KDTree(vectors)
    distance, mates = tree.query(np.stack([x, y, z], axis=-1))
    assert distance.max() < 1e-6  # the group does map the grid onto itself
    orbit = mates.min(axis=0)
    chosen = asymmetric_directions(order, operators)
    np.testing.assert_array_equal(np.sort(orbit[chosen]), np.unique(orbit))


@pytest.mark.parametrize("name", GROUPS)
def test_asymmetric_unit_shrinks_to_its_share(name: str) -> None:
    operators = point_group(name)
    for order in (5, 6):
        count = len(asymmetric_directions(order, operators))
        share = 12 * 4**order / len(operators)
        assert 1.0 <= count / share < 1.0 + 0.6 * 2.0 ** (5 - order) * np.sqrt(len(operators)) / 32


def near_poles() -> st.SearchStrategy[float]:
    return st.one_of(st.floats(0.0, 180.0), st.sampled_from([0.0, 1e-7, 90.0, 180.0]))


@given(
    st.integers(0, 2),
    st.lists(st.tuples(st.floats(-180, 180), near_poles(), st.floats(-180, 180)), max_size=3),
    st.floats(1.0, 179.0),
)
@settings(deadline=None, max_examples=80)
def test_neighbours_are_all_within_the_radius(
    order: int, angles: list[tuple[float, float, float]], radius: float
) -> None:
    poses = euler_to_matrix(np.array(angles).reshape(-1, 3))
    grid = euler_to_matrix(orientations(order))
    indices, starts = neighbours(order, poses, radius)
    assert starts.shape == (len(poses) + 1,)
    assert starts[-1] == len(indices)
    for pose, first, last in zip(poses, starts[:-1], starts[1:], strict=True):
        found = indices[first:last]
        assert len(np.unique(found)) == len(found)
        distance = angular_distance(grid, pose)
        sure = np.abs(distance - radius) > 1e-6  # at the radius itself rounding decides
        np.testing.assert_array_equal(
            np.isin(np.arange(len(grid)), found)[sure], (distance <= radius)[sure]
        )


@pytest.mark.parametrize("order", [4, 6])
def test_every_pose_has_neighbours(order: int) -> None:
    poses = random_rotations(50, 6)
    _, starts = neighbours(order, poses, 0.94 * angular_step(order))
    assert np.diff(starts).min() > 0
    radius = np.radians(6.0 * angular_step(order))
    _, starts = neighbours(order, poses, np.degrees(radius))
    expected = 72 * 8**order * (radius - np.sin(radius)) / np.pi
    np.testing.assert_allclose(np.diff(starts), expected, rtol=0.06)


@pytest.mark.parametrize("radius", [0.0, -1.0, 180.0, np.nan])
def test_neighbours_need_a_radius(radius: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 180"):
        neighbours(1, np.eye(3)[None], radius)


def test_neighbours_in_a_perturbed_grid() -> None:
    rotation = random_perturbation(2, 8)
    poses = random_rotations(3, 9)
    indices, starts = neighbours(2, poses @ rotation.T, 20.0)
    moved = euler_to_matrix(orientations(2)) @ rotation
    for i, pose in enumerate(poses):
        expected = np.flatnonzero(angular_distance(moved, pose) <= 20.0)
        np.testing.assert_array_equal(np.sort(indices[starts[i] : starts[i + 1]]), expected)


def test_shifts_on_a_disc() -> None:
    shifts = shifts_on_disc(6.0, 2.0)
    assert shifts.shape == (29, 2)  # points of the square lattice within 3 of the origin
    assert (shifts == 0.0).all(axis=1).sum() == 1
    assert np.hypot(*shifts.T).max() == 6.0
    np.testing.assert_array_equal(shifts_on_disc(0.0, 2.0), [[0.0, 0.0]])
    assert len(shifts_on_disc(0.3, 0.1)) == 29  # the rim is in although 0.1 is no binary number


@given(st.floats(0.0, 20.0), st.floats(0.5, 5.0), st.floats(0.0, 1.0), st.floats(0.0, 6.28))
def test_shifts_and_their_children_cover_the_disc(
    radius: float, step: float, fraction: float, angle: float
) -> None:
    shifts = shifts_on_disc(radius, step)
    below = shift_children(shifts, step)
    assert below.shape == (len(shifts), 4, 2)
    np.testing.assert_allclose(np.abs(below - shifts[:, None]), step / 4.0, atol=1e-9)
    np.testing.assert_allclose(below.mean(axis=1), shifts, atol=1e-9)
    assert len(np.unique(below.reshape(-1, 2).round(6), axis=0)) == 4 * len(shifts)
    inside = max(0.0, radius - step / np.sqrt(2.0)) * fraction
    probe = inside * np.array([np.cos(angle), np.sin(angle)])
    assert np.abs(below.reshape(-1, 2) - probe).max(axis=1).min() <= step / 4.0 + 1e-5


@given(st.floats(2.0, 100.0), st.floats(50.0, 2000.0), st.sampled_from([1.0, 1.2, 1.5]))
def test_order_is_the_coarsest_that_will_do(resolution: float, diameter: float, arc: float) -> None:
    order = order_for(resolution, diameter, arc)
    length = np.radians(angular_step(order)) * diameter / 2.0
    assert length <= arc * resolution * (1.0 + 1e-6)
    assert order == 0 or 2.0 * length > arc * resolution * (1.0 - 1e-6)
    assert resolution_for(order, diameter, arc) == pytest.approx(length / arc)
    assert order_for(resolution_for(order, diameter, arc), diameter, arc) == order


def test_order_for_a_known_particle() -> None:
    # 7.5 degrees are 13.09 Å at the rim of 200 Å, 1.2 times 10.9 Å.
    assert resolution_for(3, 200.0) == pytest.approx(10.908, abs=1e-3)
    assert (order_for(11.0, 200.0), order_for(10.8, 200.0)) == (3, 4)
