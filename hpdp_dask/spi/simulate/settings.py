"""What a set of simulated frames shall be like: beam, background, detector, kinds of hits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import GOOD, Detector
from hpdp_dask.spi.simulate.detectors import lcls_detector
from hpdp_dask.spi.simulate.species import KINDS

#: Photons of a single hit where nobody says what the fluence is.
PHOTONS = 10_000.0


@dataclass(frozen=True)
class Beam:
    """The pulses at the particles.

    Attributes
    ----------
    photons : float, optional
        Mean photons of a single hit on the good pixels, of a particle of its species' size: sets
        the fluence of each species. 10,000 if neither this nor the fluence is given.
    fluence : float, optional
        Mean photons per µm² at the particles, the same for all species: photons come out as they
        would be counted.
    shape : float or None, optional
        Of the gamma distribution of the fluence around its mean; 2 as found at LCLS, by
        Dragonfly too. None: all pulses are alike.
    faintest : float, optional
        Particles cross a Gaussian beam anywhere up to where it has fallen to this share of its
        peak. 1: all through its centre.
    pulse_energy : float, optional
        Mean, J.
    energy_spread : float, optional
        Standard deviation of the pulse energy over its mean; fluence and background go with it.
    pulses_per_train : int, optional

    Raises
    ------
    InputError
        One of them makes no sense.
    """

    photons: float | None = None
    fluence: float | None = None
    shape: float | None = 2.0
    faintest: float = 1.0
    pulse_energy: float = 2e-3
    energy_spread: float = 0.1
    pulses_per_train: int = 100

    def __post_init__(self) -> None:
        for name in ("photons", "fluence", "shape", "pulse_energy", "pulses_per_train"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InputError(f"simulate: {name} is {value}, expected a positive number.")
        if self.photons is not None and self.fluence is not None:
            raise InputError(
                "simulate: photons and fluence are both given, and each sets the other; give one."
            )
        for name, low in (("faintest", 1e-6), ("energy_spread", 0.0)):
            value = getattr(self, name)
            if not low <= value <= 1.0:
                raise InputError(
                    f"simulate: {name} is {value}, expected a number from {low:g} to 1."
                )

    @property
    def mean_photons(self) -> float:
        """Give the mean photons of single hits, where no fluence is given."""
        return PHOTONS if self.photons is None else self.photons


@dataclass(frozen=True)
class Background:
    """What is scattered without a particle.

    Attributes
    ----------
    photons : float, optional
        Mean per good pixel and frame.
    beam_line, streak : float, optional
        Shares of scatter around the beam, and of a streak across it; the rest is even.
    spread : float, optional
        Standard deviation of the scale of frames, beside that of the pulse energy.

    Raises
    ------
    InputError
        One of them makes no sense.
    """

    photons: float = 0.02
    beam_line: float = 0.6
    streak: float = 0.15
    spread: float = 0.2

    def __post_init__(self) -> None:
        for name in ("photons", "beam_line", "streak", "spread"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise InputError(
                    f"simulate: {name} of the background is {value}, expected a number from 0 on."
                )
        if self.beam_line + self.streak > 1.0:
            raise InputError(
                f"simulate: the background is {self.beam_line} beam_line and {self.streak} streak, "
                "expected shares that add up to 1 at most."
            )


@dataclass(frozen=True)
class Readout:
    """What a detector makes of photons.

    Attributes
    ----------
    gain : float, optional
        ADU for a photon.
    noise : float, optional
        Standard deviation in each pixel, ADU.
    stripes : float, optional
        Standard deviation of the common mode, of each half of a row and frame, ADU.

    Raises
    ------
    InputError
        One of them makes no sense.
    """

    gain: float = 130.0
    noise: float = 12.0
    stripes: float = 25.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.gain) and self.gain > 0):
            raise InputError(f"simulate: gain is {self.gain}, expected a positive number of ADU.")
        for name in ("noise", "stripes"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"simulate: {name} is {value}, expected ADU from 0 on.")


@dataclass(frozen=True, eq=False)
class Settings:
    """What to simulate.

    Attributes
    ----------
    number : int
        Of frames.
    detector : Detector, optional
        With its wavelength; by default one like that of PR772 at LCLS.
    beam : Beam, optional
    background : Background, optional
    kinds : mapping of str to float, optional
        How often a frame shows what: *single* hits; *double*, two particles of a species beside
        each other; *aggregate*, three to eight of a species that stick together; a water
        *droplet*; *empty*. Need not sum to 1; what is left out does not occur.
    separation : tuple of float, optional
        Of the two particles of a double from centre to centre, least and greatest, in units of
        the distance at which their circumscribed spheres touch.
    dead_pixels : float, optional
        Share of pixels that do not work: half read nothing, half are hot. The mask tells of them
        in counts of photons; in ADU it does not, they are to be found.
    readout : Readout, optional
        Give frames in ADU; None: photons.
    seed : int, optional
        Of every random choice. A frame depends on it and on the frame's number, and on nothing
        else: not on how many there are, nor on where they are made.

    Raises
    ------
    InputError
        One of them makes no sense.
    """

    number: int
    detector: Detector = field(default_factory=lcls_detector)
    beam: Beam = Beam()
    background: Background = Background()
    kinds: Mapping[str, float] = field(default_factory=lambda: {"single": 1.0})
    separation: tuple[float, float] = (1.1, 2.5)
    dead_pixels: float = 0.0
    readout: Readout | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.number < 1:
            raise InputError(f"simulate: number is {self.number}, expected one frame or more.")
        if self.seed < 0:
            raise InputError(f"simulate: seed is {self.seed}, expected a number from 0 on.")
        if not 0 <= self.dead_pixels < 1:
            raise InputError(
                f"simulate: dead_pixels is {self.dead_pixels}, expected a share from 0 to below 1."
            )
        for kind, share in self.kinds.items():
            if kind not in KINDS:
                raise InputError(f"simulate: kinds has {kind!r}, expected only {', '.join(KINDS)}.")
            if not (np.isfinite(share) and share >= 0):
                raise InputError(
                    f"simulate: kinds has {share} of {kind}, expected a share from 0 on."
                )
        if not sum(self.kinds.values()):
            raise InputError("simulate: kinds has no share above 0; give one, as single=1.")
        low, high = self.separation
        if not 1.0 <= low <= high or not np.isfinite(high):
            raise InputError(
                f"simulate: separation is {low} to {high}, expected two numbers from 1 on, the "
                "smaller first."
            )
        _check_detector(self.detector)


def _check_detector(detector: Detector) -> None:
    for name in ("wavelength", "pixel_size"):
        value = getattr(detector, name)
        if not (np.isfinite(value) and value > 0):
            raise InputError(
                f"simulate: the {name} of the detector is {value}, expected a positive number; "
                f"give --{name.replace('_', '-')}."
            )
    if not (detector.mask == GOOD).any():
        raise InputError("simulate: all pixels of the detector are masked; give another mask.")
