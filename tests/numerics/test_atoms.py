"""Structure factors: the fast sums against the exact one, and the exact one against a formula."""

from collections.abc import Callable

import numpy as np
import pytest

from hpdp_dask.numerics.atoms import (
    Atoms,
    exact_sum,
    nufft_sum,
    structure_factor,
    table_length,
    tabulate,
)
from hpdp_dask.numerics.rotations import random_rotations


def vectors(number: int, longest: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(3, number))
    return q / np.linalg.norm(q, axis=0) * longest * rng.random(number) ** (1.0 / 3.0)


def gaussian(width: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda length: 6.0 * np.exp(-width * length**2)


def cloud(number: int, radius: float, seed: int) -> np.ndarray:
    return vectors(number, radius, seed).T


ATOMS = [
    Atoms(cloud(900, 60.0, 1), np.random.default_rng(2).random(900), gaussian(3.0)),
    Atoms(cloud(300, 60.0, 3), np.ones(300), gaussian(8.0)),
]


def reference(q: np.ndarray) -> np.ndarray:
    """The sum as it is written, in double precision."""
    length = np.linalg.norm(q, axis=0)
    return sum(
        each.form_factor(length)
        * (each.weights[:, None] * np.exp(2j * np.pi * each.positions @ q)).sum(axis=0)
        for each in ATOMS
    )


def test_two_atoms_make_fringes() -> None:
    q = np.zeros((3, 50))
    q[0] = np.linspace(0.0, 0.2, 50)
    positions = np.array([[20.0, 0, 0], [-20.0, 0, 0]])
    found = exact_sum(q, positions, np.array([1.0, 1.0]))
    np.testing.assert_allclose(found, 2.0 * np.cos(2.0 * np.pi * 20.0 * q[0]), atol=1e-12)


def test_one_atom_off_the_origin_has_the_phase_of_its_place() -> None:
    q = np.array([[0.01], [0.0], [0.0]])
    found = exact_sum(q, np.array([[25.0, 7.0, -3.0]]), np.array([2.0]))
    assert found[0] == pytest.approx(2.0j)  # a quarter turn


@pytest.mark.parametrize("summed", [exact_sum, nufft_sum])
def test_sums_are_the_formula(summed: Callable) -> None:
    q = vectors(500, 0.05)
    lengths = np.linalg.norm(q, axis=0)
    found = structure_factor(q, ATOMS, lengths, summed)
    scale = np.sqrt(np.mean(abs(reference(q)) ** 2))
    assert abs(found - reference(q)).max() < 1e-5 * scale
    single = structure_factor(q.astype(np.float32), ATOMS, lengths, summed)
    assert single.dtype == np.complex64
    assert abs(single - reference(q)).max() < 1e-4 * scale


def test_a_table_is_the_formula() -> None:
    table = tabulate(ATOMS, 120.0, 0.05)
    assert len(table.real) == table_length(120.0, 0.05)
    q = vectors(4000, 0.05, seed=7)
    expected = reference(q)
    scale = np.sqrt(np.mean(abs(expected) ** 2))
    off = abs(table.at(q.astype(np.float32)) - expected)
    assert np.sqrt(np.mean(off**2)) < 3e-4 * scale
    assert off.max() < 6e-3 * scale  # where the amplitude is near its largest, 20 times the scale


def test_a_table_reaches_all_vectors_of_its_length() -> None:
    """Along the axes of the grid, where a table that is too short would end."""
    table = tabulate(ATOMS, 120.0, 0.05)
    q = 0.05 * np.concatenate([np.eye(3), -np.eye(3)], axis=1)
    scale = np.sqrt(np.mean(abs(reference(vectors(500, 0.05))) ** 2))
    assert abs(table.at(q.astype(np.float32)) - reference(q)).max() < 3e-3 * scale


def test_a_turned_molecule_has_turned_amplitudes() -> None:
    """The amplitude of positions turned by A at q is that of the molecule at q turned back."""
    matrix = random_rotations(1, 5)[0]
    q = vectors(30, 0.05)
    here = exact_sum(q, ATOMS[0].positions @ matrix.T, ATOMS[0].weights)
    np.testing.assert_allclose(
        here, exact_sum(matrix.T @ q, ATOMS[0].positions, ATOMS[0].weights), atol=1e-9
    )


@pytest.mark.gpu
def test_the_device_gives_the_same() -> None:
    cupy = pytest.importorskip("cupy")
    q = vectors(500, 0.05).astype(np.float32)
    lengths = np.linalg.norm(q, axis=0)
    scale = np.sqrt(np.mean(abs(reference(q)) ** 2))
    table = tabulate(ATOMS, 120.0, 0.05)
    on_device = type(table)(cupy.asarray(table.real), cupy.asarray(table.imaginary), table.spacing)
    assert abs(on_device.at(cupy.asarray(q)).get() - table.at(q)).max() < 1e-4 * scale
    for summed in (exact_sum, nufft_sum):
        found = structure_factor(cupy.asarray(q), ATOMS, lengths, summed)
        assert abs(found.get() - reference(q)).max() < 1e-3 * scale
