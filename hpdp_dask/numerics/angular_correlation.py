"""How patterns vary around the beam: angular Fourier series on rings, whatever the orientation.

A pattern turned in its plane has the same autocorrelation over the angle. That of photons in a
ring, over that of what the ring would hold if every direction scattered alike, is freed of gaps
and of the mean profile; photons correlated with themselves are left out, so that noise adds
nothing on average. Its Fourier series is `C_n / C_0`, the squared share of the n-fold wave in the
ring (Kam 1977, Macromolecules 10, 927; Altarelli, Kurta & Vartanyants 2010, Phys. Rev. B 82,
104207; the ratio to an even field is the estimator of Peebles & Hauser 1974, Astrophys. J. Suppl.
28, 19).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
import scipy.fft

from hpdp_dask.numerics.polar import PolarCells

#: So many photons of even intensity are added to a ring in mind: of fewer nothing can be told.
PRIOR_PHOTONS = 10.0

#: A distance between angles that fewer pairs have than this share of an even ring's is made up to
#: it by even intensity.
_FEW_PAIRS = 0.1


class RingSums(NamedTuple):
    """Photons of frames in wider rings, those of each frame at the radii that suit it.

    Attributes
    ----------
    observed, expected : (n, k, angles) ndarray of float32
        Photons, and what they would be if the signal were even around the beam.
    weight : (n, k) ndarray of float32
        Shares of the pixels in each ring; 0 where a ring is not on the detector.
    """

    observed: np.ndarray
    expected: np.ndarray
    weight: np.ndarray


def sum_rings(
    polar: np.ndarray,
    cells: PolarCells,
    bounds: np.ndarray,
    background: np.ndarray,
    behind: np.ndarray,
) -> RingSums:
    """Sum polar cells over rings between radii that each frame has of its own.

    Parameters
    ----------
    polar : (n, rings, angles) ndarray of float32
        From `polar.gather`.
    cells : PolarCells
    bounds : (n, k + 1) ndarray
        Of the k rings of each frame in ``|q|``, 1/Å, ascending. A ring of the cells is in one of
        them if its middle is.
    background : (rings, angles) ndarray
        In each cell, in any unit.
    behind : (n,) ndarray
        Photons of background in each frame.

    Returns
    -------
    RingSums
    """
    shape = len(polar), bounds.shape[1] - 1, cells.angles
    sums = RingSums(
        np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32)
    )
    even = background / max(float(background.sum()), 1e-300)
    middle = 0.5 * (cells.edges[1:] + cells.edges[:-1])
    _sum_rings(
        polar,
        cells.weight.astype(np.float32),
        even.astype(np.float32),
        behind.astype(np.float32),
        middle,
        np.asarray(bounds, np.float64),
        *sums,
    )
    return sums


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sum_rings(  # type: ignore[no-untyped-def]
    polar, share, background, behind, middle, bounds, observed, expected, weight
):
    for i in range(len(polar)):
        ring = 0
        for row in range(len(middle)):
            while ring + 1 < bounds.shape[1] and middle[row] >= bounds[i, ring + 1]:
                ring += 1
            if ring + 1 == bounds.shape[1]:
                break
            if middle[row] < bounds[i, 0]:
                continue
            counts = np.float32(0.0)
            shares = np.float32(0.0)
            even = np.float32(0.0)
            for angle in range(polar.shape[2]):
                counts += polar[i, row, angle]
                shares += share[row, angle]
                even += background[row, angle]
            if shares == 0.0:
                continue
            # an even signal on top of the background, which has its own shape
            under = min(behind[i] * even, counts)
            level = (counts - under) / shares
            scale = under / even if even > 0.0 else np.float32(0.0)
            weight[i, ring] += shares
            for angle in range(polar.shape[2]):
                observed[i, ring, angle] += polar[i, row, angle]
                expected[i, ring, angle] += (
                    level * share[row, angle] + scale * background[row, angle]
                )


def anisotropy(sums: RingSums, orders: Sequence[int], prior: float = PRIOR_PHOTONS) -> np.ndarray:
    """Measure the angular Fourier series of rings.

    Parameters
    ----------
    sums : RingSums
        Angles over half a turn, opposite pixels together.
    orders : sequence of int
        Even ones: 2 is a twofold variation over a whole turn.
    prior : float, optional
        Photons of even intensity that are added in mind.

    Returns
    -------
    (n, k, orders) ndarray of float32
        `C_n / C_0 = |I_n|² / I_0²` with `I(phi) = sum I_n exp(i n phi)`: 0 where the intensity is
        even, a quarter where it is `1 + cos(n phi)`; negative by noise alone. 0 for a ring that
        is not on the detector. Narrow gaps leave it as it is, on average over all turns of the
        pattern; what lies in them cannot be known.
    """
    pairs, even = _pairs(sums, prior)
    return _series(pairs, even, orders)


def pooled_anisotropy(
    sums: RingSums, orders: Sequence[int], prior: float = PRIOR_PHOTONS
) -> np.ndarray:
    """Measure the angular Fourier series of several rings together.

    Each ring has the weight of its photons, so that bright rings do not speak alone.

    Parameters
    ----------
    sums, orders, prior
        As for `anisotropy`.

    Returns
    -------
    (n, orders) ndarray of float32
    """
    pairs, even = _pairs(sums, prior)
    share = 1.0 / np.maximum(sums.expected.sum(axis=2, keepdims=True), 1.0)
    return _series((pairs * share).sum(axis=1), (even * share).sum(axis=1), orders)


def _pairs(sums: RingSums, prior: float) -> tuple[np.ndarray, np.ndarray]:
    """Count pairs of photons by the distance of their angles, and those of an even ring."""
    angles = sums.observed.shape[2]
    pairs = _correlate(sums.observed)
    pairs[..., 0] -= sums.observed.sum(axis=2)  # each with itself
    even = _correlate(sums.expected)
    level = sums.expected.sum(axis=2, keepdims=True) ** 2 / angles
    added = prior**2 / angles + np.maximum(_FEW_PAIRS * level - even, 0.0)
    return pairs + added, even + added


def _correlate(values: np.ndarray) -> np.ndarray:
    """Correlate rings with themselves over the angle: (n, k, angles // 2 + 1)."""
    transform = scipy.fft.rfft(values, axis=2)
    power = transform.real**2 + transform.imag**2
    return power @ _cosines(values.shape[2])


def _cosines(angles: int) -> np.ndarray:
    """Give the transform of a real, even function, which is its own inverse but for a factor."""
    half = np.arange(angles // 2 + 1)
    twice = np.where((half == 0) | (2 * half == angles), 1.0, 2.0)
    waves = twice[:, None] * np.cos(2.0 * np.pi * np.outer(half, half) / angles)
    return (waves / angles).astype(np.float32)


def _series(pairs: np.ndarray, even: np.ndarray, orders: Sequence[int]) -> np.ndarray:
    angles = 2 * (pairs.shape[-1] - 1)
    series = (pairs / even) @ _cosines(angles)
    mean = np.maximum(series[..., :1], 0.2)
    return series[..., [order // 2 for order in orders]] / mean
