"""Ice on a frame: rings of powder at the lines of hexagonal ice, or spots that gather there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Lattice constants of hexagonal ice near 100 K, Å (Röttger et al. 1994, Acta Cryst. B 50, 644).
_A, _C = 4.498, 7.338

#: Its strong lines.
_INDICES = (
    (1, 0, 0),
    (0, 0, 2),
    (1, 0, 1),
    (1, 0, 2),
    (1, 1, 0),
    (1, 0, 3),
    (1, 1, 2),
    (2, 0, 1),
    (2, 0, 2),
    (2, 0, 3),
)

#: Half of a line with what belongs to it, and how far the background beside it is looked at, 1/Å.
_HALF, _BESIDE = 0.005, 0.015

#: A line is there if it is so many standard deviations and so much of the background above it,
#: or if so many times the spots are on it that belong there.
_SIGMAS, _SHARE, _TIMES = 6.0, 0.05, 3.0

#: Standard deviations from which an excess is told.
_SEEN = 4.0


class IceRings(NamedTuple):
    """Ice of a frame.

    Attributes
    ----------
    number : int
        Rings that are there.
    score : float
        Excess over the background of the strongest line, as a share of the background; 0 if none
        stands out.
    bands : (number, 2) ndarray of float64
        From and to which ``|q|`` the rings go, 1/Å.
    """

    number: int
    score: float
    bands: np.ndarray


def ice_lines() -> np.ndarray:
    """Give the strong lines of hexagonal ice: (lines,) ndarray of ``|q|``, 1/Å, rising."""
    h, k, index = np.transpose(_INDICES)
    return np.sort(np.sqrt(4.0 / 3.0 * (h * h + h * k + k * k) / _A**2 + (index / _C) ** 2))


def find_ice(ring_q: np.ndarray, profile: np.ndarray, spot_q: np.ndarray) -> IceRings:
    """Find the ice rings of a frame.

    Parameters
    ----------
    ring_q : (rings,) ndarray
        ``|q|`` of rings, 1/Å, rising evenly.
    profile : (rings,) ndarray
        Background of each, NaN where it is not known.
    spot_q : (spots,) ndarray
        ``|q|`` of the spots, 1/Å.

    Returns
    -------
    IceRings
    """
    found, score = [], 0.0
    known = np.isfinite(profile)
    for line in ice_lines():
        off = np.abs(ring_q - line)
        on, beside = known & (off <= _HALF), known & (off > 1.5 * _HALF) & (off <= _BESIDE)
        sides = ring_q[beside] > line
        if on.sum() < 2 or sides.sum() < 3 or (~sides).sum() < 3:
            continue
        excess, background, deviation = _excess(ring_q - line, profile, on, beside)
        powder = excess > max(_SIGMAS * deviation, _SHARE * background)
        if excess > _SEEN * deviation and background > 0.0:
            score = max(score, excess / background)
        if powder or _crowded(np.abs(spot_q - line)):
            found.append((line - _HALF, line + _HALF))
    return IceRings(len(found), score, np.array(found).reshape(-1, 2))


def _excess(
    off: np.ndarray, profile: np.ndarray, on: np.ndarray, beside: np.ndarray
) -> tuple[float, float, float]:
    """Give the mean excess on a line, the background there, and the deviation of the excess.

    The background is the parabola through what is on both sides.
    """
    curve = np.polyfit(off[beside], profile[beside], 2)
    rest = profile[beside] - np.polyval(curve, off[beside])
    deviation = np.sqrt(np.sum(rest**2) / max(len(rest) - 3, 1) * (1.0 / on.sum() + 3 / len(rest)))
    background = np.polyval(curve, off[on])
    return float(np.mean(profile[on] - background)), float(background.mean()), float(deviation)


def _crowded(off: np.ndarray) -> bool:
    """Tell whether many more spots are on a line than beside it: by Poisson's law, or by far."""
    on = int(np.sum(off <= _HALF))
    beside = np.sum((off > 1.5 * _HALF) & (off <= _BESIDE)) * _HALF / (_BESIDE - 1.5 * _HALF)
    return bool(on > _TIMES * beside + 1.0 and on > beside + _SIGMAS * np.sqrt(beside + 1.0))
