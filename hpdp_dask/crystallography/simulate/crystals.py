"""The crystal of a shot: its cell, how it is turned, how well it is ordered, how bright it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from hpdp_dask.crystallography.simulate.instrument import Instrument
from hpdp_dask.crystallography.simulate.settings import SPREADS, Settings
from hpdp_dask.numerics.arrays import fast_namespace
from hpdp_dask.numerics.bragg_spots import Crystal, Plane, StructureFactors, bragg_spots
from hpdp_dask.numerics.crystal_lattice import cell_vectors, cell_volume, reciprocal_vectors
from hpdp_dask.numerics.diffuse_scatter import light_atom
from hpdp_dask.numerics.rotations import random_rotations, rotation_vector_to_matrix
from hpdp_dask.numerics.stamped_spots import spot_areas
from hpdp_dask.numerics.still_image import Diffuse

#: Å³ of a crystal of protein and water for each of its atoms but hydrogen, with half of the cell
#: solvent (Matthews 1968, J. Mol. Biol. 33, 491), and the mean squared electrons of these atoms.
_ATOM_VOLUME, _ELECTRONS = 33.0, 6.65

#: Volume of a cell at most, Å³.
_LARGEST_CELL = 6e6

#: Flat bulk solvent: its density over the protein's, and its B-factor, Å² (Tronrud 1997, Methods
#: Enzymol. 277, 306).
_SOLVENT, _SOLVENT_B = 0.75, 200.0

#: Points of the table of mean intensities, and where it ends, 1/Å².
_POINTS, _END = 256, 1.6

#: Spots are looked for to this share of the resolution limit.
BEYOND = 0.75

#: Signal over noise of a typical bright spot at the resolution limit, so that stills which DISTL
#: gives a resolution look like simulated ones of the same.
_LIMIT = 6.0


@dataclass(frozen=True)
class Sample:
    """What diffracts in a shot.

    Attributes
    ----------
    cell : (3, 3) ndarray
        Rows a, b, c before they are turned, Å.
    cells : (3,) ndarray
        Cells along each edge of a domain.
    mosaicity : float
        Standard deviation of the orientation of domains, radians.
    b_factor, resolution : float
        Å², Å.
    factors : StructureFactors
    rotations : tuple of (n, 3, 3) ndarray
        Of the pieces of each lattice.
    shares : tuple of (n,) ndarray
        Of the photons, of each piece.
    misorientation : float
        Largest angle of a lattice to the first, degrees.
    photons : float
        Photons per Å² times domains, of a share of 1.
    """

    cell: np.ndarray
    cells: np.ndarray
    mosaicity: float
    b_factor: float
    resolution: float
    factors: StructureFactors
    rotations: tuple[np.ndarray, ...]
    shares: tuple[np.ndarray, ...]
    misorientation: float
    photons: float = 1.0

    def pieces(self) -> Iterator[tuple[Crystal, float]]:
        """Give each piece with its photons."""
        for rotations, shares in zip(self.rotations, self.shares, strict=True):
            for rotation, share in zip(rotations, shares, strict=True):
                crystal = Crystal(self.cell @ rotation.T, self.cells, self.mosaicity, self.b_factor)
                yield crystal, float(share * self.photons)


def draw_sample(
    settings: Settings,
    instrument: Instrument,
    diffuse: Diffuse,
    resolution: float,
    rng: np.random.Generator,
) -> Sample:
    """Draw a crystal of one lattice or several, as bright as the resolution limit tells.

    Parameters
    ----------
    settings : Settings
    instrument : Instrument
    diffuse : Diffuse
        Of the shot: spots must stand out from it to the limit, and no further.
    resolution : float
        Å.
    rng : Generator

    Returns
    -------
    Sample
    """
    if settings.model is None:
        cell = draw_cell(settings, resolution, rng)
        factors = wilson_factors(cell, int(rng.integers(2**63)))
    else:
        cell, factors = model_factors(settings.model, BEYOND * settings.resolution[0])
    low, high = settings.domain_size
    domain = low * (high / low) ** rng.random()
    cells = np.maximum(np.round(domain / np.linalg.norm(cell, axis=1)), 3.0)
    mosaicity = float(np.radians(rng.uniform(*settings.mosaicity)))
    b_factor = draw_b_factor(resolution, rng)
    lattices, weights, misorientation = draw_rotations(settings, rng)
    rotations, shares = [], []
    for lattice, weight in zip(lattices, weights, strict=True):
        pieces = int(rng.integers(2, 4)) if rng.random() < settings.split else 1
        turns = rng.normal(0.0, 1.5 * mosaicity, (pieces, 3))
        turns[0] = 0.0
        rotations.append(rotation_vector_to_matrix(turns) @ lattice)
        shares.append(weight * rng.dirichlet(np.full(pieces, 3.0)))
    sample = Sample(
        *(cell, cells, mosaicity, b_factor, resolution, factors),
        *(tuple(rotations), tuple(shares), misorientation),
    )
    return replace(sample, photons=photons_for(sample, instrument, diffuse))


def draw_cell(settings: Settings, resolution: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the edges of a cell: (3, 3) rows a, b, c, Å, of any crystal system."""
    low, high = np.log(settings.cell_edge)
    # what diffracts to low resolution only is seldom small
    low = min(max(low, np.log(12.0 * resolution)), high)
    a, b, c = np.exp(rng.uniform(low, high, 3))
    alpha = beta = gamma = 90.0
    match rng.choice(["cubic", "tetragonal", "hexagonal", "orthorhombic", "monoclinic", "any"]):
        case "cubic":
            b = c = a
        case "tetragonal":
            b = a
        case "hexagonal":
            b, gamma = a, 120.0
        case "monoclinic":
            beta = rng.uniform(90.0, 120.0)
        case "any":
            alpha, beta, gamma = rng.uniform(75.0, 105.0, 3)
    vectors = cell_vectors([a, b, c, alpha, beta, gamma])
    return vectors * min(1.0, (_LARGEST_CELL / cell_volume(vectors)) ** (1.0 / 3.0))


