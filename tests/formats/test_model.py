import gzip

import gemmi
import numpy as np
import pytest
from scipy.spatial import cKDTree

from hpdp_dask.errors import InputError
from hpdp_dask.formats.model import electron_form_factors, read_model

PDB = (
    "ATOM      1  CA  GLY A   1       1.000   2.000   3.000  0.50 10.00           C\n"
    "HETATM    2 ZN    ZN A   2       4.000   5.000   6.000  1.00 20.00          ZN\n"
    "END\n"
)
BIOMT = (
    "REMARK 350 BIOMOLECULE: 1\n"
    "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A\n"
    "REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000\n"
    "REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000\n"
    "REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000\n"
    "REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000        0.00000\n"
    "REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000\n"
    "REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        9.00000\n"
)


def test_atoms_of_a_pdb(tmp_path):
    (tmp_path / "a.pdb").write_text(PDB)
    model = read_model(tmp_path / "a.pdb")
    np.testing.assert_allclose(model.positions, [[1, 2, 3], [4, 5, 6]])
    assert model.elements == ["C", "Zn"]
    np.testing.assert_allclose(model.b_factors, [10, 20])
    np.testing.assert_allclose(model.occupancies, [0.5, 1])


def test_assembly_of_a_gzipped_pdb(tmp_path):
    path = tmp_path / "a.pdb.gz"
    path.write_bytes(gzip.compress((BIOMT + PDB).encode()))
    model = read_model(path)
    np.testing.assert_allclose(model.positions, [[1, 2, 3], [4, 5, 6], [-1, -2, 12], [-4, -5, 15]])
    assert model.elements == ["C", "Zn", "C", "Zn"]
    assert len(read_model(path, "none").elements) == 2
    with pytest.raises(InputError, match="no assembly '7'; it has 1;"):
        read_model(path, "7")


def test_apoferritin_has_24_subunits_of_the_octahedral_group(test_data):
    path = test_data / "cryoem/models/7a4m.cif.gz"
    deposited, whole = read_model(path, "none"), read_model(path)
    assert len(deposited.elements) == 3177
    # copies of an atom on an axis fall together, and are one atom
    assert 24 * 3160 < len(whole.elements) <= 24 * 3177
    # the four-fold axis along z takes the atoms to themselves
    centre = np.average(whole.positions, axis=0, weights=whole.occupancies)
    centred = whole.positions - centre
    turned = np.stack([-centred[:, 1], centred[:, 0], centred[:, 2]], axis=1)
    distances, _ = cKDTree(centred).query(turned)
    assert distances.max() < 0.2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.cif", b"hello", "not an atomic model"),
        ("a.pdb", b"hello\n", "holds no atoms"),
        ("a.cif", b"data_x\n_a 1\n", "holds no atoms"),
        ("a.cif.gz", b"hello", "not an atomic model"),
        ("a.txt", b"hello", "not an atomic model"),
        ("a.pdb", PDB.replace("ZN\nEND", " X\nEND").encode(), "atom 2 is of no known element"),
    ],
)
def test_what_is_no_model(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_model(tmp_path / name)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_model(tmp_path / "a.pdb")


def test_form_factors_are_those_of_the_tables():
    amplitudes, widths = electron_form_factors(["C", "Fe", "C"])
    assert amplitudes.shape == widths.shape == (3, 5)
    np.testing.assert_array_equal(amplitudes[0], amplitudes[2])
    # International Tables C, table 4.3.1.1, f_e at s = 0: 2.509 Å for C, 7.165 Å for Fe
    np.testing.assert_allclose(amplitudes.sum(axis=1)[:2], [2.509, 7.165], rtol=2e-3)
    stol2 = 0.3**2
    np.testing.assert_allclose(
        (amplitudes * np.exp(-widths * stol2)).sum(axis=1)[:2],
        [gemmi.Element(name).c4322.calculate_sf(stol2) for name in ("C", "Fe")],
        rtol=1e-6,
    )
    with pytest.raises(InputError, match="'Og'"):
        electron_form_factors(["C", "Og"])
    with pytest.raises(InputError, match="'X'"):
        electron_form_factors(["X"])
