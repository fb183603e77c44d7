"""Structure factors of atoms: exact sums, the non-uniform FFT, and a table to interpolate in.

A structure factor is `F(q) = sum of f w exp(2 pi i q r)` over atoms at r with weights w, f the form
factor of the element at ``|q|``. Scattering vectors are in the atoms' frame, 1/Å without 2 pi.
Reference for the non-uniform FFT: Barnett, Magland & af Klinteberg 2019, SIAM J. Sci. Comput. 41,
C479 (finufft).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import finufft
import numpy as np
import scipy.ndimage

from hpdp_dask.numerics.arrays import Array, namespace, to_host

#: How exactly finufft works, and on how many threads: workers share the cores.
NUFFT: dict[str, Any] = {"eps": 1e-6, "nthreads": 1, "upsampfac": 1.25}

#: Points of the table along the inverse of the atoms' extent; at 4 the interpolation by cubic
#: splines is off by 8e-4 for the outermost atoms and less for the others.
_FINENESS = 4

#: Points of the table beyond the vectors that are asked for: cubic splines look at neighbours.
_MARGIN = 4

#: Phases that are worked on at once.
_BATCH = 2**22


@dataclass(frozen=True)
class Atoms:
    """Atoms of one element.

    Attributes
    ----------
    positions : (n, 3) ndarray of float64
        Å.
    weights : (n,) ndarray of float64
        Occupancies.
    form_factor : callable
        Electrons for lengths of scattering vectors, 1/Å.
    """

    positions: np.ndarray
    weights: np.ndarray
    form_factor: Callable[[np.ndarray], np.ndarray]


def exact_sum(q: Array, positions: np.ndarray, weights: np.ndarray) -> Array:
    """Sum the waves of atoms one by one.

    Parameters
    ----------
    q : (3, m) array of float
        Scattering vectors, 1/Å.
    positions : (n, 3) ndarray
        Å.
    weights : (n,) ndarray

    Returns
    -------
    (m,) array of complex
        `sum of w exp(2 pi i q r)`, in the precision of the vectors.
    """
    xp = namespace(q)
    kind = np.result_type(q.dtype, np.complex64)
    places = xp.asarray(2.0 * np.pi * positions, dtype=q.dtype)
    total = xp.zeros(q.shape[1], dtype=kind)
    step = max(1, _BATCH // q.shape[1])
    for first in range(0, len(places), step):
        phases = places[first : first + step] @ q
        part = xp.asarray(weights[first : first + step], dtype=q.dtype)
        total += part @ xp.cos(phases) + 1j * (part @ xp.sin(phases))
    return total


def nufft_sum(q: Array, positions: np.ndarray, weights: np.ndarray) -> Array:
    """Sum the waves of atoms by the non-uniform FFT of type 3; as `exact_sum`, to 1e-5."""
    xp = namespace(q)
    x, y, z = np.ascontiguousarray(2.0 * np.pi * positions.T)
    s, t, u = np.ascontiguousarray(to_host(q), dtype=np.float64)
    found = finufft.nufft3d3(x, y, z, weights.astype(np.complex128), s, t, u, isign=1, **NUFFT)
    return xp.asarray(found, dtype=np.result_type(q.dtype, np.complex64))


def structure_factor(
    q: Array,
    atoms: Sequence[Atoms],
    lengths: np.ndarray,
    summed: Callable[[Array, np.ndarray, np.ndarray], Array] = nufft_sum,
) -> Array:
    """Give the structure factor of atoms of several elements.

    Parameters
    ----------
    q : (3, m) array of float
        Scattering vectors, 1/Å.
    atoms : sequence of Atoms
        One an element.
    lengths : (m,) ndarray of float
        Of the vectors, which a rotation leaves as they are.
    summed : callable, optional
        `nufft_sum` or `exact_sum`.

    Returns
    -------
    (m,) array of complex
        Electrons.
    """
    xp = namespace(q)
    parts = (
        summed(q, each.positions, each.weights)
        * xp.asarray(each.form_factor(lengths), dtype=q.dtype)
        for each in atoms
    )
    return sum(parts, start=xp.zeros(q.shape[1], np.result_type(q.dtype, np.complex64)))


@dataclass(frozen=True)
class Table:
    """The structure factor on a cubic grid of scattering vectors, to interpolate in.

    Attributes
    ----------
    real, imaginary : (n, n, n) array of float32
        Coefficients of cubic splines, [x, y, z]; q = 0 is the point n // 2.
    spacing : float
        1/Å.
    """

    real: Array
    imaginary: Array
    spacing: float

    def at(self, q: Array) -> Array:
        """Interpolate at (3, m) vectors within the table; complex64 electrons."""
        xp = namespace(q)
        places = q / q.dtype.type(self.spacing) + q.dtype.type(len(self.real) // 2)
        options = {"order": 3, "mode": "mirror", "prefilter": False}
        interpolate = _ndimage_of(xp).map_coordinates
        found = xp.empty(q.shape[1], dtype=np.complex64)
        found.real = interpolate(self.real, places, **options)
        found.imag = interpolate(self.imaginary, places, **options)
        return found


def table_length(extent: float, longest: float) -> int:
    """Give the edge of the table for atoms within a sphere and vectors up to a length, points.

    Parameters
    ----------
    extent : float
        Diameter of a sphere around the origin that holds the atoms, Å.
    longest : float
        1/Å.
    """
    return 2 * (int(np.ceil(longest * _FINENESS * extent)) + _MARGIN)


def tabulate(atoms: Sequence[Atoms], extent: float, longest: float) -> Table:
    """Make a table of the structure factor.

    Parameters
    ----------
    atoms : sequence of Atoms
        One an element.
    extent : float
        Diameter of a sphere around the origin that holds the atoms, Å.
    longest : float
        Length of the longest vector that will be asked for, 1/Å.

    Returns
    -------
    Table
        On the host.
    """
    length = table_length(extent, longest)
    spacing = 1.0 / (_FINENESS * extent)
    axis = (np.arange(length) - length // 2) * spacing
    squared = axis**2
    lengths = np.sqrt(squared[:, None, None] + squared[:, None] + squared).astype(np.float32)
    total = np.zeros((length,) * 3, dtype=np.complex64)
    for each in atoms:
        x, y, z = np.ascontiguousarray(2.0 * np.pi * spacing * each.positions.T)
        waves = finufft.nufft3d1(
            x, y, z, each.weights.astype(np.complex128), total.shape, isign=1, **NUFFT
        )
        total += waves * each.form_factor(lengths)
    real, imaginary = (
        scipy.ndimage.spline_filter(part, order=3, mode="mirror", output=np.float32)
        for part in (total.real, total.imag)
    )
    return Table(real, imaginary, spacing)


def _ndimage_of(xp: Any) -> Any:
    if xp is np:
        return scipy.ndimage
    import cupyx.scipy.ndimage

    return cupyx.scipy.ndimage
