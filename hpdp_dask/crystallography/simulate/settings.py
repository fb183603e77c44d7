"""What a set of simulated stills shall be like: ranges that each shot is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from hpdp_dask.crystallography.simulate.detectors import DETECTORS
from hpdp_dask.errors import InputError

Range = tuple[float, float]

#: How the orientations of several lattices in one shot differ; "single": there is one only.
Misorientation = Literal["uniform", "gaussian", "single"]

#: Standard deviations of the misorientation of a Gaussian set, degrees; each as often.
SPREADS = (0.1, 1.0, 10.0)

#: What a range may span at all: what is beyond is surely a slip of unit.
_BOUNDS: Mapping[str, tuple[float, float, str]] = {
    "resolution": (0.8, 20.0, "Å"),
    "wavelength": (0.3, 5.0, "Å"),
    "distance": (0.02, 2.0, "m"),
    "beam_offset": (0.0, 0.05, "m"),
    "tilt": (0.0, 10.0, "degrees"),
    "cell_edge": (10.0, 1000.0, "Å"),
    "domain_size": (50.0, 20_000.0, "Å"),
    "mosaicity": (0.0, 3.0, "degrees"),
    "divergence": (0.0, 1.0, "degrees"),
    "bandwidth": (0.0, 0.05, "as a share of the wavelength"),
    "polarization": (-1.0, 1.0, "Kahn's factor"),
    "background": (0.0, 10_000.0, "photons"),
    "beam_stop": (0.0, 0.05, "m"),
}


@dataclass(frozen=True)
class Settings:
    """A set of simulated stills.

    Ranges are (lowest, highest); equal ends fix a number for all shots. Each shot is drawn from
    them by its own random stream, which is of the seed and of the shot's place alone.

    Attributes
    ----------
    number : int
        Shots.
    seed : int
    misorientation : {"uniform", "gaussian", "single"}
        Of the further lattices of shots with several, to the first: any rotation by 1 to 180
        degrees; about a random axis by an angle of the normal distribution of standard deviation
        0.1, 1 or 10 degrees; or no further lattices.
    blanks, several : float
        Share of shots without a crystal; share of the others with more than one lattice.
    most_lattices : int
        In one shot.
    split : float
        Share of lattices in two or three pieces that are about as far apart as domains within
        them; these count as one lattice.
    fewest_spots : int
        That can be seen in the quadrant of a shot with a crystal: crystals are drawn until one
        shows as many, a dozen at most.
    resolution : tuple of float
        To which spots can be seen, Å; its inverse is uniform. A shot whose detector does not reach
        as far is drawn from what its detector reaches.
    detectors : tuple of str
        Names of `DETECTORS`, each as often.
    wavelength : tuple of float
        Å, uniform.
    distance : tuple of float
        m, uniform.
    beam_offset, beam_error : float
        Standard deviations of the beam from the middle of the detector, m, and of where it is from
        where it is said to be, pixels.
    tilt : float
        Most of each of the two angles of the detector, degrees.
    cell_edge : tuple of float
        Of a, b and c, Å, logarithmically uniform; the volume of the cell stays below 6e6 Å³.
    model : str or None
        PDB or mmCIF file of a crystal structure, whose cell and structure factors all crystals
        have; by default cells are drawn and structure factors are of Wilson's statistics.
    domain_size, mosaicity, divergence, bandwidth : tuple of float
        Edge of a domain, Å, logarithmically uniform; standard deviations of the orientation of
        domains and of the beam's directions, degrees, and of the wavelength over the wavelength.
    polarization : tuple of float
        Kahn's factor, 1 for horizontal.
    background : tuple of float
        Photons in a pixel of 172 µm at 250 mm where the diffuse scattering is strongest,
        logarithmically uniform; other pixels by their solid angle.
    ice : float
        Share of shots with rings of ice, blank or not.
    beam_stop : tuple of float
        Radius, m.

    Raises
    ------
    InputError
        One of them makes no sense.
    """

    number: int = 10_000
    seed: int = 0
    misorientation: Misorientation = "uniform"
    blanks: float = 0.15
    several: float = 0.5
    most_lattices: int = 3
    split: float = 0.3
    fewest_spots: int = 12
    resolution: Range = (1.4, 6.0)
    detectors: tuple[str, ...] = ("pilatus-6m", "eiger-16m", "eiger-9m", "ccd-3840")
    wavelength: Range = (0.85, 1.35)
    distance: Range = (0.1, 0.4)
    beam_offset: float = 0.0015
    beam_error: float = 0.7
    tilt: float = 1.0
    cell_edge: Range = (35.0, 200.0)
    model: str | None = None
    domain_size: Range = (500.0, 6000.0)
    mosaicity: Range = (0.02, 0.4)
    divergence: Range = (0.0, 0.025)
    bandwidth: Range = (0.0001, 0.0006)
    polarization: Range = (0.9, 1.0)
    background: Range = (0.3, 60.0)
    ice: float = 0.15
    beam_stop: Range = (0.0008, 0.005)

    def __post_init__(self) -> None:
        if self.number < 1:
            raise InputError(f"simulate: number is {self.number}, expected 1 shot or more.")
        if self.most_lattices < 2:
            raise InputError(
                f"simulate: most_lattices is {self.most_lattices}, expected 2 or more; "
                "the set `single` has one lattice only."
            )
        if self.misorientation not in ("uniform", "gaussian", "single"):
            raise InputError(
                f"simulate: there is no set {self.misorientation!r}, expected uniform, gaussian "
                "or single."
            )
        for name in ("blanks", "several", "split", "ice"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(
                    f"simulate: {name} is {getattr(self, name)}, expected a share from 0 to 1."
                )
        unknown = [name for name in self.detectors if name not in DETECTORS]
        if unknown or not self.detectors:
            raise InputError(
                f"simulate: there is no detector {', '.join(unknown) or 'given'}, expected one of "
                f"{', '.join(DETECTORS)}."
            )
        for field in fields(self):
            if field.name in _BOUNDS:
                self._check(field.name)

    def _check(self, name: str) -> None:
        lowest, highest, unit = _BOUNDS[name]
        values = np.atleast_1d(getattr(self, name)).astype(np.float64)
        if not (np.isfinite(values).all() and (np.diff(values) >= 0).all()):
            raise InputError(
                f"simulate: {name} is {getattr(self, name)}, expected a lower and a higher number."
            )
        if values[0] < lowest or values[-1] > highest:
            raise InputError(
                f"simulate: {name} is {getattr(self, name)}, expected {lowest:g} to {highest:g} "
                f"{unit}; check its unit."
            )
