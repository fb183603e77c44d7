"""Lattices of the spots of one image."""

from pathlib import Path

import numpy as np
import pytest
from still_spots import false_spots, random_cell, still_spots, turned

from hpdp_dask.numerics.lattice_search import SHORTEST, hemisphere, lattice_vectors
from hpdp_dask.numerics.lattices import find_lattices, misorientation, reduced, refine_lattice

#: The true lattice of the real spot lists, Å.
LYSOZYME = np.array([[39.43, 25.27, 63.59], [28.51, 60.64, -41.79], [-29.10, 20.50, 9.90]])


def mixed(spots: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Put spots together in any order, with 15 % that are none."""
    q = np.vstack([*spots, false_spots(int(0.15 * sum(map(len, spots))), random)])
    return random.permutation(q)


def test_directions_are_spread_evenly() -> None:
    directions = hemisphere(2000)
    np.testing.assert_allclose((directions**2).sum(axis=1), 1.0)
    assert directions[:, 2].min() > 0.0
    nearest = np.sort(directions @ directions.T, axis=1)[:, -2]
    angles = np.degrees(np.arccos(nearest))
    assert angles.max() < 1.6 * angles.min()


def test_vectors_are_of_the_lattice() -> None:
    random = np.random.default_rng(1)
    cell = random_cell(random)
    vectors, score = lattice_vectors(mixed([still_spots(cell, random)], random))
    assert np.all(np.diff(score) <= 0.0)
    indices = vectors[:6] @ np.linalg.inv(cell)
    np.testing.assert_allclose(indices, np.round(indices), atol=0.05)
    assert np.sqrt((vectors**2).sum(axis=1)).min() >= SHORTEST


@pytest.mark.parametrize("seed", range(4))
def test_one_lattice(seed: int) -> None:
    random = np.random.default_rng(seed)
    cell = random_cell(random)
    (found,) = find_lattices(mixed([still_spots(cell, random)], random))
    assert found.volume == pytest.approx(abs(np.linalg.det(cell)), rel=0.03)
    assert misorientation(reduced(cell), found.vectors) < 0.5


@pytest.mark.parametrize("angle", [5.0, 20.0, 120.0])
@pytest.mark.parametrize("seed", range(2))
def test_two_lattices(angle: float, seed: int) -> None:
    random = np.random.default_rng(10 + seed)
    cell = random_cell(random)
    second = turned(cell, angle, random)
    q = mixed([still_spots(cell, random), still_spots(second, random)], random)
    found = find_lattices(q)
    assert len(found) == 2
    basis = reduced(cell)
    angles = [misorientation(basis, lattice.vectors) for lattice in found]
    # the first of the two may be either
    assert min(angles) < 0.5
    assert max(angles) == pytest.approx(misorientation(basis, reduced(second)), abs=1.0)


def test_a_split_of_less_than_a_degree_is_mosaicity() -> None:
    random = np.random.default_rng(3)
    cell = random_cell(random)
    parts = [still_spots(cell, random), still_spots(turned(cell, 0.4, random), random)]
    assert len(find_lattices(mixed(parts, random))) == 1


def test_spots_of_nothing_have_no_lattice() -> None:
    random = np.random.default_rng(4)
    for number in (0, 5, 30, 400):
        assert find_lattices(false_spots(number, random)) == []


def test_a_beam_that_is_off_is_allowed_for() -> None:
    random = np.random.default_rng(5)
    cell = random_cell(random)
    q = still_spots(cell, random) + np.array([8e-4, -6e-4, 0.0])
    (found,) = find_lattices(q)
    assert found.volume == pytest.approx(abs(np.linalg.det(cell)), rel=0.03)
    assert found.indexed.mean() > 0.8


def test_refinement_finds_the_lattice_from_nearby() -> None:
    random = np.random.default_rng(6)
    cell = random_cell(random)
    q = still_spots(cell, random)
    found = refine_lattice(q, turned(cell, 0.3, random) * 1.003)
    np.testing.assert_allclose(found.vectors, cell, atol=0.005 * np.abs(cell).max())


def test_reduction_gives_the_shortest_basis() -> None:
    cell = np.diag([30.0, 40.0, 70.0])
    skewed = np.array([[1, 2, 0], [0, 1, 0], [3, -2, 1]]) @ cell
    found = reduced(skewed)
    np.testing.assert_allclose(np.sqrt((found**2).sum(axis=1)), [30.0, 40.0, 70.0])
    assert abs(np.linalg.det(found)) == pytest.approx(np.linalg.det(cell))


def test_symmetry_is_no_misorientation() -> None:
    cell = np.diag([58.0, 58.0, 150.0])
    random = np.random.default_rng(7)
    turn = turned(np.eye(3), 10.0, random).T
    quarter = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert misorientation(cell, quarter @ cell) == pytest.approx(0.0, abs=1e-5)
    assert misorientation(cell, quarter @ cell @ turn.T) == pytest.approx(10.0, abs=1e-5)


@pytest.mark.parametrize("finder", ["local", "peakfinder8", "radial"])
def test_real_spots_of_three_finders(test_data: Path, finder: str) -> None:
    (path,) = (test_data / "crystallography" / "spots").glob(f"image0_{finder}.txt")
    (found,) = find_lattices(np.loadtxt(path, skiprows=1))
    # the truth is that of all images of the series, refined
    assert misorientation(reduced(LYSOZYME), found.vectors) < 1.0
    edges = np.sqrt((found.vectors**2).sum(axis=1))
    np.testing.assert_allclose(edges, np.sqrt((reduced(LYSOZYME) ** 2).sum(axis=1)), rtol=0.03)
    assert found.indexed.mean() > 0.6


def test_a_perfect_lattice(test_data: Path) -> None:
    q = np.loadtxt(test_data / "crystallography" / "spots" / "test0.txt", skiprows=1)
    (found,) = find_lattices(q)
    np.testing.assert_allclose(
        np.sqrt((found.vectors**2).sum(axis=1)), [30.0, 40.0, 50.0], rtol=1e-3
    )
    assert found.indexed.all()
