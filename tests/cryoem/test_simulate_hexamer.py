"""The phantom is what it says: size, mass, D3 and no more, a hand, a hinge."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from hpdp_dask.cryoem.simulate import phantom, potential_map
from hpdp_dask.cryoem.simulate.hexamer import MASS_PER_ATOM
from hpdp_dask.cryoem.simulate.projection import transform_at
from hpdp_dask.cryoem.simulate.specimen import Specimen, moved
from hpdp_dask.numerics.symmetry import point_group


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    return phantom()


def test_it_never_changes(specimen: Specimen) -> None:
    again = phantom()
    np.testing.assert_array_equal(again.at(10.0).positions, specimen.at(10.0).positions)
    assert again.at().elements == specimen.at().elements


def test_it_has_the_mass_and_the_size_of_tvnir(specimen: Specimen) -> None:
    positions = specimen.at().positions
    assert len(positions) * MASS_PER_ATOM == pytest.approx(380e3, rel=0.02)
    across = np.ptp(positions @ _directions(200).T, axis=0)
    assert 130.0 < across.mean() < 150.0
    assert 110.0 < across.min() < across.max() < 160.0
    np.testing.assert_allclose(positions.mean(axis=0), 0.0, atol=1e-9)


def test_its_atoms_keep_apart_and_together(specimen: Specimen) -> None:
    positions = specimen.at().positions
    neighbours = cKDTree(positions).query(positions, k=2)[0][:, 1]
    assert np.median(neighbours) == pytest.approx(1.3, abs=0.15)
    assert (neighbours < 0.8).mean() < 0.05
    assert neighbours.max() < 5.0


def test_it_has_d3_and_nothing_higher(specimen: Specimen) -> None:
    transform = _sampled(specimen, resolution=12.0)
    for operator in point_group("D3"):
        assert _correlation(transform(np.eye(3)), transform(operator)) > 0.9999
    for extra in ("D6", "D9", "O"):
        operators = point_group(extra)
        alike = [_correlation(transform(np.eye(3)), transform(op)) for op in operators]
        known = [
            min(np.abs(op - own).max() for own in point_group("D3")) < 1e-9 for op in operators
        ]
        assert max(np.array(alike)[~np.array(known)]) < 0.8


def test_it_has_a_hand(specimen: Specimen) -> None:
    """Its mirror image fits it nowhere about the threefold axis."""
    transform = _sampled(specimen, resolution=12.0)
    mirror = np.diag([1.0, 1.0, -1.0])
    about_z = Rotation.from_euler("z", np.arange(0.0, 120.0, 4.0)[:, None], degrees=True)
    fits = [
        _correlation(transform(np.eye(3)), transform(mirror @ turn)) for turn in about_z.as_matrix()
    ]
    assert max(fits) < 0.75


def test_it_has_detail_to_five_angstrom(specimen: Specimen) -> None:
    """Power does not fall below that of atoms strewn at random."""
    atoms = specimen.at()
    volume = potential_map(atoms, 128, 1.6)
    rng = np.random.default_rng(1)
    strewn = rng.uniform(-1.0, 1.0, (4 * len(atoms.positions), 3))
    strewn = 65.0 * strewn[np.linalg.norm(strewn, axis=1) < 1.0][: len(atoms.positions)]
    random = potential_map(moved(atoms, strewn), 128, 1.6)
    shell = _directions(2000) * 1.6 / 5.0
    power = [np.square(np.abs(transform_at(v, shell))).mean() for v in (volume, random)]
    assert power[0] > 0.5 * power[1]


@pytest.mark.parametrize("angle", [-25.0, 25.0])
def test_its_domains_turn_in_concert_without_collisions(specimen: Specimen, angle: float) -> None:
    assert specimen.domain is not None
    turned = specimen.domain.at(angle).positions
    share = len(turned) / len(specimen.at().positions)
    assert 0.1 < share < 0.3
    tree = cKDTree(turned)
    for operator in point_group("D3"):
        assert tree.query(turned @ operator.T)[0].max() < 1e-9
    close = np.asarray(cKDTree(specimen.body.positions).query(turned)[0]) < 2.5
    assert close.mean() < 0.15
    moved_by = np.linalg.norm(turned - specimen.domain.at(0.0).positions, axis=1)
    assert moved_by.max() > 8.0
    assert np.linalg.norm(turned, axis=1).max() <= specimen.radius() + 1e-9


def _directions(number: int) -> np.ndarray:
    vectors = np.random.default_rng(0).standard_normal((number, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _sampled(specimen: Specimen, resolution: float) -> Callable[[np.ndarray], np.ndarray]:
    """Give a function: the transform at fixed points from 60 Å on, turned by a matrix."""
    volume = potential_map(specimen.at(), 64, 3.2)
    radii = np.random.default_rng(2).uniform(1.0 / 60.0, 1.0 / resolution, (3000, 1))
    points = _directions(3000) * radii * 3.2
    return lambda matrix: transform_at(volume, points @ matrix.T)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b.conj()).sum().real / np.linalg.norm(a) / np.linalg.norm(b))
