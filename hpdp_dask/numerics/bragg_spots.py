"""The Bragg spots of a still: where they are, how they are shaped, how many photons they have.

A reciprocal-lattice point of a crystal of finite, misoriented domains in a beam that is not
perfect is a small cloud; here it is a Gaussian in three dimensions. The Ewald sphere cuts it, and
on the detector the cut is a Gaussian in two. So a still is a list of stamps, with mosaicity in
closed form, in place of a sum over a thousand domains at each pixel.

With k = 1 / wavelength, the beam along z, a point g and the covariance C of its cloud::

    C = 0.63/4 B diag(1/N²) Bᵀ + η² (|g|² - g gᵀ) + (δ k)² (1 - z zᵀ) + (σ_λ/λ)² g gᵀ

(domains of N cells with Gaussian shape, mosaicity η, divergence δ, bandwidth). The point misses
the sphere by ``ε = |k z + g| - k`` along n, the direction of the scattered beam; the Mahalanobis
distance of the sphere is m0 = ε²/(nᵀ C n) and the brightest point of the cut g - C n ε/(nᵀ C n).
Its peak is ::

    r_e² Φ P Ω (N_a N_b N_c)² |F|² sqrt(|C0|/|C|) exp(-m0/2 - B |g|²/2)

with C0 the first term of C. This is nanoBragg's pixel sum (Holton, Classen, Frankel & Tainer 2014,
FEBS J. 281, 4046) for its Gaussian crystal shape, `exp(-Σ(Δh N)²/0.63)` for the lattice amplitude.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.bragg_kernel import REACH, collect_spots
from hpdp_dask.numerics.crystal_lattice import reciprocal_vectors
from hpdp_dask.numerics.diffraction import ELECTRON_RADIUS

#: Exponent of nanoBragg's Gaussian crystal shape.
_SHAPE = 0.63

#: Columns of the table of spots.
SPOT_COLUMNS = ("column", "row", "xx", "xy", "yy", "peak", "resolution")


@dataclass(frozen=True)
class Plane:
    """A flat detector.

    Attributes
    ----------
    origin : (3,) ndarray
        Centre of the pixel in row 0, column 0, m, from the sample.
    fast, slow : (3,) ndarray
        Steps from a column to the next, from a row to the next, m; at right angles, of equal
        length.
    shape : tuple of int
        Rows and columns.
    """

    origin: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    shape: tuple[int, int]

    @property
    def pixel_size(self) -> float:
        """Give the edge of a pixel, m."""
        return float(np.linalg.norm(self.fast))


@dataclass(frozen=True)
class Beam:
    """What falls onto the crystal.

    Attributes
    ----------
    wavelength : float
        Å.
    divergence : float, optional
        Standard deviation in each direction, radians.
    bandwidth : float, optional
        Standard deviation of the wavelength over the wavelength.
    polarization : float, optional
        Kahn's factor K: 1 horizontal along x, 0 unpolarised; NaN leaves polarisation out.
    """

    wavelength: float
    divergence: float = 0.0
    bandwidth: float = 0.0
    polarization: float = 0.0


@dataclass(frozen=True)
class Crystal:
    """A lattice in the beam.

    Attributes
    ----------
    vectors : (3, 3) ndarray
        Rows a, b, c in the laboratory, Å.
    cells : (3,) ndarray
        Cells along a, b, c of a domain.
    mosaicity : float
        Standard deviation of the orientation of domains about each axis, radians.
    b_factor : float
        Å², on top of what the structure factors hold.
    """

    vectors: np.ndarray
    cells: np.ndarray
    mosaicity: float = 0.0
    b_factor: float = 0.0


@dataclass(frozen=True)
class StructureFactors:
    """Squared structure factors: a table, or random ones of Wilson's statistics.

    Attributes
    ----------
    profile : (m,) array
        Mean of \\|F\\|² at `profile_step` times 0, 1, ... of \\|g\\|², electrons².
    profile_step : float
        1/Å².
    key : int
        Of the random numbers: the intensity of a reflection and of its Friedel mate is the mean
        times a number of the exponential distribution (acentric reflections; Wilson 1949, Acta
        Cryst. 2, 318).
    table : (2H+1, 2K+1, 2L+1) array of float32 or None
        \\|F\\|² of h, k, l from -H, -K, -L, in place of these.
    """

    profile: Array
    profile_step: float
    key: int = 0
    table: Array | None = None


def bragg_spots(
    crystal: Crystal,
    factors: StructureFactors,
    beam: Beam,
    plane: Plane,
    photons: float,
    *,
    finest: float,
    coarsest: float = np.inf,
    blur: float = 0.0,
    parallax: float = 0.0,
    faintest: float = 0.02,
) -> np.ndarray:
    """Find the spots of a crystal on a detector.

    Parameters
    ----------
    crystal, factors, beam, plane
        Spots are worked out where the arrays of the factors are, on a device or not.
    photons : float
        Photons per Å² times the number of domains.
    finest, coarsest : float
        Resolution of the reflections that are wanted, Å.
    blur : float, optional
        Standard deviation of the point spread, pixels.
    parallax : float, optional
        Depth over which the sensor absorbs, m: spots are drawn out along the radius, as a box of
        its length times tan(2 theta).
    faintest : float, optional
        Mean photons of the brightest pixel of a spot below which it is left out.

    Returns
    -------
    (m, 7) ndarray of float64
        `SPOT_COLUMNS`: place in pixels; the inverse of the covariance, 1/pixels²; mean photons of
        a pixel at the centre; resolution (Å). On the host.
    """
    xp = namespace(factors.profile)
    # lines along the longest edge, so that there are few
    order = np.argsort(np.linalg.norm(crystal.vectors, axis=1), kind="stable")
    vectors = np.ascontiguousarray(crystal.vectors[order], dtype=np.float64)
    cells = np.asarray(crystal.cells, np.float64)[order]
    star = reciprocal_vectors(vectors)
    shape = _SHAPE / 4.0 * (star.T * (1.0 / cells**2)) @ star
    table = xp.zeros((1, 1, 1), np.float32) if factors.table is None else factors.table
    k = 1.0 / beam.wavelength
    largest = 1.0 / finest
    widest = (
        np.linalg.eigvalsh(shape)[-1]
        + (crystal.mosaicity**2 + beam.bandwidth**2) * largest**2
        + (beam.divergence * k) ** 2
    )
    brightness = ELECTRON_RADIUS**2 * photons * float(np.prod(cells)) ** 2
    settings = np.array(
        [
            k,
            1.0 / coarsest,
            largest,
            REACH * np.sqrt(widest),
            crystal.mosaicity**2,
            (beam.divergence * k) ** 2,
            beam.bandwidth**2,
            np.nan_to_num(beam.polarization),
            crystal.b_factor,
            brightness,
            blur**2,
            parallax**2 / 12.0,
            faintest,
            factors.profile_step,
            np.linalg.det(shape),
            float(np.isfinite(beam.polarization)),
        ]
    )
    given = (
        *(vectors, star, shape, order, settings),
        *(np.asarray(axis, np.float64) for axis in (plane.origin, plane.fast, plane.slow)),
        *plane.shape,
        *(xp.asarray(factors.profile, np.float64), np.uint64(factors.key)),
        *(factors.table is not None, xp.asarray(table, np.float32)),
    )
    if xp is not np:
        from hpdp_dask.numerics.stills import gpu

        return gpu.find_spots(*given)
    capacity = 4096
    while True:
        spots = np.empty((capacity, len(SPOT_COLUMNS)))
        found = collect_spots(*given, spots)
        if found <= capacity:
            return spots[:found].copy()
        capacity = 2 * found
