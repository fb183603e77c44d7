"""Axes of symmetry: found where they are, refused where they are not."""

import numpy as np
import pytest
from scipy import ndimage

from hpdp_dask.numerics.rotations import random_rotations
from hpdp_dask.numerics.superposition import turn_volume
from hpdp_dask.numerics.symmetry import point_group, symmetrize
from hpdp_dask.numerics.symmetry_axes import SymmetryAxes, find_axes, symmetry_score

BOX, RADIUS = 32, 8
SHIFT = np.array([0.8, -1.2, 0.5])


def symmetric(symmetry: str, blobs: int, seed: int = 0) -> np.ndarray:
    """Make a map of smooth blobs in the standard setting, off all axes."""
    random = np.random.default_rng(seed)
    volume = np.zeros((BOX,) * 3)
    places = random.normal(size=(blobs, 3))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    places *= random.uniform(4.0, 9.0, (blobs, 1))
    # at random sixty blobs make a round shell; near their fivefolds they make an icosahedron
    for place in [[5.7, 0.4, 8.3]] if symmetry == "I" else places:
        for operator in point_group(symmetry):
            at = np.rint(operator @ place).astype(int)[::-1] + BOX // 2
            volume[tuple(at)] += 1.0
    smooth = ndimage.gaussian_filter(volume, 1.4)
    return symmetrize(smooth, point_group(symmetry))


def turned(volume: np.ndarray, noise: float = 0.3) -> np.ndarray:
    moved = turn_volume(volume, random_rotations(1, 7)[0], SHIFT)
    random = np.random.default_rng(3)
    return np.asarray(moved + random.normal(scale=noise * moved.std(), size=moved.shape))


@pytest.mark.parametrize(
    ("symmetry", "blobs"), [("C3", 5), ("D2", 4), ("D3", 3), ("O", 1), ("I", 1)]
)
def test_axes_are_found(symmetry: str, blobs: int) -> None:
    operators = point_group(symmetry)
    volume = symmetric(symmetry, blobs)
    found = find_axes(turned(volume), operators, RADIUS)
    assert found.holds
    assert found.score > 0.8
    assert found.z_score > 5.0
    # in the frame that was found the map, without noise, is that of the group
    standard = turn_volume(turned(volume, 0.0), found.rotation, found.shift)
    here = symmetry_score(standard, operators, RADIUS)
    assert here.holds
    assert here.score > 0.9
    # the noise moves the centre by hardly a tenth of a pixel, but along the axis of C3
    free = operators.mean(axis=0)
    centre = (found.shift + SHIFT @ random_rotations(1, 7)[0].T) @ found.rotation.T
    np.testing.assert_allclose(centre @ (np.eye(3) - free), 0.0, atol=0.3)


def test_a_map_without_symmetry_is_refused() -> None:
    found = find_axes(turned(symmetric("C1", 15)), point_group("D2"), RADIUS)
    assert not found.holds
    assert found.score < 0.5


@pytest.mark.parametrize(("has", "blobs", "asked"), [("D2", 4, "D4"), ("C3", 5, "D3")])
def test_a_part_of_a_symmetry_is_not_enough(has: str, blobs: int, asked: str) -> None:
    found = find_axes(turned(symmetric(has, blobs)), point_group(asked), RADIUS)
    assert not found.holds


def test_scores_are_told_against_chance() -> None:
    map_of = symmetric("D2", 4)
    right = symmetry_score(map_of, point_group("D2"), RADIUS)
    wrong = symmetry_score(map_of, point_group("D2"), RADIUS, random_rotations(1, 1)[0])
    assert right.score > 0.95
    assert right.holds
    assert not wrong.holds
    assert abs(wrong.z_score) < 4.0


def test_the_score_must_be_nearer_to_1_than_to_chance() -> None:
    def axes(score: float) -> SymmetryAxes:
        return SymmetryAxes(np.eye(3), np.zeros(3), score, 0.4, 0.05)

    assert axes(0.75).holds
    assert not axes(0.65).holds
    assert axes(0.65).z_score == pytest.approx(5.0)
