"""Quadrants changed by chance as other experiments would have changed them.

A simulation is never quite like a beamline. What differs between beamlines and does not change
the answer is therefore drawn anew each time a quadrant is shown: the detector's gain, scattering
of air and solvent, blur, gaps between modules, shadows, where the detector ends, hot pixels, and
which way the axes point (domain randomisation, Tobin et al. 2017, IROS, 23). All of it works on
counts, which are the squares of what quadrants hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

from hpdp_dask.numerics.quadrants import SIDE

#: Rates (counts a cell) of the noise fields that backgrounds are cut out of, and their edge.
_RATES, _FIELD = (0.3, 1.0, 3.0, 10.0, 30.0), 2 * SIDE


@dataclass(frozen=True)
class Augmentation:
    """How often what is changed.

    Attributes
    ----------
    mirror, gain, background, blur, gaps, shadow, edge, hot_pixels : float
        Probability of each change.
    """

    mirror: float = 0.5
    gain: float = 0.5
    background: float = 0.4
    blur: float = 0.2
    gaps: float = 0.3
    shadow: float = 0.3
    edge: float = 0.2
    hot_pixels: float = 0.2


def augment(quadrant: np.ndarray, how: Augmentation, random: np.random.Generator) -> np.ndarray:
    """Change a quadrant by chance.

    Parameters
    ----------
    quadrant : (SIDE, SIDE) ndarray of uint8
        Square roots of counts, the beam at [0, 0].
    how : Augmentation
    random : Generator

    Returns
    -------
    (SIDE, SIDE) ndarray of uint8
        A new one.
    """
    chance = random.random(8)
    changed = quadrant.T.copy() if chance[0] < how.mirror else quadrant.copy()
    # nothing is added in gaps, and beyond the detector
    measured = changed.any(axis=1, keepdims=True) & changed.any(axis=0)
    if chance[1] < how.blur:
        changed = gaussian_filter(changed, random.uniform(0.3, 0.8), truncate=2.0)
    if chance[2] < how.gain:
        changed = _scaled(changed, np.exp(random.uniform(-1.0, 1.0)))
    if chance[3] < how.background:
        changed = np.where(measured, _brightened(changed, random), changed)
    if chance[4] < how.gaps:
        _cut_gaps(changed, random)
    if chance[5] < how.shadow:
        changed = _shaded(changed, random)
    if chance[6] < how.edge:
        last = random.integers(SIDE // 2, SIDE, 2)
        changed[last[0] :], changed[:, last[1] :] = 0, 0
    if chance[7] < how.hot_pixels:
        places = random.integers(0, SIDE, (2, random.integers(1, 8)))
        changed[places[0], places[1]] = random.integers(50, 256)
    return changed


def _scaled(quadrant: np.ndarray, factor: float) -> np.ndarray:
    """Multiply counts."""
    table = np.minimum(np.sqrt(factor) * np.arange(256), 255).astype(np.uint8)
    return table[quadrant]


def _brightened(quadrant: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Add counts of a smooth background, with their noise.

    They are at most half as many as there are: more would bury spots, and to which resolution
    these are seen is the truth.
    """
    counts = np.square(quadrant, dtype=np.uint16)
    few = [place for place, rate in enumerate(_RATES) if rate <= 0.5 * counts.mean()]
    if not few:
        return quadrant
    field = _noise()[random.choice(few)]
    row, column = random.integers(0, _FIELD - SIDE, 2)
    added = field[row : row + SIDE, column : column + SIDE]
    if random.random() < 0.5:
        # air: falls off with the distance from the beam
        reach = random.uniform(80.0, 500.0)
        falling = np.exp(-(_radius() / reach))
        added = (added * falling + 0.5).astype(np.uint16)
    return np.minimum(np.sqrt(counts + added, dtype=np.float32), 255).astype(np.uint8)


def _cut_gaps(quadrant: np.ndarray, random: np.random.Generator) -> None:
    """Take rows and columns away between modules, as on detectors of two kinds."""
    period = (106, 247) if random.random() < 0.5 else (128, 256)
    for axis in (0, 1):
        width = random.integers(2, 10)
        each = period[axis] if random.random() < 0.5 else period[1 - axis]
        view = quadrant if axis == 0 else quadrant.T
        for start in range(int(random.integers(0, each)), SIDE, each):
            view[start : start + width] = 0


def _shaded(quadrant: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Put the shadow of the beam stop and of its arm over a quadrant."""
    shade = np.ones((SIDE, SIDE), np.float32)
    disc = random.uniform(3.0, 60.0)
    depth = random.uniform(0.0, 0.4)
    shade[_radius() < disc] = depth
    if random.random() < 0.5:
        # the arm runs along an axis of the detector, a little aslant
        row, column = np.indices((SIDE, SIDE), np.float32, sparse=True)
        along, across = (row, column) if random.random() < 0.5 else (column, row)
        centre = random.uniform(-5.0, 10.0) + random.uniform(-0.1, 0.1) * along
        shade[np.abs(across - centre) < random.uniform(2.0, 12.0)] = random.uniform(0.0, 0.6)
    shade = gaussian_filter(shade, random.uniform(0.5, 3.0), truncate=2.0)
    return (quadrant * np.sqrt(shade)).astype(np.uint8)


@lru_cache(maxsize=1)
def _noise() -> np.ndarray:
    random = np.random.default_rng(0)
    fields = [random.poisson(rate, (_FIELD, _FIELD)) for rate in _RATES]
    return np.stack(fields).astype(np.uint16)


@lru_cache(maxsize=1)
def _radius() -> np.ndarray:
    row, column = np.indices((SIDE, SIDE), np.float32, sparse=True)
    return np.hypot(row, column)
