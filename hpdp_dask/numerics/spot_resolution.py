"""To which resolution a crystal diffracts, by how its spots thin out with the angle.

Equal steps of ``|q|²`` are equal areas of Ewald's sphere, and so hold equally many reflections of
a lattice. How many of them are seen falls as their mean intensity does: with an intensity that
falls as ``exp(-b |q|²)`` (Wilson 1942) and single ones spread around it as Wilson's law of acentric
reflections says, the share above a detection limit is ``exp(-t exp(b |q|²))``. The estimate is
where that share has come down to 15 % of what it is at the centre. All shapes of the fall are
tried and weighed by their likelihood (that of drawing the spots one by one), so that few spots
give a wide interval and no shape has to be chosen. Spots that are none, at any angle, are allowed
for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: What is left of the share of reflections at the limit: less than that and there are hardly any.
_LEFT = 0.15

#: Shapes of the fall: ``b |q|²`` at the limit, from a slow fall to a sudden end; and powers of
#: ``|q|`` by which reflections grow thicker, of small crystals and of mosaic ones.
_STEEPNESS = (0.01, 1.0, 2.0, 3.0, 5.0, 8.0)
_THICKNESS = (0.0, 0.5, 1.0)

#: Share of spots that are none.
_FALSE = 0.02

#: Steps of ``|q|²``, and limits that are tried, in 1/d from that of 20 Å.
_BINS, _LIMITS, _COARSEST = 100, 160, 20.0

#: Of the interval.
_CONFIDENCE = 0.9


class ResolutionTable(NamedTuple):
    """What all frames of a detector share.

    Attributes
    ----------
    edges : (bins + 1,) ndarray of float64
        Of ``|q|²``, 1/Å².
    shape : (limits, shapes, bins) ndarray of float64
        Density of spots, in any unit.
    cover : (bins,) ndarray of float64
        Share of the whole ring that good pixels cover, in any unit.
    limit : (limits,) ndarray of float64
        1/d, 1/Å.
    log_share : (limits, shapes, bins) ndarray of float64
        Logarithm of the share of the spots in each step, with all pixels that are good.
    """

    edges: np.ndarray
    shape: np.ndarray
    cover: np.ndarray
    limit: np.ndarray
    log_share: np.ndarray


class SpotResolution(NamedTuple):
    """Resolution of a frame, Å.

    Attributes
    ----------
    best : float
        The estimate; NaN without spots.
    low, high : float
        Within which it is with nine of ten parts of the probability; `low` is the coarser one.
    """

    best: float
    low: float
    high: float


def resolution_table(q: np.ndarray, solid_angle: np.ndarray) -> ResolutionTable:
    """Compute how spots would thin out on a detector, for all limits and shapes.

    Parameters
    ----------
    q : (3, y, x) ndarray
        Scattering vectors, 1/Å.
    solid_angle : (y, x) ndarray
        Of each pixel, in any unit; 0 of bad ones.

    Returns
    -------
    ResolutionTable

    Raises
    ------
    ValueError
        No pixel is good.
    """
    good = np.ravel(solid_angle) > 0.0
    if not good.any():
        raise ValueError("no pixel counts")
    squared = np.sum(q.reshape(3, -1)[:, good] ** 2, axis=0)
    edges = np.linspace(0.0, squared.max() * (1.0 + 1e-9), _BINS + 1)
    cover = np.histogram(squared, edges, weights=np.ravel(solid_angle)[good])[0]
    limit = np.linspace(min(1.0 / _COARSEST, np.sqrt(edges[-1]) / 2), np.sqrt(edges[-1]), _LIMITS)
    middle = 0.5 * (edges[1:] + edges[:-1])
    share = middle / limit[:, None] ** 2
    shapes = []
    for steepness in _STEEPNESS:
        fall = np.expm1(np.minimum(steepness * share, 50.0)) / np.expm1(steepness)
        # the first step may be beyond the limit, and then has all there is
        seen = np.exp(np.log(_LEFT) * np.minimum(fall - fall[:, :1], 1e3))
        shapes += [seen * middle ** (0.5 * power) for power in _THICKNESS]
    shape = np.stack(shapes, axis=1)
    return ResolutionTable(edges, shape, cover, limit, _log_share(shape, cover))


def _log_share(shape: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Give the logarithm of the share of the spots that each step of ``|q|²`` should have."""
    share = shape * cover
    share *= (1.0 - _FALSE) / np.maximum(share.sum(axis=2, keepdims=True), 1e-300)
    return np.log(np.maximum(share + _FALSE * cover / cover.sum(), 1e-300))


def spot_resolution(
    q: np.ndarray, table: ResolutionTable, left_out: np.ndarray | None = None
) -> SpotResolution:
    """Estimate to which resolution the spots of a frame go.

    Parameters
    ----------
    q : (spots,) ndarray
        ``|q|`` of each spot, 1/Å.
    table : ResolutionTable
    left_out : (rings, 2) ndarray, optional
        From and to which ``|q|`` spots and pixels do not count (ice).

    Returns
    -------
    SpotResolution
    """
    log_share, seen = table.log_share, table.cover > 0.0
    if left_out is not None and len(left_out):
        kept = np.ones(len(q), bool)
        within = np.zeros(len(table.cover))
        for first, last in left_out:
            kept &= (q < first) | (q > last)
            overlap = np.minimum(table.edges[1:], last**2) - np.maximum(table.edges[:-1], first**2)
            within += np.maximum(overlap, 0.0) / np.diff(table.edges)
        cover = table.cover * np.maximum(1.0 - within, 0.0)
        q, log_share, seen = q[kept], _log_share(table.shape, cover), cover > 0.0
    count = np.histogram(q**2, table.edges)[0] * seen
    if not count.any():
        return SpotResolution(np.nan, np.nan, np.nan)
    likelihood = log_share @ count
    weight = np.exp(likelihood - likelihood.max()).sum(axis=1)
    summed = np.cumsum(weight) / weight.sum()
    best = float(weight @ table.limit / weight.sum())
    outside = 0.5 * (1.0 - _CONFIDENCE)
    low, high = np.interp([outside, 1.0 - outside], summed, table.limit)
    return SpotResolution(1.0 / best, 1.0 / float(low), 1.0 / float(high))
