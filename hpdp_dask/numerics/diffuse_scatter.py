"""Scattering that makes no spots: air, water, a protein solution or a loop, rings of ice.

All are functions of s = sin(theta)/wavelength (stol, 1/Å; d = 1/(2 s)), electrons² per molecule
for air and water, relative to their maximum for the others.
"""

from __future__ import annotations

import numpy as np

#: Liquid water at room temperature, electrons² per molecule, against stol: the limit of
#: compressibility, the maximum of the oxygen-oxygen correlation at 2.0 Å⁻¹ (d = 3.1 Å), its
#: shoulder at 3 Å⁻¹ and the decay to free molecules, rounded from Hura, Sorenson, Glaeser &
#: Head-Gordon 2000, J. Chem. Phys. 113, 9140, with incoherent scattering.
_WATER_STOL = (0.0, 0.04, 0.07, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.25, 0.28, 0.32)
_WATER = (6.6, 7.0, 8.5, 16.0, 27.0, 47.0, 63.0, 55.0, 46.5, 44.5, 37.0, 25.0, 19.5)
_WATER_TAIL_STOL = (0.36, 0.42, 0.5, 0.6, 0.8)
_WATER_TAIL = (17.5, 14.5, 11.0, 9.0, 7.5)

#: Spacings of the rings of hexagonal ice, Å, and their strength relative to the strongest: lines
#: of a cell of 4.498, 4.498, 7.338 Å (Fortes 2018, Acta Cryst. B74, 196).
ICE_SPACINGS = (3.895, 3.669, 3.440, 2.671, 2.249, 2.072, 1.948, 1.918, 1.883, 1.721, 1.522, 1.441)
ICE_STRENGTHS = (1.0, 0.55, 0.7, 0.25, 0.5, 0.35, 0.04, 0.25, 0.2, 0.07, 0.1, 0.07)

#: Carbon, International Tables C, table 6.1.1.4, which stands for all light atoms.
_CARBON = ((2.31, 20.8439), (1.02, 10.2075), (1.5886, 0.5687), (0.865, 51.6512))
_CARBON_CONSTANT = 0.2156

#: Bond of nitrogen, Å.
_BOND = 1.098


def light_atom(stol: np.ndarray, electrons: float) -> np.ndarray:
    """Give the form factor of a light atom: carbon's, scaled to a number of electrons.

    Parameters
    ----------
    stol : ndarray
        1/Å.
    electrons : float

    Returns
    -------
    ndarray of float64
        Electrons.
    """
    squared = np.asarray(stol, np.float64) ** 2
    total = sum(a * np.exp(-b * squared) for a, b in _CARBON)
    return np.asarray(electrons / 6.0 * (total + _CARBON_CONSTANT))


def water_scatter(stol: np.ndarray) -> np.ndarray:
    """Give the scattering of liquid water at stol (1/Å): electrons² per molecule."""
    known = np.array(_WATER_STOL + _WATER_TAIL_STOL)
    return np.interp(stol, known, np.array(_WATER + _WATER_TAIL))


def air_scatter(stol: np.ndarray) -> np.ndarray:
    """Give the scattering of air at stol (1/Å): electrons² per molecule.

    Free molecules of nitrogen by Debye's formula, and incoherent scattering as the electrons that
    do not scatter coherently, `Z - f²/Z` for each atom.
    """
    atom = light_atom(stol, 7.0)
    interference = np.sinc(4.0 * np.asarray(stol) * _BOND)
    return np.asarray(2.0 * atom**2 * (1.0 + interference) + 2.0 * (7.0 - atom**2 / 7.0))


def broad_scatter(stol: np.ndarray, spacing: float, width: float) -> np.ndarray:
    """Give a broad ring, as of plastic, oil or protein: 1 at its spacing.

    Parameters
    ----------
    stol : ndarray
        1/Å.
    spacing : float
        Å.
    width : float
        Standard deviation of the logarithm of the spacing.
    """
    return np.exp(-0.5 * (np.log(np.maximum(2.0 * stol, 1e-6) * spacing) / width) ** 2)


def ice_scatter(stol: np.ndarray, strengths: np.ndarray, width: float) -> np.ndarray:
    """Give rings of hexagonal ice.

    Parameters
    ----------
    stol : ndarray
        1/Å.
    strengths : (12,) ndarray
        Of each of `ICE_SPACINGS`.
    width : float
        Standard deviation of a ring, 1/d, 1/Å.
    """
    place = 1.0 / np.array(ICE_SPACINGS)
    distance = (2.0 * np.asarray(stol)[..., None] - place) / width
    return np.asarray(np.exp(-0.5 * distance**2) @ np.asarray(strengths))
