"""The most frequent number of photons of each pixel: histograms, and curves fitted to them at once.

What particles scatter comes on top of the background, and not in each frame, so the mode of a
pixel's counts is that of the background even where some of the frames are hits (Bobkov et al.
2020, Crystallogr. Rep. 65, 995; `correct_background` of spi-processing fits the same Gaussian).
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from scipy.special import gammaln

from hpdp_dask.numerics.arrays import Array, namespace, to_host

#: Least squares put the centre of a Gaussian so far below the mean of the Poisson distribution
#: that it is fitted to; 0.28 for a mean of 3, 0.251 for 10 and more.
_BELOW_MEAN = 0.25

#: Where the mode is less, a Poisson distribution has not the shape of a Gaussian.
_FEWEST_FOR_GAUSSIAN = 3

#: Pixels that are fitted together: what comes in between stays in the cache.
_BATCH = 4096

_ITERATIONS = 60
_CONVERGED = 1e-4

#: Pixels whose histograms a core holds in its nearest cache.
_TILE = 64


class ModeFit(NamedTuple):
    """A Gaussian fitted to the histogram of each pixel, by least squares.

    Attributes
    ----------
    centre, width : (...) array of float64
        Photons; the width is the standard deviation. NaN where the mode is no photon.
    height : (...) array of float64
        Frames at the centre.
    """

    centre: Array
    width: Array
    height: Array


def add_to_histogram(histogram: np.ndarray, photons: np.ndarray) -> None:
    """Count how often each pixel has each number of photons.

    Parameters
    ----------
    histogram : (bins, y, x) ndarray of uint32
        Is added to. Pixels with as many photons as there are bins, or more, are not counted.
    photons : (n, y, x) ndarray of unsigned integers
    """
    bins = len(histogram)
    flat = photons.reshape(len(photons), -1)
    _add_to_histogram(histogram.reshape(bins, -1), flat)


@numba.njit(cache=True, nogil=True)
def _add_to_histogram(histogram, photons):  # type: ignore[no-untyped-def]
    bins, pixels = histogram.shape
    tile = np.zeros((_TILE, bins), np.uint32)
    for first in range(0, pixels, _TILE):
        number = min(_TILE, pixels - first)
        tile[:] = 0
        for frame in range(len(photons)):
            for pixel in range(number):
                count = photons[frame, first + pixel]
                if count < bins:
                    tile[pixel, count] += 1
        for count in range(bins):
            for pixel in range(number):
                histogram[count, first + pixel] += tile[pixel, count]


def background_of_histogram(histogram: Array) -> Array:
    """Estimate the mean number of background photons of each pixel from its histogram.

    Parameters
    ----------
    histogram : (bins, y, x) array of int
        From `add_to_histogram`.

    Returns
    -------
    (y, x) array of float64
        The mean of the Poisson distribution that has the mode. From three photons on it follows
        from a Gaussian (`fit_gaussian`), which minds less if the pulses are not equally strong;
        below from a Poisson distribution of any height. 0 where a pixel was never counted.
    """
    xp = namespace(histogram)
    flat = histogram.reshape(len(histogram), -1)
    background = xp.zeros(flat.shape[1])
    mode = xp.argmax(flat, axis=0)
    many = xp.flatnonzero(mode >= _FEWEST_FOR_GAUSSIAN)
    background[many] = _fit_gaussians(flat, many).centre + _BELOW_MEAN
    counted = flat.sum(axis=0) > 0
    few = xp.flatnonzero((mode < _FEWEST_FOR_GAUSSIAN) & counted)
    # what is far above the mode belongs to hits
    background[few] = _fit_poisson(flat[: 4 * _FEWEST_FOR_GAUSSIAN], few)
    return background.reshape(histogram.shape[1:])


def fit_gaussian(histogram: Array) -> ModeFit:
    """Fit a Gaussian to the histogram of each pixel, where the mode is a photon or more.

    Parameters
    ----------
    histogram : (bins, ...) array of int
        How often each pixel had 0, 1, 2... photons.

    Returns
    -------
    ModeFit
        For all pixels at once, by the steps of Levenberg and Marquardt. `floor(centre)` is the
        background of spi-processing.
    """
    xp = namespace(histogram)
    flat = histogram.reshape(len(histogram), -1)
    lit = xp.flatnonzero(xp.argmax(flat, axis=0) > 0)
    found = _fit_gaussians(flat, lit)
    values = []
    for part in found:
        whole = xp.full(flat.shape[1], xp.nan)
        whole[lit] = part
        values.append(whole.reshape(histogram.shape[1:]))
    return ModeFit(*values)


def _fit_gaussians(histogram: Array, pixels: Array) -> ModeFit:
    """Fit Gaussians to the histograms of some pixels, batch by batch."""
    xp = namespace(histogram)
    parts = [xp.zeros((3, 0))]
    for first in range(0, len(pixels), _BATCH):
        chosen = pixels[first : first + _BATCH]
        counts = histogram[:, chosen].astype(xp.float64)
        # bins beyond what a Gaussian about the mode reaches say nothing, and cost as much
        largest = float(xp.max(xp.argmax(counts, axis=0)))
        reach = int(largest + 8.0 * largest**0.5) + 8
        parts.append(_gauss_batch(counts[:reach]))
    return ModeFit(*xp.concatenate(parts, axis=1))


def _gauss_batch(counts: Array) -> Array:
    """Fit Gaussians to columns of counts: (3, n) centre, width, height."""
    xp = namespace(counts)
    bins, number = counts.shape
    k = xp.arange(bins, dtype=xp.float64)[:, None]
    mode = xp.argmax(counts, axis=0).astype(xp.float64)
    found = xp.stack([mode, xp.sqrt(xp.maximum(mode, 1.0)), xp.zeros(number)])
    damping = xp.full(number, 1e-2)
    curve, height, cost = _gaussian(counts, k, found[0], found[1])
    found[2] = height
    active = xp.arange(number)
    for _ in range(_ITERATIONS):
        centre, width = found[:2, active]
        measured = counts[:, active]
        off = (k - centre) / width
        by_centre = curve * off / width
        by_width = by_centre * off
        norm = xp.maximum((curve * curve).sum(axis=0), 1e-300)
        # the height follows from the curve, so what the steps share with it is taken out
        by_centre -= curve * ((by_centre * curve).sum(axis=0) / norm)
        by_width -= curve * ((by_width * curve).sum(axis=0) / norm)
        residual = measured - curve
        a = (by_centre * by_centre).sum(axis=0) * (1.0 + damping) + 1e-12
        c = (by_width * by_width).sum(axis=0) * (1.0 + damping) + 1e-12
        b = (by_centre * by_width).sum(axis=0)
        u, v = (by_centre * residual).sum(axis=0), (by_width * residual).sum(axis=0)
        determinant = a * c - b * b
        step = (c * u - b * v) / determinant, (a * v - b * u) / determinant
        # no further than the curve is wide
        new_centre = centre + xp.clip(step[0], -width, width)
        new_width = xp.clip(width + xp.clip(step[1], -0.5 * width, width), 0.2, float(bins))
        new_curve, new_height, new_cost = _gaussian(measured, k, new_centre, new_width)
        better = new_cost <= cost
        damping = xp.where(better, 0.3 * damping, 5.0 * damping)
        found[:, active] = xp.where(
            better, xp.stack([new_centre, new_width, new_height]), found[:, active]
        )
        curve, cost = xp.where(better, new_curve, curve), xp.where(better, new_cost, cost)
        moved = xp.abs(new_centre - centre) + xp.abs(new_width - width)
        going = xp.flatnonzero((moved > _CONVERGED * width) & (damping < 1e6))
        if not len(going):
            break
        active, damping = active[going], damping[going]
        curve, cost = curve[:, going], cost[going]
    return found


def _gaussian(counts: Array, k: Array, centre: Array, width: Array) -> tuple[Array, Array, Array]:
    """Give Gaussians of the heights that fit best, these heights, and the sums of squares left."""
    xp = namespace(counts)
    curve = xp.exp(-0.5 * ((k - centre) / width) ** 2)
    norm = xp.maximum((curve * curve).sum(axis=0), 1e-300)
    height = (counts * curve).sum(axis=0) / norm
    curve *= height
    return curve, height, ((counts - curve) ** 2).sum(axis=0)


def _fit_poisson(histogram: Array, pixels: Array) -> Array:
    """Fit Poisson distributions of any height to the histograms of some pixels: their means."""
    xp = namespace(histogram)
    parts = [xp.zeros(0)]
    for first in range(0, len(pixels), _BATCH):
        counts = histogram[:, pixels[first : first + _BATCH]].astype(xp.float64)
        parts.append(_poisson_batch(counts))
    return xp.concatenate(parts)


def _poisson_batch(counts: Array) -> Array:
    """Fit Poisson distributions to columns of counts by least squares: (n,) means."""
    xp = namespace(counts)
    k = xp.arange(len(counts), dtype=xp.float64)[:, None]
    log_factorial = xp.asarray(gammaln(to_host(k) + 1.0))
    mode = xp.argmax(counts, axis=0)
    ratio = counts[1] / xp.maximum(counts[0], 1.0)
    mean = xp.maximum(xp.where(mode > 0, mode + _BELOW_MEAN, xp.minimum(ratio, 1.0)), 1e-6)
    damping = xp.full(counts.shape[1], 1e-2)
    curve, cost = _poisson(counts, k, log_factorial, mean)
    for _ in range(_ITERATIONS):
        norm = xp.maximum((curve * curve).sum(axis=0), 1e-300)
        slope = curve * (k / mean - 1.0)
        slope -= curve * ((slope * curve).sum(axis=0) / norm)
        steepness = (slope * slope).sum(axis=0) * (1.0 + damping)
        step = (slope * (counts - curve)).sum(axis=0) / xp.maximum(steepness, 1e-300)
        tried = xp.maximum(mean + xp.clip(step, -0.7 * mean, 2.0 * mean), 1e-9)
        new_curve, new_cost = _poisson(counts, k, log_factorial, tried)
        better = new_cost <= cost
        moving = xp.abs(tried - mean) > _CONVERGED * mean
        damping = xp.where(better, 0.3 * damping, 5.0 * damping)
        mean, cost = xp.where(better, tried, mean), xp.where(better, new_cost, cost)
        curve = xp.where(better, new_curve, curve)
        if not bool(xp.any(moving & (damping < 1e6))):
            break
    # a pixel without a photon has none
    return xp.where(counts[1:].sum(axis=0) > 0, mean, 0.0)


def _poisson(counts: Array, k: Array, log_factorial: Array, mean: Array) -> tuple[Array, Array]:
    """Give Poisson distributions of the heights that fit best, and the sums of squares left."""
    xp = namespace(counts)
    curve = xp.exp(k * xp.log(mean) - mean - log_factorial)
    norm = xp.maximum((curve * curve).sum(axis=0), 1e-300)
    curve *= (counts * curve).sum(axis=0) / norm
    return curve, ((counts - curve) ** 2).sum(axis=0)
