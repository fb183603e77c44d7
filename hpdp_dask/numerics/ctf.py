"""The contrast transfer function of an optics group and a defocus, in RELION's convention.

Underfocus is positive, particles are white: the function is +amplitude_contrast at zero
frequency. References: Rohou & Grigorieff 2015, J. Struct. Biol. 192, 216; RELION's ctf.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hpdp_dask.numerics.arrays import Array, namespace


def electron_wavelength(voltage: ArrayLike) -> np.ndarray:
    """Give the relativistic wavelength of electrons.

    Parameters
    ----------
    voltage : array_like
        Acceleration voltage, kV.

    Returns
    -------
    ndarray of float64
        Wavelength, Å: 12.2643247 / sqrt(V (1 + 0.978466e-6 V)) with V in volts.
    """
    volts = 1e3 * np.asarray(voltage, dtype=np.float64)
    return 12.2643247 / np.sqrt(volts * (1.0 + 0.978466e-6 * volts))


@dataclass(frozen=True)
class CtfCoefficients:
    """The phase of the CTF of each image as a polynomial of the frequency.

    With the frequency (u, v) in cycles per pixel,
    `gamma = xx u² + xy u v + yy v² + quartic (u² + v²)² - offset`, and `CTF = -sin(gamma)`.

    Attributes
    ----------
    xx, xy, yy, quartic, offset : (n,) ndarray
        Radians (per squared, per fourth power of cycles per pixel).
    """

    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    quartic: np.ndarray
    offset: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """Give all of them as (n, 5) float64, in the order of the polynomial."""
        columns = (self.xx, self.xy, self.yy, self.quartic, self.offset)
        return np.stack(columns, axis=1).astype(np.float64, copy=False)


def ctf_coefficients(
    *,
    defocus_u: ArrayLike,
    defocus_v: ArrayLike,
    defocus_angle: ArrayLike,
    voltage: ArrayLike,
    spherical_aberration: ArrayLike,
    amplitude_contrast: ArrayLike,
    pixel_size: ArrayLike,
    phase_shift: ArrayLike = 0.0,
) -> CtfCoefficients:
    """Turn the parameters of microscopists into the coefficients of the phase.

    Parameters
    ----------
    defocus_u, defocus_v : (n,) array_like
        Defocus along the two axes of astigmatism, Å, underfocus positive.
    defocus_angle : (n,) array_like
        Angle from x to the axis of `defocus_u`, degrees.
    voltage, spherical_aberration, amplitude_contrast, pixel_size : (n,) array_like
        kV, mm, fraction, Å.
    phase_shift : (n,) array_like, optional
        Of a phase plate, degrees.

    Returns
    -------
    CtfCoefficients
        float64 arrays of shape (n,).
    """
    du, dv, angle, kilovolts, cs, contrast, pixel, plate = np.broadcast_arrays(
        *(
            np.atleast_1d(np.asarray(value, dtype=np.float64))
            for value in (
                defocus_u,
                defocus_v,
                defocus_angle,
                voltage,
                spherical_aberration,
                amplitude_contrast,
                pixel_size,
                phase_shift,
            )
        )
    )
    wavelength = electron_wavelength(kilovolts)
    mean, half_difference = (du + dv) / 2.0, (du - dv) / 2.0
    twice = 2.0 * np.radians(angle)
    # defocus(θ) k² = mean (u² + v²) + half_difference (cos 2α (u² - v²) + sin 2α 2 u v)
    quadratic = -np.pi * wavelength / pixel**2
    return CtfCoefficients(
        xx=quadratic * (mean + half_difference * np.cos(twice)),
        xy=quadratic * 2.0 * half_difference * np.sin(twice),
        yy=quadratic * (mean - half_difference * np.cos(twice)),
        quartic=0.5 * np.pi * (cs * 1e7) * wavelength**3 / pixel**4,
        offset=np.radians(plate) + np.arcsin(contrast),
    )


def evaluate_ctf(coefficients: CtfCoefficients, u: Array, v: Array) -> Array:
    """Evaluate CTFs at frequencies.

    Parameters
    ----------
    coefficients : CtfCoefficients
        Of n images.
    u, v : (m,) array
        Frequency along x and y, cycles per pixel.

    Returns
    -------
    (n, m) array of float32
        `-sin(gamma)`, on the device where `u` lives. The phase is reduced in float64: at high
        defocus it runs to thousands of radians, where float32 keeps three digits of a turn.
    """
    xp = namespace(u)
    u, v = xp.asarray(u, dtype=xp.float64), xp.asarray(v, dtype=xp.float64)
    monomials = xp.stack([u * u, u * v, v * v, (u * u + v * v) ** 2, -xp.ones_like(u)])
    turns = (xp.asarray(coefficients.rows) @ monomials) / (2.0 * np.pi)
    turns -= xp.rint(turns)
    return -xp.sin((2.0 * np.pi) * turns.astype(xp.float32))
