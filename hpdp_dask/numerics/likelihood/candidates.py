"""Images compared with references and shifts of their own: the fine levels of a search.

Where the poses that are left differ from image to image, the two matrix products of
`GaussianImages` become batches of small ones. The formulas are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.fourier import HalfPlane
from hpdp_dask.numerics.likelihood.gaussian import multiplicity


@dataclass(frozen=True)
class CandidateImages:
    """A batch of images, each with candidates of its own.

    Attributes
    ----------
    plane : HalfPlane
        Where the m samples are.
    signal : (n, m) array of complex64
        C X / s2, CTF times transform over the power of the noise.
    weight : (n, m) array of float32
        C² / s2.
    references : (n, c, m) array of complex64
        Slices without CTF; what fills up a list that is shorter may be anything finite.
    shifts : (n, t, 2) array
        x, y, what to move the images' content by to centre it, pixels.
    """

    plane: HalfPlane
    signal: Array
    weight: Array
    references: Array
    shifts: Array

    def match(self) -> tuple[Array, Array]:
        """Compare every image, in each of its shifts, with each of its references.

        Returns
        -------
        log_likelihoods : (n, t, c) array of float32
            Over that of an empty reference, as `GaussianImages.match` gives.
        shifted : (n, t, m) array of complex64
            C X / s2 in every shift, for `compress`.
        """
        xp = namespace(self.signal)
        shifted = shift_each(self.signal, self.shifts, self.plane)
        counted = xp.asarray(multiplicity(self.plane))
        ratios = _real_rows(shifted * counted) @ _real_rows(self.references).transpose(0, 2, 1)
        ratios -= np.float32(0.5) * self.expected_power()[:, None, :]
        return ratios, shifted

    def expected_power(self) -> Array:
        """Give <A, A>, the power of each reference seen by its image over that of the noise."""
        xp = namespace(self.signal)
        weight = self.weight * xp.asarray(multiplicity(self.plane))
        squares = self.references.real**2
        squares += self.references.imag**2
        return (squares @ weight[:, :, None])[:, :, 0]


def compress_each(shifted: Array, responsibilities: Array) -> Array:
    """Sum the shifted copies of each image for each of its references.

    Parameters
    ----------
    shifted : (n, t, m) array of complex64
        Of `CandidateImages.match`.
    responsibilities : (n, t, c) array of float32

    Returns
    -------
    (n, c, m) array of complex64
    """
    xp = namespace(shifted)
    return (responsibilities.transpose(0, 2, 1) @ _real_rows(shifted)).view(xp.complex64)


def shift_each(images: Array, shifts: Array, plane: HalfPlane) -> Array:
    """Move each image by each of its shifts.

    Parameters
    ----------
    images : (n, m) array of complex64
    shifts : (n, t, 2) array
        x, y, pixels.
    plane : HalfPlane

    Returns
    -------
    (n, t, m) array of complex64
    """
    xp = namespace(images)
    reach = int(max(plane.x.max(), abs(plane.y).max()))
    # one factor for each column and one for each row, instead of one for each sample
    frequency = xp.arange(-reach, reach + 1, dtype=xp.float64) / plane.box
    turns = xp.asarray(shifts, dtype=xp.float64)[..., None] * frequency
    factors = xp.exp(-2j * np.pi * (turns - xp.rint(turns))).astype(xp.complex64)
    across = xp.take(factors[:, :, 0], xp.asarray(plane.x + reach), axis=2)
    across *= xp.take(factors[:, :, 1], xp.asarray(plane.y + reach), axis=2)
    across *= images[:, None, :]
    return across


def _real_rows(rows: Array) -> Array:
    """View complex rows as real ones of twice the length."""
    xp = namespace(rows)
    return xp.ascontiguousarray(rows, dtype=xp.complex64).view(xp.float32)
