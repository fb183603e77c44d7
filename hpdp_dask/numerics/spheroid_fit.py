"""The size of an elongated particle, from its pattern in sectors around the beam.

At small angles a spheroid, however it is turned, scatters like its shadow: in each direction as
the sphere that is as wide as the shadow is in that direction (Hamzeh & Bragg 1974, J. Appl. Phys.
45, 3189). The shadow is an ellipse, so three numbers are asked for: its mean diameter, its
elongation and the direction of its long axis. What lies along the beam leaves no trace.

The log-likelihood of every sector for every diameter is one matrix product; an ellipse is a path
through that table. All paths of a coarse grid are compared, and the best is followed uphill.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from hpdp_dask.numerics.polar import PolarCells
from hpdp_dask.numerics.size_tables import (
    FormFactor,
    broadened,
    ring_intensities,
    sphere_form_factor,
)
from hpdp_dask.numerics.sphere_fit import expected_deviance, explained

#: Background over the intensity at the centre.
FLOORS = np.geomspace(1e-7, 1.0, 15)

#: Of the grid that is compared as a whole: elongations, and directions over half a turn.
_ELONGATIONS = np.geomspace(1.0, 2.4, 10)
_DIRECTIONS = 8

#: Polar angles that make a sector.
_ANGLES_PER_SECTOR = 2


@dataclass(frozen=True)
class SpheroidTable:
    """What `fit_spheroids` compares counts with.

    Attributes
    ----------
    diameters : (s,) ndarray of float64
        Å, in even steps of the logarithm.
    rings : (r,) ndarray of int
        Those that have good pixels.
    weight : (sectors, r) ndarray of float64
        Shares of the pixels.
    one, broad : (floors, s, r) ndarray of float32
        Intensity of one size, and of many sizes, on each background, over that at the centre.
    """

    diameters: np.ndarray
    rings: np.ndarray
    weight: np.ndarray
    one: np.ndarray
    broad: np.ndarray


def spheroid_table(
    cells: PolarCells, diameters: np.ndarray, background: np.ndarray | None = None
) -> SpheroidTable:
    """Prepare the intensities of all sizes.

    Parameters
    ----------
    cells : PolarCells
        With opposite pixels together.
    diameters : (s,) ndarray
        Å, from `size_tables.possible_diameters`.
    background : (y, x) ndarray, optional
        Its shape, in any unit, of which the mean profile is taken; by default the same in all
        pixels.

    Returns
    -------
    SpheroidTable
    """
    weight = cells.weight.sum(axis=1)
    rings = np.flatnonzero(weight > 0.0)
    even = np.ones(cells.q.shape) if background is None else background
    behind = cells.spread(even).sum(axis=1)[rings] / weight[rings]
    behind /= behind.mean()

    def intensities(form_factor: FormFactor) -> np.ndarray:
        one = ring_intensities(cells, form_factor, diameters)[:, rings]
        return np.ascontiguousarray(one + FLOORS[:, None, None] * behind, np.float32)

    sectors = cells.weight[rings].reshape(len(rings), -1, _ANGLES_PER_SECTOR).sum(axis=2)
    return SpheroidTable(
        diameters,
        rings,
        np.ascontiguousarray(sectors.T),
        intensities(sphere_form_factor),
        intensities(broadened(sphere_form_factor)),
    )


@dataclass(frozen=True)
class SpheroidFit:
    """Shadows of particles.

    Attributes
    ----------
    diameter : (n,) ndarray of float64
        Of the circle of the shadow's area, Å; NaN without a photon.
    elongation : (n,) ndarray of float64
        Long over short diameter of the shadow.
    direction : (n,) ndarray of float64
        Of the long one, degrees from x towards y, from 0 to 180.
    error : (n,) ndarray of float64
        One standard deviation of the diameter by the likelihood, Å.
    score : (n,) ndarray of float64
        From 0 to 1: of what an ellipse without fringes leaves unexplained beyond noise, the share
        that one size explains.
    """

    diameter: np.ndarray
    elongation: np.ndarray
    direction: np.ndarray
    error: np.ndarray
    score: np.ndarray


def fit_spheroids(polar: np.ndarray, table: SpheroidTable) -> SpheroidFit:
    """Find the shadows of particles.

    Parameters
    ----------
    polar : (n, rings, angles) ndarray
        From `polar.gather`, of the cells that the table is for.
    table : SpheroidTable

    Returns
    -------
    SpheroidFit
    """
    number = len(polar)
    counts = polar[:, table.rings].reshape(number, len(table.rings), -1, _ANGLES_PER_SECTOR)
    counts = np.ascontiguousarray(counts.sum(axis=3).transpose(0, 2, 1))
    sectors = counts.shape[1]
    middle = np.pi * (np.arange(sectors) + 0.5) / sectors
    found = np.full((5, number), np.nan)
    found[4] = 0.0
    one, broad = (_Likelihoods(part, table) for part in (table.one, table.broad))
    for frame, each in enumerate(counts):
        if each.sum() > 0.0:
            found[:, frame] = _fit(each, table, one, broad, middle)
    return SpheroidFit(*found)


class _Likelihoods:
    """Tables of a form factor: log-likelihood and expected photons of sectors."""

    def __init__(self, intensity: np.ndarray, table: SpheroidTable) -> None:
        self.logarithm = np.log(intensity)
        self.intensity = intensity
        self.expected = (intensity @ table.weight.T.astype(np.float32)).transpose(0, 2, 1).copy()

    def of(self, counts: np.ndarray, floors: slice) -> tuple[np.ndarray, np.ndarray]:
        """Give log-likelihoods, (floors, sectors, s), at a scale of 1 and but for what they share.

        Beside them the photons that are expected at a scale of 1.
        """
        logarithm = self.logarithm[floors]
        flat = logarithm.reshape(-1, logarithm.shape[2]) @ counts.T
        likelihood = flat.reshape(*logarithm.shape[:2], -1).transpose(0, 2, 1)
        return np.ascontiguousarray(likelihood), self.expected[floors]


def _fit(
    counts: np.ndarray,
    table: SpheroidTable,
    one: _Likelihoods,
    broad: _Likelihoods,
    middle: np.ndarray,
) -> tuple[float, float, float, float, float]:
    step = float(np.log(table.diameters[1] / table.diameters[0]))
    photons = float(counts.sum())
    floors = _floors_near(counts, one, photons)
    likelihood, expected = one.of(counts, floors)
    paths = _paths(middle, step)
    floor, place, shape = _compare(likelihood, expected, paths, photons)
    elongation = _ELONGATIONS[(shape + _DIRECTIONS - 1) // _DIRECTIONS]
    direction = np.pi * ((shape - 1) % _DIRECTIONS) / _DIRECTIONS
    start = np.array([place, np.log(elongation), direction])
    floor, best, bend = _climb(likelihood, expected, start, floor, middle, step, photons)
    mean, stretch, turn = best
    diameter = float(table.diameters[0] * np.exp(mean * step))

    path = mean + _offsets(middle, stretch, turn, step)
    left, noise, variance = _misfit(counts, table, one.intensity[floors][floor], path)
    # the same ellipse without fringes: any size, any background
    likelihood, expected = broad.of(counts, slice(None))
    path = np.rint(path - mean).astype(np.int64)[None]
    floor, place, _ = _compare(likelihood, expected, path, photons)
    reference, _, _ = _misfit(counts, table, broad.intensity[floor], place + path[0])
    one_value = (np.array([value]) for value in (reference, left, noise, variance))
    score = float(explained(*one_value)[0])
    inside = 0.0 < mean < len(table.diameters) - 1
    return (
        diameter,
        float(np.exp(stretch)),
        float(np.degrees(turn) % 180.0),
        diameter * step / np.sqrt(max(bend, 1e-6)),
        score * inside,
    )


def _floors_near(counts: np.ndarray, one: _Likelihoods, photons: float) -> slice:
    """Give the background of the best sphere, and those beside it."""
    total = counts.sum(axis=0)
    likelihood = one.logarithm @ total - photons * np.log(one.expected.sum(axis=1))
    best = int(likelihood.max(axis=1).argmax())
    return slice(max(0, best - 1), best + 2)


def _offsets(middle: np.ndarray, stretch: float, turn: float, step: float) -> np.ndarray:
    """Give the logarithm of an ellipse's width over its mean in each direction, in steps."""
    long, short = np.exp(stretch), np.exp(-stretch)  # squared, the area being 1
    across = long * np.cos(middle - turn) ** 2 + short * np.sin(middle - turn) ** 2
    return 0.5 * np.log(across) / step


