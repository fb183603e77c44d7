"""Atomic models: PDB and mmCIF through gemmi, with biological assemblies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from hpdp_dask.errors import InputError

#: The name that asks for the coordinates as deposited.
DEPOSITED = "none"


@dataclass(frozen=True)
class AtomicModel:
    """The atoms of a model, hydrogens, waters and alternative positions included.

    Attributes
    ----------
    positions : (n, 3) ndarray of float64
        x, y, z as in the file, Å; not centred.
    elements : list of str
        Symbol of each atom; deuterium counts as H.
    b_factors : (n,) ndarray of float64
        Isotropic, Å².
    occupancies : (n,) ndarray of float64
        From 0 to 1.
    """

    positions: np.ndarray
    elements: list[str]
    b_factors: np.ndarray
    occupancies: np.ndarray


def read_model(path: Path, assembly: str | None = None) -> AtomicModel:
    """Read the first model of a PDB or mmCIF file.

    Parameters
    ----------
    path : Path
        `.pdb`, `.ent`, `.cif` or `.mmcif`, also with `.gz`.
    assembly : str, optional
        Name of the biological assembly; `none` for the coordinates as deposited. By default
        assembly `1` if the file tells of assemblies, else the deposited coordinates.

    Returns
    -------
    AtomicModel

    Raises
    ------
    InputError
        No such file or not a model, no atoms, no such assembly, an atom of no known element, a
        position or a B-factor that is not finite.
    """
    path = Path(path)
    structure = read_structure(path)
    del structure[1:]
    names = [found.name for found in structure.assemblies]
    if assembly is None:
        assembly = "1" if names else DEPOSITED
    if assembly != DEPOSITED:
        if assembly not in names:
            raise InputError(
                f"{path}: has no assembly {assembly!r}; it has "
                f"{', '.join(names) or 'none at all'}; ask for one of these or for "
                f"{DEPOSITED!r}, the coordinates as deposited."
            )
        structure.transform_to_assembly(assembly, gemmi.HowToNameCopiedChain.Dup)
    atoms = gemmi.FlatStructure(structure)
    positions = np.array(atoms.pos, dtype=np.float64)
    b_factors = np.array(atoms.b_iso, dtype=np.float64)
    occupancies = np.array(atoms.occ, dtype=np.float64)
    bad = ~(np.isfinite(positions).all(axis=1) & np.isfinite(b_factors) & np.isfinite(occupancies))
    if bad.any():
        raise InputError(
            f"{path}: {int(bad.sum())} atoms have no finite position, B-factor or occupancy, the "
            f"first is atom {int(np.argmax(bad)) + 1}; mend the model."
        )
    numbers = np.asarray(atoms.elements, dtype=np.int64)
    if not numbers.all():
        raise InputError(
            f"{path}: atom {int(np.argmin(numbers)) + 1} is of no known element; fill in the "
            "element column of the model."
        )
    symbols = {number: gemmi.Element(number).name for number in np.unique(numbers).tolist()}
    return AtomicModel(
        positions=positions,
        elements=[symbols[number] for number in numbers.tolist()],
        b_factors=b_factors,
        occupancies=occupancies,
    )


def read_structure(path: Path) -> gemmi.Structure:
    """Read a PDB or mmCIF file as gemmi has it.

    Raises
    ------
    InputError
        It cannot be read, is no model, or holds no atoms.
    """
    try:
        structure = gemmi.read_structure(str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{path}: not an atomic model in PDB or mmCIF format (.pdb, .ent, .cif, .mmcif, also "
            f"with .gz): {str(error).rstrip('.')}."
        ) from error
    if len(structure) == 0 or structure[0].count_atom_sites() == 0:
        raise InputError(f"{path}: holds no atoms; give an atomic model in PDB or mmCIF format.")
    return structure


def electron_form_factors(elements: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Give the scattering of electrons by elements as sums of Gaussians.

    `f(s) = sum_i a_i exp(-b_i s²)`, `s = sin(theta) / wavelength = |k| / 2` in 1/Å: the elastic
    scattering factors of neutral atoms for s up to 2, International Tables for Crystallography
    C, table 4.3.2.2 (Peng, Ren, Dudarev & Whelan 1996, Acta Cryst. A52, 257), as in gemmi.

    Parameters
    ----------
    elements : sequence of str
        Symbols, k of them.

    Returns
    -------
    amplitudes : (k, 5) ndarray of float64
        `a`, Å.
    widths : (k, 5) ndarray of float64
        `b`, Å².

    Raises
    ------
    InputError
        An element that the table does not have (from einsteinium on, or not an element).
    """
    amplitudes, widths = [], []
    for symbol in elements:
        element = gemmi.Element(symbol)
        gaussians = element.c4322
        if gaussians is None or element.atomic_number == 0:
            raise InputError(
                f"no electron scattering factor is known for the element {symbol!r}; take it out "
                "of the model or name another element for it."
            )
        amplitudes.append(gaussians.a)
        widths.append(gaussians.b)
    return np.array(amplitudes), np.array(widths)
