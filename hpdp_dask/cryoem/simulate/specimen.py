"""What is imaged: atoms, and perhaps a domain of them that turns about a hinge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from hpdp_dask.formats.model import AtomicModel


@dataclass(frozen=True)
class Domain:
    """A rigid part of a specimen that turns about an axis.

    Attributes
    ----------
    atoms : AtomicModel
        The part at the angle 0.
    point : (3,) ndarray
        Of the hinge's axis, x, y, z in Å.
    axis : (3,) ndarray
        Direction of the hinge's axis, of unit length; positive angles are right-handed.
    operators : (m, 3, 3) ndarray
        Rotations that make the specimen's copies of the part, which turn in concert; the
        identity alone for a single part.
    """

    atoms: AtomicModel
    point: np.ndarray
    axis: np.ndarray
    operators: np.ndarray

    def turn(self, angles: np.ndarray) -> np.ndarray:
        """Give the rotations about the hinge: (n,) degrees to (n, 3, 3)."""
        vectors = np.radians(np.asarray(angles, dtype=np.float64))[:, None] * self.axis
        return np.asarray(Rotation.from_rotvec(vectors).as_matrix())

    def at(self, angle: float) -> AtomicModel:
        """Give the atoms of all copies turned by an angle, degrees."""
        turned = (self.atoms.positions - self.point) @ self.turn(np.array([angle]))[0].T
        return replicate(moved(self.atoms, turned + self.point), self.operators)


@dataclass(frozen=True)
class Specimen:
    """Atoms in the frame of the map: the centre and the axes of symmetry at the origin.

    Attributes
    ----------
    name : str
        For reports.
    symmetry : str
        Point group of the specimen at any angle, in RELION's setting.
    body : AtomicModel
        What does not move.
    domain : Domain or None
        What turns, not part of `body`.
    """

    name: str
    symmetry: str
    body: AtomicModel
    domain: Domain | None = None

    def at(self, angle: float = 0.0) -> AtomicModel:
        """Give all atoms, the domain turned by an angle in degrees."""
        if self.domain is None:
            return self.body
        return joined([self.body, self.domain.at(angle)])

    def radius(self) -> float:
        """Give the greatest distance, Å, from the origin that an atom is at or turns to."""
        reach = np.linalg.norm(self.body.positions, axis=1).max(initial=0.0)
        if self.domain is not None:
            arms = np.linalg.norm(self.domain.atoms.positions - self.domain.point, axis=1)
            reach = max(reach, np.linalg.norm(self.domain.point) + arms.max())
        return float(reach)


def moved(atoms: AtomicModel, positions: np.ndarray) -> AtomicModel:
    """Give the same atoms at other positions, (n, 3) Å."""
    return replace(atoms, positions=positions)


def weighted(atoms: AtomicModel, weight: float) -> AtomicModel:
    """Give the same atoms, their occupancies multiplied by a weight."""
    return replace(atoms, occupancies=weight * atoms.occupancies)


def joined(parts: Sequence[AtomicModel]) -> AtomicModel:
    """Put the atoms of several models into one."""
    return AtomicModel(
        np.concatenate([part.positions for part in parts]),
        [element for part in parts for element in part.elements],
        np.concatenate([part.b_factors for part in parts]),
        np.concatenate([part.occupancies for part in parts]),
    )


def replicate(atoms: AtomicModel, operators: np.ndarray) -> AtomicModel:
    """Give the copies of atoms under (m, 3, 3) rotations about the origin."""
    return joined([moved(atoms, atoms.positions @ operator.T) for operator in operators])
