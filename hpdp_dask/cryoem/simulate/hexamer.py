"""The built-in phantom: a D3 hexamer of the size of cytochrome c nitrite reductase, TvNiR.

380 kDa, 130 to 150 Å across for the most part. Each subunit is four ellipsoids packed with
alpha helices of pseudo-atoms; the uppermost ellipsoid is a domain that turns about a hinge. It
is drawn by rule from a fixed seed and has no protein's fold, but a protein's density, the
helix's pitch and hand, and no symmetry but D3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from hpdp_dask.cryoem.simulate.specimen import Domain, Specimen, replicate
from hpdp_dask.formats.model import AtomicModel
from hpdp_dask.numerics.symmetry import point_group

#: Mean mass of a protein's atom, its share of hydrogens included, Da.
MASS_PER_ATOM = 14.1

_SEED = 20  # any; the phantom never changes
_B_FACTOR = 40.0  # Å²
_HELIX_SPACING = 9.8  # Å, between the axes of packed helices
_HELIX_RADIUS = 2.0  # Å, kept between an axis and the surface of the ellipsoid
_SHORTEST = 6  # residues of a helix
_CLOSEST = 3.6  # Å, between the CA atoms of different helices
_RISE, _TURN = 1.5, 100.0  # Å and degrees a residue: the right-handed alpha helix

#: The atoms of a residue of a helix: element, radius Å, angle degrees, height Å. The first five
#: are always there, the side chain goes on by none to all of the others.
_RESIDUE = (
    ("N", 1.55, -28.0, -0.90),
    ("C", 2.29, 0.0, 0.00),  # CA
    ("C", 1.66, 26.4, 1.07),
    ("O", 2.00, 20.6, 2.28),
    ("C", 3.29, -19.5, -0.70),  # CB
    ("C", 4.60, -10.0, -1.30),
    ("C", 5.40, -22.0, -2.30),
    ("O", 5.80, 2.0, -0.70),
    ("C", 6.50, -14.0, -3.10),
)
_CA, _BACKBONE = 1, 5


@dataclass(frozen=True)
class _Ellipsoid:
    """A lobe of a subunit; its helices run along its first axis."""

    radius: float  # of its centre, from the threefold axis, Å
    azimuth: float  # of its centre, degrees
    height: float  # of its centre, Å
    semi_axes: tuple[float, float, float]  # Å
    euler_angles: tuple[float, float, float]  # of its axes, degrees

    @property
    def centre(self) -> np.ndarray:
        azimuth = np.radians(self.azimuth)
        return np.array([self.radius * np.cos(azimuth), self.radius * np.sin(azimuth), self.height])


_CORE = _Ellipsoid(29.5, 10.0, 22.0, (28.0, 20.0, 21.5), (20.0, 50.0, 0.0))
_BRIDGE = _Ellipsoid(38.0, 60.0, 13.0, (21.0, 15.0, 14.0), (140.0, 80.0, 30.0))
_LOBE = _Ellipsoid(57.0, -26.0, 18.0, (19.0, 14.0, 15.0), (-70.0, 40.0, 0.0))
_HINGED = _Ellipsoid(23.0, -10.0, 51.5, (20.5, 15.0, 15.0), (120.0, 70.0, 0.0))


def phantom() -> Specimen:
    """Draw the phantom.

    Returns
    -------
    Specimen
        D3, the threefold axis on z and a twofold on x. Its six domains turn in concert, each
        about the hinge where it joins its subunit, so it has D3 at any angle.
    """
    rng = np.random.default_rng(_SEED)
    operators = point_group("D3")
    residues: list[np.ndarray] = []
    for lobe in (_CORE, _BRIDGE, _LOBE):
        residues += _pack(lobe, residues, operators, rng)
    subunit = _atoms(residues, rng)
    domain = _atoms(_pack(_HINGED, residues, operators, rng), rng)
    # The hinge lies between the core and the domain and runs around the threefold axis.
    point = 0.45 * _CORE.centre + 0.55 * _HINGED.centre
    axis = np.cross([0.0, 0.0, 1.0], point)
    return Specimen(
        name="phantom",
        symmetry="D3",
        body=replicate(subunit, operators),
        domain=Domain(domain, point, axis / np.linalg.norm(axis), operators),
    )


def _pack(
    lobe: _Ellipsoid, placed: Sequence[np.ndarray], operators: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Fill an ellipsoid with helices on a hexagonal lattice, clear of all that is placed.

    Gives residues as (9, 3) positions in the order of `_RESIDUE`, as `placed` holds them.
    """
    frame = Rotation.from_euler("ZYZ", lobe.euler_angles, degrees=True)
    long, *across = np.array(lobe.semi_axes) - np.array([0.0, _HELIX_RADIUS, _HELIX_RADIUS])
    filled: list[np.ndarray] = []
    for row in range(-3, 4):
        for column in range(-3, 4):
            place = _HELIX_SPACING * np.array([column + row / 2.0, row * np.sqrt(0.75)])
            depth = 1.0 - np.sum((place / across) ** 2)
            number = int(2.0 * long * np.sqrt(max(depth, 0.0)) / _RISE)
            if number < _SHORTEST:
                continue
            tilt = Rotation.from_rotvec(rng.normal(0.0, np.radians(3.0), 3))
            flip = Rotation.from_rotvec([0.0, np.pi * rng.integers(2), 0.0])
            helix = (frame * tilt * flip).apply(_helix(number, rng).reshape(-1, 3))
            helix = helix.reshape(number, -1, 3) + lobe.centre + frame.apply([0.0, *place])
            filled += _clear_run(helix, [*placed, *filled], operators)
    return filled


