"""The size of a particle from the rings of its diffraction pattern.

A pattern's photons in rings of ``|q|`` are compared with the form factor of a body for all sizes at
once: with `m` the share of all photons that a size puts into each ring, the log-likelihood of
counts `n` is `sum n log m`, a matrix product of all frames with all sizes. The scale of the
pattern drops out of it; the background, even or of known shape, is one more axis of the table.
From the best of the table the fit then goes uphill, between the sizes and with any share of
background.

References
----------
Cash 1979, Astrophys. J. 228, 939 (likelihood of counts, its deviance); Daurer et al. 2017, IUCrJ
4, 251 (size and fluence of single particles from sphere patterns).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

from hpdp_dask.numerics.size_tables import BACKGROUND_SHARES, LEAST_SHARE, Shapes, SizeTable

#: What a real particle differs from its form factor in a ring, relative: beyond (1 / this)²
#: photons a ring gains no more weight.
MODEL_ERROR = 0.02

#: Frames that are worked on at once, so that what comes in between stays in the cache.
_BATCH = 128

#: Steps uphill at most, of 1 % in size; five do as a rule.
_STEPS = 20

#: When they end: steps of the size, in those of the table.
_FINE, _ROUGH = 1e-3, 0.05

_LEAST = LEAST_SHARE

#: Step of the root of mean counts in the table of their deviances.
_DEVIANCE_STEP = 0.05


@dataclass(frozen=True)
class SizeFit:
    """Sizes of frames.

    Attributes
    ----------
    diameter : (n,) ndarray of float64
        Å; NaN without a photon.
    error : (n,) ndarray of float64
        One standard deviation by the likelihood, Å: what the photons leave open if the particle
        has the shape that was assumed.
    score : (n,) ndarray of float64
        From 0 to 1: of what a pattern without fringes leaves unexplained beyond noise, the share
        that one size explains. 0 where the best size is the first or the last of the table.
    expected : (n, rings) ndarray of float32
        Photons in each ring that the size of the table nearest to the best makes expect.
    background : (n,) ndarray of float64
        Those of them that are background.
    """

    diameter: np.ndarray
    error: np.ndarray
    score: np.ndarray
    expected: np.ndarray
    background: np.ndarray


def fit_sizes(counts: np.ndarray, table: SizeTable, diameters: np.ndarray | None = None) -> SizeFit:
    """Find the sizes of particles.

    Parameters
    ----------
    counts : (n, rings) ndarray
        Photons in each ring of the cells that the table is for.
    table : SizeTable
    diameters : (n,) ndarray, optional
        Å, where the sizes are known and only the rest is asked for; NaN where not.

    Returns
    -------
    SizeFit
    """
    counts = np.asarray(counts, np.float32)
    if diameters is None:
        diameters = np.full(len(counts), np.nan)
    batches = [slice(start, start + _BATCH) for start in range(0, max(1, len(counts)), _BATCH)]
    parts = [_fit_batch(counts[batch], table, diameters[batch]) for batch in batches]
    return SizeFit(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _fit_batch(
    counts: np.ndarray, table: SizeTable, diameters: np.ndarray
) -> tuple[np.ndarray, ...]:
    rings = counts.shape[1]
    # row by row in memory, which an index in brackets does not give
    counts = np.maximum(np.take(counts, table.rings, axis=1), 0.0)
    weight = np.empty_like(counts)
    _weights(counts, weight)
    step = np.log(table.diameters[1] / table.diameters[0])
    known = np.isfinite(diameters)
    given = np.log(np.where(known, diameters, table.diameters[0]) / table.diameters[0]) / step
    one = _best(counts, weight, table.one, np.where(known, given, np.nan), _FINE)
    # what many sizes leave unexplained hardly changes near their best
    broad = _best(counts, weight, table.broad, np.full(len(counts), np.nan), _ROUGH)

    diameter = np.where(known, diameters, table.diameters[0] * np.exp(one.place * step))
    error = diameter * step * np.sqrt(one.variance)
    score = explained(broad.deviance, one.deviance, one.noise, one.noise_variance)
    last = len(table.diameters) - 1
    score *= known | ((one.place > 0.5) & (one.place < last - 0.5))
    empty = counts.sum(axis=1) <= 0.0
    for values, without in ((diameter, np.nan), (error, np.nan), (score, 0.0)):
        values[empty] = without
    everywhere = np.zeros((len(counts), rings), np.float32)
    everywhere[:, table.rings] = one.expected
    return diameter, error, score, everywhere, one.background * one.expected.sum(axis=1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _weights(counts, out):  # type: ignore[no-untyped-def]
    """Weigh rings by what the model can be wrong by, after an average over some, against noise."""
    rings = counts.shape[1]
    for i in range(len(counts)):
        for ring in range(rings):
            total = np.float32(0.0)
            for shift in range(-2, 3):
                beside = min(max(ring + shift, 0), rings - 1)
                total += np.float32((3 - abs(shift)) / 9.0) * counts[i, beside]
            out[i, ring] = np.float32(1.0) / (np.float32(1.0) + np.float32(MODEL_ERROR**2) * total)


class _Best(NamedTuple):
    """The best patterns of frames.

    Place among the sizes and its variance, share of background, deviance, what that of a perfect
    model would be and its variance, each (n,); expected counts (n, rings).
    """

    place: np.ndarray
    variance: np.ndarray
    background: np.ndarray
    deviance: np.ndarray
    noise: np.ndarray
    noise_variance: np.ndarray
    expected: np.ndarray


def _best(
    counts: np.ndarray,
    weight: np.ndarray,
    shapes: Shapes,
    place: np.ndarray,
    tolerance: float,
) -> _Best:
    """Find the best patterns, of any size where `place` is NaN, else of that one."""
    found = _Best._make([*np.zeros((6, len(counts))), np.empty_like(counts)])
    flat = _likelihoods(counts, weight, shapes)
    free = np.isnan(place)
    if free.all():
        best = flat.argmax(axis=1)
    else:
        likelihood = flat.reshape(len(counts), len(shapes.coarse), len(BACKGROUND_SHARES))
        nearest = np.abs(shapes.coarse - np.where(free, 0.0, place)[:, None]).argmin(axis=1)
        nearest = np.where(free, likelihood.max(axis=2).argmax(axis=1), nearest)
        best = nearest * len(BACKGROUND_SHARES)
        best += likelihood[np.arange(len(counts)), nearest].argmax(axis=1)
    size, share = np.divmod(best, len(BACKGROUND_SHARES))
    found.place[:] = np.where(free, shapes.coarse[size], place)
    found.background[:] = BACKGROUND_SHARES[share]
    _refine(counts, weight, shapes.signal, shapes.background, free, tolerance, _deviances(), *found)
    return found


def _likelihoods(counts: np.ndarray, weight: np.ndarray, shapes: Shapes) -> np.ndarray:
    """Give the log-likelihoods of patterns, each at its best scale, but for a constant."""
    weighed = weight * counts
    scale = weight @ shapes.share  # what a photon of a pattern weighs
    np.log(scale, out=scale)
    scale *= -weighed.sum(axis=1, keepdims=True)
    scale += weighed @ shapes.logarithm
    return scale


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _refine(  # type: ignore[no-untyped-def]
    counts, weight, signal, background, free, tolerance, table,
    place, variance, share, deviance, noise, noise_variance, expected,
):  # fmt: skip
    """Follow the likelihood uphill by Newton's steps in size and share of background; in place."""
    rings = counts.shape[1]
    for i in range(len(counts)):
        total = 0.0
        for ring in range(rings):
            total += weight[i, ring] * counts[i, ring]
        if total <= 0.0:
            expected[i] = 0.0
            continue
        for _ in range(_STEPS):
            at, mix = place[i], share[i]
            middle = min(max(int(np.rint(at)), 1), len(signal) - 2)
            aside = at - middle
            # first derivatives, and of the second ones what matters near the best
            up_size = up_mix = size_size = size_mix = mix_mix = 0.0
            mass = mass_size = mass_mix = 0.0
            for ring in range(rings):
                below, here, above = (
                    signal[middle - 1, ring],
                    signal[middle, ring],
                    signal[middle + 1, ring],
                )
                slope, bend = 0.5 * (above - below), above - 2.0 * here + below
                pattern = here + aside * (slope + 0.5 * aside * bend)
                by_size = (1.0 - mix) * (slope + aside * bend)
                by_mix = background[ring] - pattern
                mixed = max(pattern + mix * by_mix, _LEAST)
                seen = weight[i, ring] * counts[i, ring] / mixed
                up_size += seen * by_size
                up_mix += seen * by_mix
                seen /= mixed
                size_size += seen * by_size * by_size
                size_mix += seen * by_size * by_mix
                mix_mix += seen * by_mix * by_mix
                mass += weight[i, ring] * mixed
                mass_size += weight[i, ring] * by_size
                mass_mix += weight[i, ring] * by_mix
            mass_size /= mass
            mass_mix /= mass
            up_size -= total * mass_size
            up_mix -= total * mass_mix
            size_size += 1e-9 - total * mass_size * mass_size
            size_mix -= total * mass_size * mass_mix
            mix_mix += 1e-9 - total * mass_mix * mass_mix
            # a share of background at its bound that would go beyond stays there
            stuck = (mix <= 0.0 and up_mix < 0.0) or (mix >= 1.0 and up_mix > 0.0)
            move_size = move_mix = 0.0
            if stuck:
                size_mix = 0.0
            else:
                move_mix = up_mix / mix_mix
            variance[i] = 1.0 / max(size_size, 1e-9)
            if free[i]:
                volume = size_size * mix_mix - size_mix * size_mix
                if volume > 1e-6 * size_size * mix_mix:
                    move_size = (mix_mix * up_size - size_mix * up_mix) / volume
                    variance[i] = mix_mix / volume
                    if not stuck:
                        move_mix = (size_size * up_mix - size_mix * up_size) / volume
                move_size = min(max(move_size, -1.0), 1.0)
            place[i] = min(max(at + move_size, 0.0), len(signal) - 1.0)
            share[i] = min(max(mix + move_mix, 0.0), 1.0)
            if abs(place[i] - at) < tolerance and abs(share[i] - mix) < 0.1 * tolerance:
                break
        at, mix = place[i], share[i]
        middle = min(max(int(np.rint(at)), 1), len(signal) - 2)
        aside = at - middle
        mass = 0.0
        for ring in range(rings):
            slope = 0.5 * (signal[middle + 1, ring] - signal[middle - 1, ring])
            bend = signal[middle + 1, ring] - 2.0 * signal[middle, ring] + signal[middle - 1, ring]
            pattern = signal[middle, ring] + aside * (slope + 0.5 * aside * bend)
            mixed = max(pattern + mix * (background[ring] - pattern), _LEAST)
            expected[i, ring] = mixed
            mass += weight[i, ring] * mixed
        scale = total / mass
        for ring in range(rings):
            mean, w = expected[i, ring] * scale, weight[i, ring]
            expected[i, ring] = mean
            deviance[i] += 2.0 * w * (mean - counts[i, ring])
            if counts[i, ring] > 0.0:
                deviance[i] += 2.0 * w * counts[i, ring] * np.log(counts[i, ring] / mean)
            point = np.sqrt(mean) / _DEVIANCE_STEP
            low = min(int(point), len(table) - 2)
            part = min(point - low, 1.0)
            noise[i] += w * (table[low, 0] + part * (table[low + 1, 0] - table[low, 0]))
            noise_variance[i] += (
                w * w * (table[low, 1] + part * (table[low + 1, 1] - table[low, 1]))
            )


