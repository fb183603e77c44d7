"""Form factors of particles, and what pattern each size makes in the rings of a detector.

Form factors are functions of `x = |q| diameter`, 1 at x = 0. Sizes are diameters of the sphere of
equal volume, Å.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np

from hpdp_dask.numerics.form_factors import ICOSAHEDRON_VOLUME, ball, icosahedron
from hpdp_dask.numerics.polar import PolarCells

FormFactor = Callable[[np.ndarray], np.ndarray]

#: From one size of a table to the next, relative.
SIZE_STEP = 0.01

#: Shares of the photons that may be background, from which fits set out.
BACKGROUND_SHARES = np.array([0.0, 0.03, 0.15, 0.4, 0.7, 1.0])

#: Of the sizes in a table, one in so many at least is compared with all frames; more where the
#: fringes that hold the photons move by more than this part of their distance from one to the next.
_COARSE, _COARSE_FRINGE = 4, 0.06

#: Relative width of sizes in a reference that has no fringes.
BROAD = 0.4

#: First minimum of the sphere's form factor in x.
FIRST_MINIMUM = 1.4303

#: Step of x in tables of form factors: a straight line between is off by 1/4000 of a fringe.
_X_STEP = 0.01

#: Rings to a fringe at the largest size that can be told.
_RINGS_PER_FRINGE = 2.5

#: So deep a minimum still holds one photon in so many of a pattern.
LEAST_SHARE = 1e-12


def sphere_form_factor(x: np.ndarray) -> np.ndarray:
    """Give the intensity of a sphere, `[3 (sin u - u cos u) / u³]²` with `u = pi |q| diameter`."""
    return ball(np.pi * np.asarray(x, np.float64)) ** 2


def icosahedron_form_factor(x: np.ndarray) -> np.ndarray:
    """Give the intensity of an icosahedron, averaged over orientations.

    Parameters
    ----------
    x : ndarray
        ``|q|`` times the diameter of the sphere of equal volume.

    Returns
    -------
    ndarray of float64
        Interpolated in a table up to x = 60, constant beyond.
    """
    return np.interp(x, *_averaged_icosahedron())


@lru_cache(maxsize=1)
def _averaged_icosahedron() -> tuple[np.ndarray, np.ndarray]:
    x = np.arange(0.0, 60.0, 0.04)
    # 60 rotations and the inversion leave a 120th of all directions
    number = 600
    step = np.arange(number) + 0.5
    z = 1.0 - 2.0 * step / number
    turn = np.pi * (1.0 + 5.0**0.5) * step
    directions = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z])
    vertex_to_vertex = (np.pi / 6.0 / ICOSAHEDRON_VOLUME) ** (1.0 / 3.0)
    q = directions[:, :, None] * x * vertex_to_vertex
    amplitude = icosahedron(q, 1.0) / ICOSAHEDRON_VOLUME
    return x, np.mean(amplitude**2, axis=0)


@lru_cache(maxsize=4)
def broadened(form_factor: FormFactor, spread: float = BROAD) -> FormFactor:
    """Give the form factor of particles of many sizes, which has no fringes.

    Parameters
    ----------
    form_factor : callable
        Of one size.
    spread : float, optional
        Standard deviation of the sizes, relative.

    Returns
    -------
    callable
        Averaged with the weight of the squared volume.
    """
    x = np.arange(0.0, 60.0, 0.03)
    factor = np.linspace(0.05, 1.0 + 3.0 * spread, 120)
    weight = np.exp(-0.5 * ((factor - 1.0) / spread) ** 2) * factor**6
    weight /= weight.sum()
    averaged = np.zeros_like(x)
    for each, share in zip(factor, weight, strict=True):
        averaged += share * form_factor(each * x)
    return lambda value: np.interp(value, x, averaged)


def ring_intensities(
    cells: PolarCells, form_factor: FormFactor, diameters: np.ndarray
) -> np.ndarray:
    """Average a form factor over the pixels of each ring.

    Parameters
    ----------
    cells : PolarCells
    form_factor : callable
        Of `|q| diameter`.
    diameters : (s,) ndarray
        Å.

    Returns
    -------
    (s, rings) ndarray of float64
        Weighed with the shares of the pixels, over each pixel's breadth too; 0 of a ring without
        a good pixel.
    """
    fine = 8  # of a ring: how finely q is followed in it
    ring = np.minimum((cells.q / cells.width).astype(np.int64), cells.rings)
    good = cells.share > 0.0
    weight = np.zeros((cells.rings, 3 * fine))  # a pixel reaches into the rings beside its own
    for aside in (-1 / 3, 0.0, 1 / 3):
        place = (cells.q[good] / cells.width + aside - ring[good] + 1.0) * fine
        index = ring[good] * 3 * fine + np.clip(place.astype(np.int64), 0, 3 * fine - 1)
        weight += np.bincount(index, cells.share[good], weight.size).reshape(weight.shape)
    total = weight.sum(axis=1)
    weight /= np.where(total > 0.0, total, 1.0)[:, None]
    middle = (np.arange(3 * fine) + 0.5) / fine - 1.0
    q = np.abs(np.arange(cells.rings)[:, None] + middle) * cells.width
    table = form_factor(np.arange(0.0, q.max() * np.max(diameters) + 2 * _X_STEP, _X_STEP))
    found = np.empty((len(diameters), cells.rings))
    _average(weight, q / _X_STEP, np.asarray(diameters, np.float64), table, found)
    return found


@numba.njit(cache=True, nogil=True)
def _average(weight, q, diameters, table, found):  # type: ignore[no-untyped-def]
    """Average a table between whose entries a straight line is near enough."""
    for size in range(len(diameters)):
        for ring in range(len(weight)):
            total = 0.0
            for part in range(weight.shape[1]):
                place = q[ring, part] * diameters[size]
                low = int(place)
                total += weight[ring, part] * (
                    table[low] + (place - low) * (table[low + 1] - table[low])
                )
            found[size, ring] = total


def possible_diameters(
    cells: PolarCells, smallest: float | None = None, largest: float | None = None
) -> np.ndarray:
    """Give the diameters that a detector can tell, in even steps of the logarithm.

    Parameters
    ----------
    cells : PolarCells
    smallest, largest : float, optional
        Å; by default the sphere whose first minimum is still on the detector, and the one whose
        fringes are 2.5 rings wide.

    Returns
    -------
    (s,) ndarray of float64

    Raises
    ------
    ValueError
        The smallest is not below the largest.
    """
    reach = np.quantile(cells.q[cells.share > 0.0], 0.8)
    low = FIRST_MINIMUM / reach if smallest is None else smallest
    high = 1.0 / (_RINGS_PER_FRINGE * cells.width) if largest is None else largest
    if not 0.0 < low < high:
        raise ValueError(f"sizes from {low:g} to {high:g} Å")
    return np.geomspace(low, high, max(8, int(np.log(high / low) / SIZE_STEP) + 1))


@dataclass(frozen=True)
class Shapes:
    """Patterns of a form factor: what share of the photons falls into each ring.

    Attributes
    ----------
    signal : (s, r) ndarray of float32
        Of each size alone; sums to 1.
    background : (r,) ndarray of float32
        Of the background alone; sums to 1.
    coarse : (c,) ndarray of int
        Sizes that are compared with all frames.
    share : (r, c * b) ndarray of float32
        Of these with each of `BACKGROUND_SHARES`.
    logarithm : (r, c * b) ndarray of float32
        Of it, less the mean over the patterns: single precision then keeps the digits that tell
        them apart.
    """

    signal: np.ndarray
    background: np.ndarray
    coarse: np.ndarray
    share: np.ndarray
    logarithm: np.ndarray


@dataclass(frozen=True)
class SizeTable:
    """What `fit_sizes` compares counts with.

    Attributes
    ----------
    diameters : (s,) ndarray of float64
        Å, in even steps of the logarithm.
    rings : (r,) ndarray of int
        Those that have good pixels.
    one, broad : Shapes
        Of one size, and of many sizes, without fringes.
    """

    diameters: np.ndarray
    rings: np.ndarray
    one: Shapes
    broad: Shapes


def size_table(
    cells: PolarCells,
    diameters: np.ndarray,
    form_factor: FormFactor = sphere_form_factor,
    background: np.ndarray | None = None,
) -> SizeTable:
    """Prepare the patterns of all sizes.

    Parameters
    ----------
    cells : PolarCells
    diameters : (s,) ndarray
        Å, from `possible_diameters`.
    form_factor : callable, optional
        Of `|q| diameter`.
    background : (y, x) ndarray, optional
        Its shape, in any unit; by default the same in all pixels.

    Returns
    -------
    SizeTable
    """
    weight = cells.weight.sum(axis=1)
    rings = np.flatnonzero(weight > 0.0)
    even = np.ones(cells.q.shape) if background is None else background
    behind = cells.spread(even).sum(axis=1)[rings]
    if not behind.sum() > 0.0:
        behind = cells.spread(np.ones(cells.q.shape)).sum(axis=1)[rings]
    sizes = {
        form_factor: diameters,
        broadened(form_factor): np.geomspace(diameters[0] / 2, diameters[-1], 120),
    }
    middle = (0.5 * (cells.edges[1:] + cells.edges[:-1]))[rings]
    one, broad = (
        _shapes(
            ring_intensities(cells, each, those)[:, rings] * weight[rings],
            behind,
            np.outer(those, middle),
        )
        for each, those in sizes.items()
    )
    return SizeTable(diameters, rings, one, broad)


def _shapes(counts: np.ndarray, background: np.ndarray, x: np.ndarray) -> Shapes:
    signal = counts / counts.sum(axis=1, keepdims=True)
    background = background / background.sum()
    apart = _COARSE_FRINGE / (np.sum(signal * x, axis=1) * SIZE_STEP)
    coarse = [0]
    while coarse[-1] < len(signal) - 1:
        step = int(np.clip(apart[coarse[-1]], 1, _COARSE))
        coarse.append(min(coarse[-1] + step, len(signal) - 1))
    share = BACKGROUND_SHARES[:, None]
    mixed = (1.0 - share) * signal[coarse, None] + share * background
    mixed = np.maximum(mixed.reshape(-1, counts.shape[1]), LEAST_SHARE)
    logarithm = np.log(mixed)
    logarithm -= logarithm.mean(axis=0)
    return Shapes(
        np.ascontiguousarray(signal, np.float32),
        background.astype(np.float32),
        np.array(coarse),
        np.ascontiguousarray(mixed.T, np.float32),
        np.ascontiguousarray(logarithm.T, np.float32),
    )
