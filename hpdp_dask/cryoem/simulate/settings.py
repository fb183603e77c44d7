"""What a set of simulated particles shall be like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpdp_dask.cryoem.simulate.conformations import Conformations
from hpdp_dask.cryoem.simulate.optics import CtfRange
from hpdp_dask.errors import InputError


@dataclass(frozen=True)
class Settings:
    """What to simulate of a specimen.

    Attributes
    ----------
    number : int
        Of images.
    box : int
        Pixels a side, even.
    pixel_size : float
        Å.
    snr : float or None
        Variance of the signal over the whole image, CTF included, to that of the white noise,
        which is 1; the former is the mean of the first 100 images. None for no noise, and a
        signal of the variance 1.
    ctf : CtfRange or Path
        Ranges, or a file of rows that were measured, as `read_ctf` reads it.
    shift_sigma : float
        Standard deviation of the shifts along x and along y, Å.
    conformations : HingeRange, HingeStates or None
        How far the specimen's domain is turned; None: not at all.
    resolution : float or None
        Å; from here on the map falls off, as in `potential_map`. None: at Nyquist's.
    envelope : float
        B-factor of the images, Å²: contrast falls with exp(-B k²/4).
    defocus_error : float
        Standard deviation by which the defoci in `particles.star` are off, Å.
    seed : int
        Of every random choice.

    Raises
    ------
    InputError
        One of them makes no sense.
    """

    number: int
    box: int
    pixel_size: float
    snr: float | None = None
    ctf: CtfRange | Path = CtfRange()  # noqa: RUF009  (frozen, so all may share it)
    shift_sigma: float = 0.0
    conformations: Conformations | None = None
    resolution: float | None = None
    envelope: float = 0.0
    defocus_error: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("number", "pixel_size", "snr", "resolution"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InputError(f"simulate: {name} is {value}, expected a positive number.")
        for name in ("shift_sigma", "envelope", "defocus_error", "seed"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"simulate: {name} is {value}, expected a number from 0 on.")
        if self.box < 16 or self.box % 2:
            raise InputError(
                f"simulate: box is {self.box}, expected an even number of pixels from 16 on."
            )
        if self.resolution is not None and self.resolution < 2.0 * self.pixel_size:
            raise InputError(
                f"simulate: a resolution of {self.resolution} Å is beyond that of Nyquist, "
                f"{2.0 * self.pixel_size} Å; choose a smaller pixel_size or leave resolution out."
            )