def _helix(number: int, rng: np.random.Generator) -> np.ndarray:
    """Make a helix of residues along x about the origin, (number, 9, 3) Å."""
    radius, angle, height = np.array([atom[1:] for atom in _RESIDUE]).T
    along = np.arange(number)[:, None]
    turn = np.radians(angle + _TURN * along + rng.uniform(0.0, 360.0))
    rise = height + _RISE * (along - (number - 1) / 2.0)
    # Side chains are not all alike.
    loose = rng.normal(0.0, 0.7, (number, len(_RESIDUE), 3))
    loose[:, :_BACKBONE] = 0.0
    return np.stack([rise, radius * np.cos(turn), radius * np.sin(turn)], axis=-1) + loose


def _clear_run(
    helix: np.ndarray, placed: Sequence[np.ndarray], operators: np.ndarray
) -> list[np.ndarray]:
    """Give the longest run of residues that is clear of what is placed and of all copies."""
    trace = helix[:, _CA]
    others = [trace @ operator.T for operator in operators[1:]]
    if placed:
        standing = np.stack([residue[_CA] for residue in placed])
        others += [standing @ operator.T for operator in operators]
    distance = np.asarray(cKDTree(np.concatenate(others)).query(trace)[0])
    runs = np.split(np.arange(len(helix)), np.flatnonzero(np.diff(distance > _CLOSEST)) + 1)
    clear = [run for run in runs if distance[run[0]] > _CLOSEST]
    longest = max(clear, key=len, default=np.array([], int))
    return list(helix[longest]) if len(longest) >= _SHORTEST else []


def _atoms(residues: Sequence[np.ndarray], rng: np.random.Generator) -> AtomicModel:
    """Cut side chains to lengths of their own, and make atoms of residues."""
    kept = _BACKBONE + rng.integers(0, len(_RESIDUE) - _BACKBONE + 1, len(residues))
    kept = np.maximum(kept, _BACKBONE + rng.integers(0, 2, len(residues)))
    positions = np.concatenate([residue[:n] for residue, n in zip(residues, kept, strict=True)])
    elements = [atom[0] for n in kept for atom in _RESIDUE[:n]]
    return AtomicModel(
        positions, elements, np.full(len(positions), _B_FACTOR), np.ones(len(positions))
    )