def wilson_factors(vectors: np.ndarray, key: int) -> StructureFactors:
    """Give structure factors of a protein crystal: Wilson's statistics about a mean.

    Parameters
    ----------
    vectors : (3, 3) ndarray
        Cell, Å.
    key : int
        Of the random numbers.

    Returns
    -------
    StructureFactors
        The mean is that of independent atoms, with the swing of secondary structure around 6 and
        4.5 Å that measured data have (as seen by Popov & Bourenkov 2003, Acta Cryst. D59, 1145),
        and flat solvent; without a B-factor. On the GPU where there is one.
    """
    squared = np.linspace(0.0, _END, _POINTS)
    length = np.sqrt(squared)
    atoms = cell_volume(vectors) / _ATOM_VOLUME
    swing = 1.0 + 0.55 * np.exp(-0.5 * ((length - 0.22) / 0.045) ** 2)
    swing -= 0.35 * np.exp(-0.5 * ((length - 0.15) / 0.03) ** 2)
    # below 10 Å the shape of molecules makes reflections stronger again
    shape = 1.0 + 6.0 * np.exp(-0.5 * (length / 0.05) ** 2)
    mean = atoms * light_atom(length / 2.0, _ELECTRONS) ** 2 * swing * shape * _in_solvent(squared)
    return StructureFactors(fast_namespace().asarray(mean), float(squared[1]), key)


