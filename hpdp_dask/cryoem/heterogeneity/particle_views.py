"""Particles of a stack as pictures: as recorded, smoothed, and as a volume would show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from hpdp_dask.cryoem.heterogeneity.observations import OPTICS, ROWS, Optics
from hpdp_dask.numerics import fourier, slices
from hpdp_dask.numerics.ctf import ctf_coefficients, evaluate_ctf
from hpdp_dask.numerics.rotations import euler_to_matrix
from hpdp_dask.stacks.schema import check_particles
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import open_stack

#: Standard deviation of the Gaussian that smooths pictures, as a share of the box.
_SMOOTHED = 1.0 / 32.0


class ParticleViews:
    """Reads particles of a stack for people to look at.

    Parameters
    ----------
    path : str or Path
        A stack with poses and CTF.

    Attributes
    ----------
    box : int
        Of the images, pixels.

    Raises
    ------
    InputError
        It is none, or poses or CTF are missing.
    """

    def __init__(self, path: str | Path) -> None:
        self._reader = ImageReader(path)
        self.box = self._reader.box
        stack = open_stack(path)
        optics = Optics.of(stack)
        check_particles(stack, (*optics.rows, *OPTICS))
        self._groups = {
            name: np.array(group) for name, group in zip(OPTICS, optics.groups, strict=True)
        }
        self._rows = {name: stack[name].values for name in optics.rows}

    def recorded(self, places: ArrayLike) -> np.ndarray:
        """Read images as they are in the stack, (n, N, N) of float32."""
        return self._reader.take(places).astype(np.float32)

    def expected(self, place: int, volume: np.ndarray) -> np.ndarray:
        """Give the image that a volume would have made, without noise.

        Parameters
        ----------
        place : int
            Of the particle in the stack: its pose, shift and CTF are taken.
        volume : (b, b, b) ndarray
            [z, y, x], over the whole box; b even, at most that of the images.

        Returns
        -------
        (b, b) ndarray of float32
        """
        rows = {name: values[place : place + 1] for name, values in self._rows.items()}
        scopes = {name: values[rows["optics_group"]] for name, values in self._groups.items()}
        plane = fourier.half_plane(len(volume))
        coefficients = ctf_coefficients(
            **scopes,
            **{name: rows[name] for name in ROWS[3:]},
            phase_shift=rows.get("phase_shift", 0.0),
        )
        # a sample is at the same frequency whatever the number of pixels is
        contrast = evaluate_ctf(coefficients, plane.x / self.box, plane.y / self.box)
        moved = rows["shift"] / scopes["pixel_size"][:, None] * (len(volume) / self.box)
        seen = slices.extract_slices(
            fourier.transform_volume(volume), euler_to_matrix(rows["euler_angles"]), plane
        )
        # the shift is what centres the particle, which is displaced by the opposite
        return fourier.unpack(seen * contrast * fourier.shift_phases(plane, -moved), plane)[0]


def smoothed(images: np.ndarray) -> np.ndarray:
    """Smooth images so that a particle is seen in its noise.

    Parameters
    ----------
    images : (n, N, N) ndarray

    Returns
    -------
    (n, N, N) ndarray of float32
        By a Gaussian whose standard deviation is a thirty-second of the box.
    """
    sigma = _SMOOTHED * images.shape[-1]
    return np.asarray(gaussian_filter(images, (0.0, sigma, sigma)), dtype=np.float32)
