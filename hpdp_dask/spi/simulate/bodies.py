"""How one particle of a species scatters: a homogeneous body, or atoms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from hpdp_dask.formats.model import read_model
from hpdp_dask.formats.xray_factors import xray_form_factor
from hpdp_dask.numerics import form_factors
from hpdp_dask.numerics.arrays import Array, namespace, to_host
from hpdp_dask.numerics.atoms import (
    Atoms,
    Table,
    exact_sum,
    nufft_sum,
    structure_factor,
    table_length,
    tabulate,
)
from hpdp_dask.spi.simulate.species import Species

#: Atoms times pixels up to which waves are summed one by one: about a tenth of a second a frame.
_FEW_WAVES = 2**23

#: Edge of the largest table of a structure factor, points: 256 MB in memory for a while.
_LONGEST_TABLE = 256


class Body(Protocol):
    """A particle that can be turned and, if it is no model of atoms, scaled.

    Attributes
    ----------
    size : float
        Diameter of the sphere of equal volume, Å, of a particle of the species' size.
    reach : float
        Radius of the circumscribed sphere of that, Å.
    """

    @property
    def size(self) -> float:
        """Diameter of the sphere of equal volume, Å."""

    @property
    def reach(self) -> float:
        """Radius of the circumscribed sphere, Å."""

    def amplitude(self, q: Array, size: float) -> Array:
        """Give the amplitude at (3, m) vectors in the body's frame, 1/Å: (m,) electrons."""


@dataclass(frozen=True)
class Homogeneous:
    """A body of one density.

    Attributes
    ----------
    species : Species
        Of a shape.
    size : float
    """

    species: Species
    size: float

    @property
    def reach(self) -> float:
        """Radius of the circumscribed sphere, Å."""
        across, along = self._diameters(self.size)
        return 0.5 * (
            np.hypot(across, along) if self.species.shape == "rod" else max(across, along)
        )

    def amplitude(self, q: Array, size: float) -> Array:
        """Give the amplitude at (3, m) vectors in the body's frame, 1/Å: (m,) electrons, real."""
        across, along = self._diameters(size)
        match self.species.shape:
            case "sphere":
                volume = form_factors.sphere(q, size)
            case "icosahedron":
                volume = form_factors.icosahedron(q, across)
            case "spheroid":
                volume = form_factors.spheroid(q, across, along)
            case _:
                volume = form_factors.rod(q, across, along)
        return q.dtype.type(self.species.density) * volume

    def _diameters(self, size: float) -> tuple[float, float]:
        """Give the diameters across and along the axis of a body with the volume of a sphere."""
        aspect = self.species.proportion
        match self.species.shape:
            case "icosahedron":
                across = size * (np.pi / 6.0 / form_factors.ICOSAHEDRON_VOLUME) ** (1.0 / 3.0)
            case "rod":
                across = size * (2.0 / (3.0 * aspect)) ** (1.0 / 3.0)
            case _:
                across = size * aspect ** (-1.0 / 3.0)
        return float(across), float(across * aspect)


@dataclass(frozen=True)
class Atomic:
    """A model of atoms, all of one size.

    Attributes
    ----------
    atoms : list of Atoms
        About their centre.
    size, reach : float
    lengths : (m,) ndarray
        Of the scattering vectors that will be asked for.
    table : Table or None
        None where it would be too large: every frame has its sums done.
    """

    atoms: list[Atoms]
    size: float
    reach: float
    lengths: np.ndarray
    table: Table | None

    def amplitude(self, q: Array, size: float) -> Array:
        """Give the amplitude at (3, m) vectors in the model's frame, 1/Å: (m,) electrons."""
        if self.table is not None:
            return self.table.at(q)
        few = sum(len(each.weights) for each in self.atoms) * q.shape[1] <= _FEW_WAVES
        return structure_factor(q, self.atoms, self.lengths, exact_sum if few else nufft_sum)


def body_of(species: Species, q: Array) -> Body:
    """Make the body of a species.

    Parameters
    ----------
    species : Species
    q : (3, m) array of float
        The scattering vectors of the pixels, 1/Å; what is made lives where they do.

    Returns
    -------
    Body

    Raises
    ------
    InputError
        The file is no atomic model, or has an element without a form factor.
    """
    if species.shape != "model":
        assert species.size is not None
        return Homogeneous(species, species.size)
    assert species.file is not None
    model = read_model(species.file, species.assembly)
    present = model.occupancies > 0
    centre = np.average(model.positions[present], axis=0, weights=model.occupancies[present])
    elements = np.array(model.elements)
    atoms = [
        Atoms(
            model.positions[chosen] - centre,
            model.occupancies[chosen],
            partial(_form_factor, element),
        )
        for element in sorted(set(elements[present].tolist()))
        if (chosen := present & (elements == element)).any()
    ]
    reach = max(float(np.linalg.norm(each.positions, axis=1).max()) for each in atoms)
    # the sphere that holds as many electrons at the density of the species
    electrons = sum(float(each.weights.sum() * each.form_factor(np.zeros(1))[0]) for each in atoms)
    size = (6.0 / np.pi * electrons / species.density) ** (1.0 / 3.0)
    lengths = np.linalg.norm(to_host(q), axis=0)
    return Atomic(atoms, size, reach, lengths, _table(atoms, reach, lengths, q))


def _form_factor(element: str, length: np.ndarray) -> np.ndarray:
    return xray_form_factor(element, length / 2.0)


def _table(atoms: list[Atoms], reach: float, lengths: np.ndarray, q: Array) -> Table | None:
    """Make a table of the structure factor, where it pays and is not too large."""
    extent, longest = 2.0 * max(reach, 1.0), float(lengths.max())
    few = sum(len(each.weights) for each in atoms) * len(lengths) <= _FEW_WAVES
    if few or table_length(extent, longest) > _LONGEST_TABLE:
        return None
    xp = namespace(q)
    table = tabulate(atoms, extent, longest)
    return Table(xp.asarray(table.real), xp.asarray(table.imaginary), table.spacing)
