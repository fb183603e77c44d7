"""Where a pixel is in reciprocal space, and what share of the scattering it gets.

The laboratory frame is CrystFEL's: the sample at the origin, z along the beam, y up, x completing
a right-handed frame, metres. Everything is asked of the place of each pixel, so a detector may be
flat, tilted or of many modules. References: Als-Nielsen & McMorrow 2011, Elements of Modern X-ray
Physics, sections 1.2 and 4.1.
"""

from __future__ import annotations

from hpdp_dask.numerics.arrays import Array, namespace

#: The classical radius of the electron, Å (CODATA 2018).
ELECTRON_RADIUS = 2.8179403262e-5


def scattering_vectors(x: Array, y: Array, z: Array, wavelength: float) -> Array:
    """Give the scattering vector of each pixel, on the Ewald sphere.

    Parameters
    ----------
    x, y, z : (...) arrays
        Place of the pixels, m.
    wavelength : float
        Å.

    Returns
    -------
    (3, ...) array of float64
        `(k_out - k_in) / wavelength` along x, y, z with unit vectors k, 1/Å and without 2 pi: the
        length is `2 sin(theta) / wavelength`, with 2 theta the scattering angle.
    """
    xp = namespace(x, y, z)
    place = xp.stack([xp.asarray(value, dtype=xp.float64) for value in (x, y, z)])
    direction = place / xp.sqrt((place**2).sum(axis=0))
    direction[2] -= 1.0
    return direction / wavelength


def solid_angles(x: Array, y: Array, z: Array, pixel_size: float) -> Array:
    """Give the solid angle of each pixel as the sample sees it.

    Parameters
    ----------
    x, y, z : (...) arrays
        Place of the pixels, m.
    pixel_size : float
        Edge of a pixel, m. Pixels are square, small, and face along the beam.

    Returns
    -------
    (...) array of float64
        Steradian: `pixel_size² z / r³`, which falls as the third power of cos(2 theta).
    """
    xp = namespace(x, y, z)
    x, y, z = (xp.asarray(value, dtype=xp.float64) for value in (x, y, z))
    return pixel_size**2 * xp.abs(z) / (x * x + y * y + z * z) ** 1.5


def polarization_factor(x: Array, y: Array, z: Array, direction: str) -> Array:
    """Give the share of the scattering that polarisation leaves in the direction of each pixel.

    Parameters
    ----------
    x, y, z : (...) arrays
        Place of the pixels, m.
    direction : str
        "x" or "y" of the electric field of a linearly polarised beam; "none" of an unpolarised one.

    Returns
    -------
    (...) array of float64
        The squared sine of the angle between the field and the scattered beam, `1 - (x / r)²` for
        "x"; `(1 + cos²(2 theta)) / 2` for "none".

    Raises
    ------
    ValueError
        Another direction.
    """
    xp = namespace(x, y, z)
    x, y, z = (xp.asarray(value, dtype=xp.float64) for value in (x, y, z))
    squared = x * x + y * y + z * z
    if direction == "x":
        return 1.0 - x * x / squared
    if direction == "y":
        return 1.0 - y * y / squared
    if direction == "none":
        return 0.5 * (1.0 + z * z / squared)
    raise ValueError(f"polarization is 'x', 'y' or 'none', not {direction!r}")