def _paths(middle: np.ndarray, step: float) -> np.ndarray:
    """Give the paths of the coarse grid, in whole steps: the circle, then all ellipses."""
    turns = np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    paths = [np.zeros_like(middle)]
    paths += [_offsets(middle, np.log(e), turn, step) for e in _ELONGATIONS[1:] for turn in turns]
    return np.rint(paths).astype(np.int64)


def _misfit(
    counts: np.ndarray, table: SpheroidTable, intensity: np.ndarray, path: np.ndarray
) -> tuple[float, float, float]:
    """Give the deviance of a path, and mean and variance of a perfect one's."""
    place = np.clip(np.rint(path).astype(np.int64), 0, len(intensity) - 1)
    expected = table.weight * intensity[place]
    expected *= counts.sum() / expected.sum()
    full = expected > 0.0
    seen, expected = counts[full], expected[full]
    logarithm = np.log(np.where(seen > 0.0, seen, expected) / expected)
    deviance = 2.0 * float(np.sum(seen * logarithm - seen + expected))
    mean, variance = expected_deviance(expected)
    return deviance, float(mean.sum()), float(variance.sum())


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _compare(likelihood, expected, paths, photons):  # type: ignore[no-untyped-def]
    """Find the best background, place and path of a grid; every other place is tried."""
    floors, sectors, sizes = likelihood.shape
    best, best_floor, best_place, best_path = -np.inf, 0, 0, 0
    for floor in range(floors):
        for path in range(len(paths)):
            for place in range(0, sizes, 2):
                value, total = 0.0, 0.0
                for sector in range(sectors):
                    size = min(max(place + paths[path, sector], 0), sizes - 1)
                    value += likelihood[floor, sector, size]
                    total += expected[floor, sector, size]
                value -= photons * np.log(total)
                if value > best:
                    best, best_floor, best_place, best_path = value, floor, place, path
    return best_floor, best_place, best_path


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _between(values, place):  # type: ignore[no-untyped-def]
    """Interpolate by a cubic through four values (Catmull & Rom 1974)."""
    place = min(max(place, 1.0), len(values) - 2.001)
    i = int(place)
    t = place - i
    a, b, c = values[i - 1], values[i], values[i + 1]
    d = values[min(i + 2, len(values) - 1)]
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _value(likelihood, expected, ellipse, middle, step, photons):  # type: ignore[no-untyped-def]
    value, total = 0.0, 0.0
    long, short = np.exp(ellipse[1]), np.exp(-ellipse[1])
    for sector in range(len(middle)):
        cosine = np.cos(middle[sector] - ellipse[2]) ** 2
        place = ellipse[0] + 0.5 * np.log(long * cosine + short * (1.0 - cosine)) / step
        value += _between(likelihood[sector], place)
        total += _between(expected[sector], place)
    return value - photons * np.log(total)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _climb(likelihood, expected, start, floor, middle, step, photons):  # type: ignore[no-untyped-def]
    """Follow the likelihood uphill in ever smaller steps; gives the curvature at the top too."""
    stride = np.array([1.0, 0.05, np.pi / 16])
    now = start.copy()
    best = _value(likelihood[floor], expected[floor], now, middle, step, photons)
    for _ in range(200):
        moved = False
        for other in range(len(likelihood)):
            value = _value(likelihood[other], expected[other], now, middle, step, photons)
            if value > best:
                best, floor, moved = value, other, True
        for axis in range(3):
            for sign in (-1.0, 1.0):
                trial = now.copy()
                trial[axis] += sign * stride[axis]
                if trial[1] < 0.0:
                    # through the circle: what was long becomes short
                    trial[1] = -trial[1]
                    trial[2] += np.pi / 2
                value = _value(likelihood[floor], expected[floor], trial, middle, step, photons)
                if value > best:
                    best, now, moved = value, trial, True
        if not moved:
            stride *= 0.5
            if stride[0] < 0.02:
                break
    aside = np.array([1.0, 0.0, 0.0])
    upper = _value(likelihood[floor], expected[floor], now + aside, middle, step, photons)
    lower = _value(likelihood[floor], expected[floor], now - aside, middle, step, photons)
    return floor, now, 2.0 * best - upper - lower
