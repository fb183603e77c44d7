"""Structure factors of a crystal from an atomic model, through gemmi."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.model import read_structure

#: B-factor of all atoms while their density is on a grid, Å²; taken off again.
_B_FACTOR = 12.0

#: Points of the grid over the finest spacing.
_RATE = 1.5

#: Reflections of a table at most: 1 GB.
_MOST = 2.5e8


def read_structure_factors(path: Path, finest: float) -> tuple[np.ndarray, np.ndarray]:
    """Read an atomic model, and compute the structure factors of its crystal.

    Parameters
    ----------
    path : Path
        PDB or mmCIF with a unit cell, also with `.gz`.
    finest : float
        Resolution to which they are wanted, Å.

    Returns
    -------
    cell : (6,) ndarray of float64
        Å and degrees.
    squared : (2H+1, 2K+1, 2L+1) ndarray of float32
        \\|F\\|² of all h, k, l from -H, -K, -L on, electrons²: of the atoms in vacuum, without
        B-factors; 0 beyond `finest`.

    Raises
    ------
    InputError
        It is no atomic model, has no unit cell, or too large a one.
    """
    structure = read_structure(path)
    cell = structure.cell
    if not cell.is_crystal():
        raise InputError(
            f"{path}: tells of no unit cell (CRYST1, _cell), so there are no Bragg spots; give the "
            "model of a crystal structure."
        )
    if 8.0 * cell.a * cell.b * cell.c / finest**3 > _MOST:
        raise InputError(
            f"{path}: the cell of {cell.a:g} x {cell.b:g} x {cell.c:g} Å has too many reflections "
            f"to {finest:g} Å; give a smaller cell or a coarser resolution."
        )
    for atom in structure[0].all():
        atom.atom.b_iso = _B_FACTOR
        atom.atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min, calculator.rate = finest, _RATE
    calculator.grid.setup_from(structure)
    calculator.put_model_density_on_grid(structure[0])
    transform = gemmi.transform_map_to_f_phi(calculator.grid, half_l=False)
    values = np.abs(np.asarray(transform.array)) ** 2
    most = [int(edge / finest) for edge in (cell.a, cell.b, cell.c)]
    index = [np.arange(-m, m + 1) for m in most]
    table = values[np.ix_(*(i % n for i, n in zip(index, values.shape, strict=True)))]
    star = np.array(cell.frac.mat)
    g = sum(
        axis.reshape([-1 if place == number else 1 for place in range(3)] + [1]) * star[number]
        for number, axis in enumerate(index)
    )
    length = np.asarray((g**2).sum(axis=-1))
    table = np.where(length <= finest**-2, table * np.exp(_B_FACTOR * length / 2.0), 0.0)
    edges = np.array([cell.a, cell.b, cell.c, cell.alpha, cell.beta, cell.gamma])
    return edges, table.astype(np.float32)