@lru_cache(maxsize=1)
def model_factors(path: str, finest: float) -> tuple[np.ndarray, StructureFactors]:
    """Give the cell, (3, 3) rows a, b, c, Å, and the structure factors of an atomic model.

    Parameters
    ----------
    path : str
        PDB or mmCIF file of a crystal structure.
    finest : float
        Å.

    Raises
    ------
    InputError
        As `read_structure_factors`.
    """
    from hpdp_dask.formats.structure_factors import read_structure_factors

    cell, table = read_structure_factors(Path(path), finest)
    vectors = cell_vectors(cell)
    most = [length // 2 for length in table.shape]
    index = np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij", sparse=True)
    star = reciprocal_vectors(vectors)
    squared = sum(
        sum(number * star[axis, place] for axis, number in enumerate(index)) ** 2
        for place in range(3)
    )
    table = (table * _in_solvent(np.asarray(squared))).astype(np.float32)
    xp = fast_namespace()
    return vectors, StructureFactors(xp.ones(2), _END, table=xp.asarray(table))


def _in_solvent(squared: np.ndarray) -> np.ndarray:
    """Give by how much flat solvent weakens intensities at a squared length, 1/Å²."""
    return np.asarray((1.0 - _SOLVENT * np.exp(-_SOLVENT_B * squared / 4.0)) ** 2)


def draw_rotations(
    settings: Settings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw the lattices of a shot.

    Returns
    -------
    rotations : (n, 3, 3) ndarray
        Of each.
    weights : (n,) ndarray
        Brightness over the first's.
    misorientation : float
        Largest angle between the first and another, degrees; 0 for a single lattice.
    """
    first = random_rotations(1, rng)
    several = settings.misorientation != "single" and rng.random() < settings.several
    if not several:
        return first, np.ones(1), 0.0
    number = int(rng.integers(1, settings.most_lattices))
    if settings.misorientation == "uniform":
        angles = rng.uniform(1.0, 180.0, number)
    else:
        angles = np.abs(rng.normal(0.0, rng.choice(SPREADS), number))
    axes = rng.normal(size=(number, 3))
    axes *= (np.radians(angles) / np.linalg.norm(axes, axis=1))[:, None]
    turned = rotation_vector_to_matrix(axes) @ first
    weights = np.concatenate([[1.0], rng.uniform(0.3, 1.0, number)])
    return np.concatenate([first, turned]), weights, float(angles.max())


def draw_b_factor(resolution: float, rng: np.random.Generator) -> float:
    """Draw a B-factor, Å²: that of a crystal which is limited by its order, or a better one.

    `B = 4 d² + 12` is what crystals that diffract to d have (Holton 2009, J. Synchrotron Rad. 16,
    133). A small or grazed crystal is seen to a lower resolution than its order would let it.
    """
    limit = max(resolution * rng.uniform(0.55, 1.0), min(resolution, 1.3))
    return 4.0 * limit**2 + 12.0


def photons_for(sample: Sample, instrument: Instrument, diffuse: Diffuse) -> float:
    """Give how bright a crystal must be for its spots to be seen to its resolution.

    At the limit a typical bright spot is six standard deviations of the counts under it, its own
    and the background's: the mean over the spots of a thin shell, weighted by their photons.

    Parameters
    ----------
    sample : Sample
        Its first lattice is looked at.
    instrument : Instrument
    diffuse : Diffuse

    Returns
    -------
    float
        Photons per Å² times domains.
    """
    crystal = next(sample.pieces())[0]
    resolution = sample.resolution
    tangent = float(instrument.tangent(resolution))
    size, distance = instrument.plane.pixel_size, instrument.distance
    # all around the beam, whether there is a detector or not
    half = int(1.1 * tangent * distance / size) + 1
    everywhere = Plane(
        np.array([-half * size, -half * size, distance]),
        np.array([size, 0.0, 0.0]),
        np.array([0.0, size, 0.0]),
        (2 * half + 1, 2 * half + 1),
    )
    width, spots = 0.01, np.empty((0, 7))
    while len(spots) < 20 and width < 0.5:
        width *= 2.0
        spots = bragg_spots(
            crystal,
            sample.factors,
            instrument.beam,
            everywhere,
            1.0,
            finest=resolution * (1.0 - width),
            coarsest=resolution * (1.0 + width),
            blur=instrument.blur,
            parallax=instrument.model.sensor,
            faintest=0.0,
        )
    if not len(spots):
        return 0.0
    area = spot_areas(spots)
    photons = spots[:, 5] * area
    bright = np.sum(photons**2) / np.sum(photons)
    noise = 2.0 * np.sum(photons * area) / np.sum(photons) * float(diffuse.at(np.array(tangent)))
    wanted = 0.5 * (_LIMIT**2 + np.sqrt(_LIMIT**4 + 4.0 * _LIMIT**2 * noise))
    return float(wanted / bright)
