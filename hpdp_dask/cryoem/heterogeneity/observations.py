"""Images as the models of heterogeneity see them: centred transforms in units of their noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hpdp_dask.numerics import fourier
from hpdp_dask.numerics.ctf import ctf_coefficients, evaluate_ctf
from hpdp_dask.numerics.fourier import HalfPlane
from hpdp_dask.numerics.rotations import euler_to_matrix
from hpdp_dask.stacks.schema import CTF_VARIABLES, PARTICLE_VARIABLES

#: What the CTF of an optics group is made of, and what is known of each image.
OPTICS = tuple(n for n in CTF_VARIABLES if PARTICLE_VARIABLES[n].dims == ("optics",))
ROWS = (
    *("euler_angles", "shift", "optics_group"),
    *(n for n in CTF_VARIABLES if n not in OPTICS),
)


@dataclass(frozen=True)
class Optics:
    """The optics groups of a stack, as numbers that go by themselves.

    Attributes
    ----------
    groups : tuple of tuple of float
        For each name of `OPTICS` the value of each group.
    phase_plate : bool
        Whether images have a `phase_shift`.
    """

    groups: tuple[tuple[float, ...], ...]
    phase_plate: bool

    @staticmethod
    def of(stack: xr.Dataset) -> Optics:
        """Take them from a stack."""
        groups = tuple(tuple(stack[name].values.astype(float).tolist()) for name in OPTICS)
        return Optics(groups, "phase_shift" in stack)

    @property
    def rows(self) -> tuple[str, ...]:
        """Name what must be known of each image."""
        return (*ROWS, "phase_shift") if self.phase_plate else ROWS


@dataclass(frozen=True)
class Observed:
    """What n images show at the samples of a half-plane.

    Attributes
    ----------
    transforms : (n, m) ndarray of complex64
        Centred; the noise of a sample has the variance 1.
    ctf : (n, m) ndarray of float32
        In the same units: what a volume's slice is multiplied by.
    rotations : (n, 3, 3) ndarray
    """

    transforms: np.ndarray
    ctf: np.ndarray
    rotations: np.ndarray


def observe(
    images: np.ndarray,
    rows: Mapping[str, np.ndarray],
    optics: Optics,
    plane: HalfPlane,
    noise: np.ndarray,
) -> Observed:
    """Transform, centre and whiten images.

    Parameters
    ----------
    images : (n, N, N) ndarray
    rows : mapping of str to (n, ...) ndarray
        Of the names in `optics.rows`.
    optics : Optics
    plane : HalfPlane
    noise : (shells,) ndarray
        Variance of the noise of a transform's sample, by shell.

    Returns
    -------
    Observed
    """
    group = rows["optics_group"]
    scopes = {name: np.array(v)[group] for name, v in zip(OPTICS, optics.groups, strict=True)}
    others = {name: rows[name] for name in ROWS[3:]}
    phase = rows["phase_shift"] if optics.phase_plate else 0.0
    coefficients = ctf_coefficients(**scopes, **others, phase_shift=phase)
    box = plane.box
    ctf = evaluate_ctf(coefficients, plane.x / box, plane.y / box)
    moves = rows["shift"] / scopes["pixel_size"][:, None]
    transforms = fourier.pack(fourier.transform_images(images), plane)
    scale = (1.0 / np.sqrt(noise))[plane.shell].astype(np.float32)
    return Observed(
        transforms * fourier.shift_phases(plane, moves) * scale,
        ctf * scale,
        euler_to_matrix(rows["euler_angles"]),
    )
