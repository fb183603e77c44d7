"""What is true of each simulated particle: its pose, shift, CTF, conformation, half-set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpdp_dask.cryoem.simulate.conformations import Conformations
from hpdp_dask.cryoem.simulate.optics import CtfRange, draw_optics
from hpdp_dask.formats.particles import ParticleTable, SourceTables
from hpdp_dask.numerics.ctf import CtfCoefficients, ctf_coefficients
from hpdp_dask.numerics.rotations import matrix_to_euler, random_rotations

#: Column of truth.star for the angle of the domain, degrees.
HINGE_ANGLE = "hpdpHingeAngle"


@dataclass(frozen=True)
class Truth:
    """The truth about n particles.

    Attributes
    ----------
    particles : dict of str to ndarray
        Columns of a `ParticleTable`, one entry a particle.
    optics : dict of str to ndarray
        Its optics groups.
    hinge_angle : (n,) ndarray of float64
        By which the domain is turned, degrees.
    defocus_error : (n,) ndarray of float64
        How far both true defoci are above those in `particles`, Å.
    """

    particles: dict[str, np.ndarray]
    optics: dict[str, np.ndarray]
    hinge_angle: np.ndarray
    defocus_error: np.ndarray

    def __len__(self) -> int:
        return len(self.hinge_angle)

    def rows(self, start: int, stop: int) -> Truth:
        """Give the truth about particles `start` to before `stop`."""
        return replace(
            self,
            particles={name: values[start:stop] for name, values in self.particles.items()},
            hinge_angle=self.hinge_angle[start:stop],
            defocus_error=self.defocus_error[start:stop],
        )

    def ctf(self) -> CtfCoefficients:
        """Give the CTF that the images are made with."""
        particles = self.particles
        group = particles["optics_group"]
        return ctf_coefficients(
            defocus_u=particles["defocus_u"] + self.defocus_error,
            defocus_v=particles["defocus_v"] + self.defocus_error,
            defocus_angle=particles["defocus_angle"],
            phase_shift=particles["phase_shift"],
            **{name: values[group] for name, values in self.optics.items()},
        )

    def table(self, images: Path | None) -> ParticleTable:
        """Give what a user has who did everything right: true poses, CTF as it was estimated.

        Parameters
        ----------
        images : Path or None
            The stack of the images, in their order.
        """
        return ParticleTable(
            particles=dict(self.particles),
            optics=dict(self.optics),
            image_files=[] if images is None else [images],
            image_file=np.full(len(self), -1 if images is None else 0, np.int32),
            image_index=np.arange(len(self)),
            source=SourceTables(format="relion-3.1"),
            path=Path("simulation") if images is None else images.with_suffix(".star"),
        )

    def true_table(self, images: Path) -> ParticleTable:
        """Give the same with the true defoci."""
        table = self.table(images)
        for name in ("defocus_u", "defocus_v"):
            table.particles[name] = table.particles[name] + self.defocus_error
        return table


def draw_truth(
    number: int,
    pixel_size: float,
    *,
    ctf: CtfRange | Path,
    shift_sigma: float,
    defocus_error: float,
    conformations: Conformations | None,
    seed: int,
) -> Truth:
    """Draw particles.

    Every kind of choice has a random stream of its own, so one does not change with another.

    Parameters
    ----------
    number : int
    pixel_size : float
        Å.
    ctf : CtfRange or Path
        As for `draw_optics`.
    shift_sigma : float
        Standard deviation of the shifts along x and along y, Å.
    defocus_error : float
        Standard deviation of what the estimate of the defocus is off, Å.
    conformations : Conformations or None
        None: the domain is at the angle 0.
    seed : int

    Returns
    -------
    Truth
        Orientations uniform over all rotations; half-sets of equal size.
    """
    poses, shifts, optics_rng, errors, hinge, halves = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(6)
    )
    particles, optics = draw_optics(ctf, number, pixel_size, optics_rng)
    particles["euler_angles"] = matrix_to_euler(random_rotations(number, poses))
    particles["shift"] = shifts.normal(0.0, shift_sigma, (number, 2))
    particles["half_set"] = halves.permutation(number) % 2
    hinge_angle = np.zeros(number)
    if conformations is not None:
        hinge_angle, particles["class_number"] = conformations.draw(number, hinge)
    return Truth(particles, optics, hinge_angle, errors.normal(0.0, defocus_error, number))
