"""Atomic models in the frame of their symmetry."""

from pathlib import Path

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hpdp_dask.cryoem.simulate import Specimen, potential_map, specimen_from_model
from hpdp_dask.cryoem.simulate.alignment import Motion, find_frame, superpose
from hpdp_dask.errors import InputError
from hpdp_dask.formats.model import read_model
from hpdp_dask.numerics.symmetry import point_group, symmetrize


@settings(deadline=None, max_examples=60)
@given(
    group=st.sampled_from(["C1", "C2", "C3", "C7", "D2", "D3", "D4", "D7", "T", "O", "I1", "I3"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_frame_of_a_group_is_found_wherever_it_lies(group: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    operators = point_group(group)
    frame, centre = Rotation.random(rng=rng).as_matrix(), rng.uniform(-100.0, 100.0, 3)
    motions = []
    for operator in rng.permutation(operators):
        wobble = Rotation.from_rotvec(np.radians(rng.normal(0.0, 0.2, 3))).as_matrix()
        rotation = frame.T @ operator @ wobble @ frame
        motions.append(Motion(rotation, centre - rotation @ centre + rng.normal(0.0, 0.02, 3)))
    # what is no operator of the group does not disturb
    axis = rng.standard_normal(3)
    stray = Rotation.from_rotvec(np.radians(25.0) * axis / np.linalg.norm(axis)).as_matrix()
    motions.append(Motion(stray, rng.uniform(-10.0, 10.0, 3)))
    origin = centre + rng.normal(0.0, 1.0, 3)
    found = find_frame(motions, operators, origin)
    assert found is not None
    result, chosen = found
    assert chosen[0] != len(motions) - 1
    for operator, index in zip(operators, chosen, strict=True):
        turned = result.rotation @ motions[index].rotation @ result.rotation.T
        assert np.abs(turned - operator).max() < 0.02
    # the centre is on the axis, or where axes meet
    away = result.rotation @ (result.centre - centre)
    if group.startswith("C"):
        away[2] = 0.0
    if group != "C1":
        assert np.linalg.norm(away) < 0.2


def test_the_frame_that_turns_least_is_taken() -> None:
    tilt = Rotation.from_rotvec([0.02, -0.03, 0.01]).as_matrix()
    motions = [Motion(tilt.T @ operator @ tilt, np.zeros(3)) for operator in point_group("D2")]
    found = find_frame(motions, point_group("D2"), np.zeros(3))
    assert found is not None
    np.testing.assert_allclose(found[0].rotation, tilt, atol=1e-6)
    assert find_frame(motions, point_group("D3"), np.zeros(3)) is None


def test_superposition_gives_the_motion_and_what_remains() -> None:
    rng = np.random.default_rng(1)
    points, turn = rng.normal(0.0, 10.0, (50, 3)), Rotation.random(rng=rng)
    motion, distance = superpose(points, turn.apply(points) + np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(motion.rotation, turn.as_matrix(), atol=1e-9)
    np.testing.assert_allclose(motion.translation, [1.0, 2.0, 3.0], atol=1e-9)
    assert distance == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "symmetry", "deviation"),
    [("8bk7", "D2", 0.01), ("7l2i", "C4", 0.5), ("6zwv", "C3", 0.5)],
)
def test_deposited_models_come_into_our_setting(
    test_data: Path, name: str, symmetry: str, deviation: float
) -> None:
    path = test_data / "cryoem" / "models" / f"{name}.cif.gz"
    specimen = specimen_from_model(path, symmetry=symmetry)
    assert specimen.symmetry == symmetry
    operators = point_group(symmetry)
    positions = specimen.body.positions.reshape(len(operators), -1, 3)
    for operator, copy in zip(operators, positions, strict=True):
        np.testing.assert_allclose(copy, positions[0] @ operator.T, atol=1e-9)
    # as deposited, chains are near to where the group has them
    traces = _traces(path, positions[0])
    for operator in operators:
        turned = [trace @ operator.T for trace in traces]
        nearest = [
            min(np.sqrt(np.square(copy - trace).sum(1).mean()) for trace in traces)
            for copy in turned
        ]
        assert max(nearest) < deviation


def test_a_model_that_was_moved_gives_the_same_map(test_data: Path, tmp_path: Path) -> None:
    """The map is D2 again; which of its axes is which is open."""
    path = test_data / "cryoem" / "models" / "8bk7.cif.gz"
    structure = gemmi.read_structure(str(path))
    structure.assemblies.clear()
    turn = Rotation.from_euler("ZYZ", [20.0, 35.0, -50.0], degrees=True).as_matrix()
    motion = gemmi.Transform(gemmi.Mat33(turn.tolist()), gemmi.Vec3(50.0, -20.0, 10.0))
    structure[0].transform_pos_and_adp(motion)
    moved = tmp_path / "moved.cif"
    structure.make_mmcif_document().write_file(str(moved))
    maps = [
        potential_map(specimen_from_model(p, symmetry="D2").at(), 64, 4.0) for p in (path, moved)
    ]
    for volume in maps:
        residual = np.abs(symmetrize(volume, point_group("D2")) - volume).max()
        assert residual < 1e-5 * volume.max()
    np.testing.assert_allclose(
        np.sort(maps[0].ravel())[-2000:], np.sort(maps[1].ravel())[-2000:], rtol=2e-2
    )


def test_without_a_symmetry_the_centre_of_mass_is_the_origin(test_data: Path) -> None:
    specimen = specimen_from_model(test_data / "cryoem" / "models" / "7l2i.cif.gz", symmetry="C1")
    masses = np.array([gemmi.Element(element).weight for element in specimen.body.elements])
    weights = masses * specimen.body.occupancies
    centre = np.average(specimen.body.positions, axis=0, weights=weights)
    np.testing.assert_allclose(centre, 0.0, atol=1e-9)
    assert (specimen.symmetry, specimen.domain) == ("C1", None)


def test_assemblies_of_operators_have_their_symmetry(test_data: Path) -> None:
    path = test_data / "cryoem" / "models" / "7a4m.cif.gz"
    specimen = specimen_from_model(path, symmetry="O")
    assert len(specimen.body.positions) == 24 * len(read_model(path).positions)
    assert specimen.body.occupancies.max() == pytest.approx(1.0 / 24.0)
    with pytest.raises(InputError, match=r"7a4m.cif.gz: its 1 chains do not have the symmetry O"):
        specimen_from_model(path, symmetry="O", assembly="none")


def test_a_domain_of_a_chain_turns_alone(test_data: Path) -> None:
    specimen = _hinged(test_data)
    whole = specimen_from_model(test_data / "cryoem" / "models" / "8bk7.cif.gz", symmetry="C2")
    assert specimen.symmetry == "C1"
    assert specimen.domain is not None
    part, domain = specimen.domain.atoms, specimen.domain
    assert len(specimen.at().positions) == len(whole.body.positions) // 2
    np.testing.assert_allclose(domain.at(0.0).positions, part.positions, atol=1e-9)
    assert abs(domain.axis @ (part.positions.mean(axis=0) - domain.point)) < 1e-6
    swing = np.linalg.norm(domain.at(20.0).positions - part.positions, axis=1)
    arms = np.linalg.norm(part.positions - domain.point, axis=1)
    assert swing.max() <= 2.0 * np.sin(np.radians(10.0)) * arms.max() + 1e-9
    near = np.linalg.norm(specimen.body.positions - domain.point, axis=1).min()
    assert near < 15.0


def _hinged(test_data: Path) -> Specimen:
    path = test_data / "cryoem" / "models" / "8bk7.cif.gz"
    return specimen_from_model(path, symmetry="D2", domain="//A/334-630")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"symmetry": "D3"}, "its 4 chains do not have the symmetry D3"),
        ({"symmetry": "K4"}, "no point group"),
        ({"domain": "//Q/1-10"}, "is none of the atoms"),
        ({"domain": "*"}, "is all of the atoms"),
        ({"domain": "A:1-10"}, "is not understood"),
        ({"assembly": "7"}, "has no assembly '7'"),
    ],
)
def test_what_a_model_does_not_have_is_refused(
    test_data: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        specimen_from_model(test_data / "cryoem" / "models" / "8bk7.cif.gz", **options)


def _traces(path: Path, positions: np.ndarray) -> list[np.ndarray]:
    """Give the CA atoms of each long chain at the given positions of all atoms."""
    structure = gemmi.read_structure(str(path))
    structure.transform_to_assembly("1", gemmi.HowToNameCopiedChain.Dup)
    found = list(structure[0].all())
    chains: dict[str, dict[tuple[str, str], np.ndarray]] = {}
    for cra, position in zip(found, positions, strict=True):
        if cra.atom.name == "CA" and cra.atom.element.name == "C":
            chains.setdefault(cra.chain.name, {})[str(cra.residue.seqid), cra.residue.name] = (
                position
            )
    long = [chain for chain in chains.values() if len(chain) > 100]
    common = set.intersection(*(set(chain) for chain in long))
    return [np.array([chain[residue] for residue in sorted(common)]) for chain in long]


@pytest.mark.parametrize(
    ("name", "group"), [("8bk7", "D2"), ("6zwv", "C3"), ("7l2i", "C4"), ("7a4m", "O")]
)
def test_the_symmetry_of_deposited_models_is_found(test_data: Path, name: str, group: str) -> None:
    path = test_data / "cryoem" / "models" / f"{name}.cif.gz"
    assert specimen_from_model(path).symmetry == group
