"""The map of atoms against direct sums over them; domains that turn."""

import gemmi
import numpy as np
import pytest

from hpdp_dask.cryoem.simulate.potential import Potential, potential_map, potential_of
from hpdp_dask.cryoem.simulate.projection import image_plane, slice_frequencies, transform_at
from hpdp_dask.cryoem.simulate.specimen import Domain, Specimen
from hpdp_dask.formats.model import AtomicModel
from hpdp_dask.numerics.rotations import random_rotations
from hpdp_dask.numerics.symmetry import point_group

BOX, PIXEL = 48, 2.0


def test_slices_are_direct_sums_over_atoms() -> None:
    """Atoms of large B-factors, which neither the band limit nor the box cuts."""
    atoms = _atoms(12, b_factors=(1600.0, 2000.0))
    frequencies = slice_frequencies(image_plane(64), random_rotations(4, 1))
    found = transform_at(potential_map(atoms, 64, PIXEL), frequencies)
    expected = _direct(atoms, frequencies / PIXEL)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_modes_are_direct_sums_over_atoms_up_to_the_resolution() -> None:
    atoms = _atoms(20, b_factors=(5.0, 90.0))
    modes = np.random.default_rng(2).integers(-10, 11, (200, 3)) / BOX
    expected = _direct(atoms, modes / PIXEL)
    found = transform_at(potential_map(atoms, BOX, PIXEL), modes)
    assert np.abs(found - expected).max() < 2e-6 * np.abs(expected).max()
    # 8 Å are 12 cycles per box; two thirds of an edge of 6 further on, a quarter is left
    limited = potential_map(atoms, BOX, PIXEL, resolution=8.0)
    within = np.linalg.norm(modes, axis=1) * BOX <= 12.0
    found = transform_at(limited, modes[within])
    np.testing.assert_allclose(found, expected[within], atol=1e-4)
    last = np.array([[0.0, 0.0, 16.0], [0.0, 12.0, 0.0], [18.0, 0.0, 0.0]]) / BOX
    ratio = transform_at(limited, last) / _direct(atoms, last / PIXEL)
    np.testing.assert_allclose(ratio, [0.25, 1.0, 0.0], atol=1e-4)


def test_the_sum_of_the_map_is_the_scattering_forwards() -> None:
    atoms = AtomicModel(np.zeros((2, 3)), ["C", "FE"], np.array([10.0, 20.0]), np.array([1.0, 0.5]))
    volume = potential_map(atoms, 32, 1.0)
    forwards = sum(gemmi.Element("C").c4322.a) + 0.5 * sum(gemmi.Element("FE").c4322.a)
    assert volume.sum() == pytest.approx(forwards, rel=1e-5)
    assert np.unravel_index(volume.argmax(), volume.shape) == (16, 16, 16)
    assert volume.dtype == np.float32


def test_the_map_is_indexed_z_y_x() -> None:
    atoms = AtomicModel(np.array([[6.0, -4.0, 10.0]]), ["N"], np.array([50.0]), np.ones(1))
    volume = potential_map(atoms, 32, 2.0)
    assert np.unravel_index(volume.argmax(), volume.shape) == (16 + 5, 16 - 2, 16 + 3)


def test_a_turned_domain_gives_slices_of_the_turned_atoms() -> None:
    """Symmetric copies turn in concert, each with an angle of its image."""
    body, part = _atoms(30, (60.0, 90.0), seed=5), _atoms(10, (60.0, 90.0), seed=6)
    axis = np.array([2.0, -1.0, 2.0]) / 3.0
    domain = Domain(part, np.array([7.0, 3.0, 9.0]), axis, point_group("D2"))
    specimen = Specimen("test", "D2", body, domain)
    potential = potential_of(specimen, 64, PIXEL)
    assert potential.parts == 5
    plane, matrices = image_plane(64), random_rotations(3, 7)
    angles = np.array([-30.0, 0.0, 45.0])
    found = potential.slices(plane, matrices, angles)
    for transform, matrix, angle in zip(found, matrices, angles, strict=True):
        turned = Potential(PIXEL, potential_map(specimen.at(angle), 64, PIXEL))
        expected = turned.slices(plane, matrix[None], np.zeros(1))[0]
        error = np.abs(transform - expected)
        assert np.sqrt(np.square(error).mean()) < 5e-4 * np.sqrt(np.square(abs(expected)).mean())


def test_a_positive_angle_is_right_handed_about_the_hinge() -> None:
    part = AtomicModel(np.array([[12.0, 0.0, 5.0]]), ["C"], np.zeros(1), np.ones(1))
    domain = Domain(part, np.array([10.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]), np.eye(3)[None])
    np.testing.assert_allclose(domain.at(90.0).positions, [[10.0, 2.0, 5.0]], atol=1e-12)


def _atoms(number: int, b_factors: tuple[float, float], seed: int = 0) -> AtomicModel:
    rng = np.random.default_rng(seed)
    return AtomicModel(
        rng.uniform(-15.0, 15.0, (number, 3)),
        rng.choice(["C", "N", "O", "S", "FE"], number).tolist(),
        rng.uniform(*b_factors, number),
        rng.uniform(0.3, 1.0, number),
    )


def _direct(atoms: AtomicModel, frequencies: np.ndarray) -> np.ndarray:
    """Sum over atoms, one at a time, at frequencies (..., 3) in 1/Å."""
    squared = np.sum(frequencies**2, axis=-1)
    total = np.zeros(squared.shape, complex)
    for place, element, b, occupancy in zip(
        atoms.positions, atoms.elements, atoms.b_factors, atoms.occupancies, strict=True
    ):
        coefficients = gemmi.Element(element).c4322
        pairs = zip(coefficients.a, coefficients.b, strict=True)
        factor = sum(a * np.exp(-width * squared / 4.0) for a, width in pairs)
        phase = np.exp(-2j * np.pi * (frequencies @ place))
        total += occupancy * factor * np.exp(-b * squared / 4.0) * phase
    return total