def explained(
    reference: np.ndarray, left: np.ndarray, noise: np.ndarray, variance: np.ndarray
) -> np.ndarray:
    """Give the share of a reference's misfit, beyond noise, that a model explains.

    Parameters
    ----------
    reference, left : (n,) ndarray
        Deviance of the reference and of the model.
    noise, variance : (n,) ndarray
        Of the deviance of a perfect model.

    Returns
    -------
    (n,) ndarray
        From 0 to 1; two standard deviations of noise count as misfit of the reference, so that it
        is small where noise alone would do.
    """
    misfit = np.maximum(reference - noise, 0.0) + 2.0 * np.sqrt(variance)
    return np.clip((reference - left) / np.maximum(misfit, LEAST_SHARE), 0.0, 1.0)


def expected_deviance(expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give mean and variance of the deviance of one count of a Poisson distribution.

    Parameters
    ----------
    expected : ndarray
        Mean counts; 1 and 2 come out above some tens, less below one.

    Returns
    -------
    mean, variance : ndarray
        Like `expected`.
    """
    table = _deviances()
    root = _DEVIANCE_STEP * np.arange(len(table))
    place = np.sqrt(np.maximum(expected, 0.0))
    return np.interp(place, root, table[:, 0]), np.interp(place, root, table[:, 1])


@lru_cache(maxsize=1)
def _deviances() -> np.ndarray:
    """Give mean and variance of the deviance at even steps of the root of the mean counts."""
    from scipy.special import gammaln, xlogy

    expected = (_DEVIANCE_STEP * np.arange(10.0 / _DEVIANCE_STEP + 1))[:, None] ** 2
    expected[0] = 1e-12
    count = np.arange(300.0)
    probability = np.exp(xlogy(count, expected) - expected - gammaln(count + 1.0))
    deviance = 2.0 * (xlogy(count, count / expected) - count + expected)
    mean = np.sum(probability * deviance, axis=1)
    return np.column_stack([mean, np.sum(probability * deviance**2, axis=1) - mean**2])
