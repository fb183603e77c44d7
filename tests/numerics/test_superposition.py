"""Superposition: maps that were turned, moved and mirrored are brought back."""

import numpy as np
import pytest
from scipy import ndimage

from hpdp_dask.numerics import fourier, slices
from hpdp_dask.numerics.points import PointTransform, points_in_shells
from hpdp_dask.numerics.rotations import angular_distance, random_rotations
from hpdp_dask.numerics.shells import fourier_shell_correlation
from hpdp_dask.numerics.superposition import (
    Superposition,
    align_volumes,
    centre_of_mass,
    mirror_volume,
    turn_volume,
)

BOX, RADIUS = 32, 8


def blobs(seed: int, number: int = 12, reach: float = 7.0) -> np.ndarray:
    """Make a map of smooth blobs without any symmetry, centred."""
    random = np.random.default_rng(seed)
    places = random.normal(size=(number, 3))
    places *= (
        reach
        * random.random((number, 1)) ** (1 / 3)
        / np.linalg.norm(places, axis=1, keepdims=True)
    )
    volume = np.zeros((BOX,) * 3)
    for place in places - places.mean(axis=0):
        volume[tuple(np.rint(place).astype(int) + BOX // 2)] += random.uniform(0.5, 1.5)
    return ndimage.gaussian_filter(volume, 1.5).astype(np.float32)


@pytest.fixture(scope="module")
def fixed() -> np.ndarray:
    return blobs(0)


def test_a_turned_map_is_brought_back(fixed: np.ndarray) -> None:
    turn, shift = random_rotations(1, 5)[0], np.array([1.5, -1.0, 0.7])
    moving = mirror_volume(turn_volume(fixed, turn, shift))
    noise = np.random.default_rng(1).normal(scale=0.2 * moving.std(), size=moving.shape)
    found = align_volumes(moving + noise.astype(np.float32), fixed, RADIUS)
    assert found.mirrored
    # fixed(x) = mirror(x R + t), so with mirror(y) = fixed(y turn + shift): R turn = 1
    assert angular_distance(found.rotation @ turn, np.eye(3)) < 1.0
    np.testing.assert_allclose(found.shift @ turn + shift, 0.0, atol=0.1)
    assert found.correlation > 0.9
    assert fourier_shell_correlation(found.apply(moving), fixed)[1 : RADIUS + 1].min() > 0.95


def test_the_other_hand_fits_less(fixed: np.ndarray) -> None:
    mirror = mirror_volume(fixed)
    assert align_volumes(mirror, fixed, RADIUS, mirror=False).correlation < 0.8


@pytest.mark.parametrize("mirrored", [False, True])
def test_poses_turn_with_the_map(fixed: np.ndarray, mirrored: bool) -> None:
    found = Superposition(random_rotations(1, 2)[0], np.zeros(3), mirrored, 1.0)
    poses = random_rotations(5, 3)
    plane = fourier.half_plane(BOX, RADIUS)
    views = [
        slices.extract_slices(fourier.transform_volume(volume), matrices, plane)
        for volume, matrices in ((fixed, poses), (found.apply(fixed), found.turn_poses(poses)))
    ]
    difference = np.linalg.norm(views[0] - views[1]) / np.linalg.norm(views[0])
    assert difference < 0.05


def test_points_agree_with_slices(fixed: np.ndarray) -> None:
    rotation = random_rotations(1, 4)[0]
    plane = fourier.half_plane(BOX, RADIUS)
    points = np.stack([plane.x, plane.y, 0 * plane.x], axis=1) @ rotation
    by_slice = slices.extract_slices(fourier.transform_volume(fixed), rotation[None], plane)[0]
    by_points = PointTransform(fixed, RADIUS)(points)
    assert np.linalg.norm(by_points - by_slice) < 0.03 * np.linalg.norm(by_slice)


def test_points_fill_shells_evenly() -> None:
    points = points_in_shells(2000, 2.0, 10.0)
    radius = np.linalg.norm(points, axis=1)
    assert np.all(np.diff(radius) >= -1e-12)
    np.testing.assert_allclose(np.quantile(radius, [0.25, 0.5, 0.75]), [4, 6, 8], atol=0.05)
    directions = points / radius[:, None]
    np.testing.assert_allclose(directions[:, :2].mean(axis=0), 0.0, atol=0.01)
    assert directions[:, 2].min() >= 0.0


def test_centre_of_mass_and_mirror(fixed: np.ndarray) -> None:
    moved = turn_volume(fixed, np.eye(3), np.array([-2.0, 1.0, -3.0]))
    expected = centre_of_mass(fixed) + np.array([2.0, -1.0, 3.0])
    np.testing.assert_allclose(centre_of_mass(moved), expected, atol=0.05)
    np.testing.assert_allclose(
        centre_of_mass(mirror_volume(moved)), expected * (1, 1, -1), atol=0.05
    )
    np.testing.assert_array_equal(mirror_volume(mirror_volume(moved)), moved)
