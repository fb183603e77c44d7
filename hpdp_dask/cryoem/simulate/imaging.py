"""From projections to images: shift, CTF, envelope, noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hpdp_dask.cryoem.simulate.potential import Potential
from hpdp_dask.cryoem.simulate.projection import batches, image_plane
from hpdp_dask.cryoem.simulate.truth import Truth
from hpdp_dask.numerics.ctf import evaluate_ctf
from hpdp_dask.numerics.fourier import shift_phases, unpack
from hpdp_dask.numerics.rotations import euler_to_matrix

#: Images that the strength of the signal is measured on, the first of the set.
PILOT = 100

#: First number of the key of the noise's random streams; those of the truth have shorter keys.
_NOISE = 1_000


@dataclass(frozen=True)
class Microscope:
    """Makes images of a specimen; all that a task needs to know, but for the particles.

    Attributes
    ----------
    potential : Potential
    box : int
        Side of the images, pixels.
    envelope : float
        B-factor of the images, Å²: contrast falls with exp(-B k²/4).
    scale : float
        What the signal is multiplied by.
    seed : int or None
        Of the noise, white with a standard deviation of 1; None for no noise.
    """

    potential: Potential
    box: int
    envelope: float = 0.0
    scale: float = 1.0
    seed: int | None = None

    def images(self, truth: Truth, first: int) -> np.ndarray:
        """Make the images of particles.

        Parameters
        ----------
        truth : Truth
            About n particles.
        first : int
            Number of the first in the whole set, which with the seed fixes its noise: images do
            not depend on how the set is cut into tasks.

        Returns
        -------
        (n, box, box) ndarray of float32
            [particle, y, x], white particles.
        """
        plane = image_plane(self.box)
        pixel_size = self.potential.pixel_size
        matrices = euler_to_matrix(truth.particles["euler_angles"])
        shifts = truth.particles["shift"] / pixel_size
        u, v = plane.x / self.box, plane.y / self.box
        damping = np.exp(-self.envelope * (u * u + v * v) / (4.0 * pixel_size**2))
        contrast = (self.scale * damping).astype(np.float32)
        images = np.empty((len(truth), self.box, self.box), np.float32)
        for rows in self.batches(len(truth)):
            part = truth.rows(rows.start, rows.stop)
            transforms = self.potential.slices(plane, matrices[rows], part.hinge_angle)
            transforms *= shift_phases(plane, -shifts[rows])
            transforms *= evaluate_ctf(part.ctf(), u, v) * contrast
            images[rows] = unpack(transforms, plane)
        if self.seed is not None:
            for number, image in enumerate(images, start=first):
                stream = np.random.SeedSequence(self.seed, spawn_key=(_NOISE, number))
                rng = np.random.default_rng(stream)
                image += rng.standard_normal(image.shape, dtype=np.float32)
        return images

    def batches(self, number: int) -> list[slice]:
        """Cut so many particles into batches that are transformed at once."""
        return batches(number, len(image_plane(self.box)) * self.potential.parts)


def tune(microscope: Microscope, truth: Truth, snr: float | None, seed: int) -> Microscope:
    """Set the scale of the signal and the noise to a signal-to-noise ratio.

    The ratio is that of the variance of the noiseless images over the whole box, CTF and
    envelope included, to the variance of the noise; the former is the mean over the first
    `PILOT` images.

    Parameters
    ----------
    microscope : Microscope
        Without noise, with the scale 1.
    truth : Truth
        About all particles.
    snr : float or None
        None: no noise, and a signal of the variance 1.
    seed : int
        Of the noise.

    Returns
    -------
    Microscope
    """
    signal = microscope.images(truth.rows(0, PILOT), 0)
    variance = float(signal.var(axis=(1, 2), dtype=np.float64).mean())
    if snr is None:
        return replace(microscope, scale=variance**-0.5)
    return replace(microscope, scale=(snr / variance) ** 0.5, seed=seed)
