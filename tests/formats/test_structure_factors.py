"""Structure factors of a model on a grid, against gemmi's direct sum."""

import gemmi
import numpy as np
import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.formats.structure_factors import read_structure_factors


@pytest.fixture
def model(tmp_path):
    structure = gemmi.Structure()
    structure.cell = gemmi.UnitCell(20.0, 25.0, 30.0, 90.0, 105.0, 90.0)
    structure.spacegroup_hm = "P 1 21 1"
    chain, residue = gemmi.Chain("A"), gemmi.Residue()
    residue.name = "ALA"
    rng = np.random.default_rng(2)
    for number, element in enumerate("CNOSCCNO"):
        atom = gemmi.Atom()
        atom.name, atom.element, atom.occ, atom.b_iso = (
            f"{element}{number}",
            gemmi.Element(element),
            1.0,
            30.0,
        )
        atom.pos = gemmi.Position(*rng.uniform(0.0, 20.0, 3))
        residue.add_atom(atom)
    chain.add_residue(residue)
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    structure.setup_entities()
    path = tmp_path / "model.pdb"
    structure.write_pdb(str(path))
    return path


def test_is_the_direct_sum_of_atoms_without_b_factors(model):
    cell, table = read_structure_factors(model, 2.0)
    np.testing.assert_allclose(cell, [20.0, 25.0, 30.0, 90.0, 105.0, 90.0])
    middle = np.array(table.shape) // 2
    structure = gemmi.read_structure(str(model))
    for site in structure[0].all():
        site.atom.b_iso = 0.0
    direct = gemmi.StructureFactorCalculatorX(structure.cell)
    for index in ((0, 0, 2), (1, 2, 3), (-5, 4, 6), (3, -8, 2), (7, 1, -9)):
        wanted = abs(direct.calculate_sf_from_model(structure[0], index))
        assert np.sqrt(table[tuple(middle + index)]) == pytest.approx(wanted, rel=0.03, abs=0.5)
    # Friedel's law, and nothing beyond the limit
    np.testing.assert_allclose(table, table[::-1, ::-1, ::-1], rtol=1e-3, atol=1e-2)
    assert table[0, 0, 0] == 0.0


def test_a_model_without_a_cell_is_refused(test_data):
    with pytest.raises(InputError, match="no unit cell"):
        read_structure_factors(test_data / "spi/models/4bed.pdb.gz", 3.0)


def test_a_cell_with_too_many_reflections_is_refused(model):
    with pytest.raises(InputError, match="too many reflections"):
        read_structure_factors(model, 0.05)
