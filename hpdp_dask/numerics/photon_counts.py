"""Photons of frames: from what the detector read out, and summed up for each frame.

The kernels go through a frame once and keep nothing of its size in memory.
"""

from __future__ import annotations

import numba
import numpy as np

#: `k ln k` of counts k up to the largest of this table.
_K_LOG_K = np.zeros(4096, np.float32)
_K_LOG_K[2:] = np.arange(2, len(_K_LOG_K)) * np.log(np.arange(2, len(_K_LOG_K)))

#: A pixel without background counts as if it had this share of the mean one, so that a photon
#: on it says much, but not everything.
_DARKEST = 1e-3

_compiled = numba.njit(cache=True, nogil=True, fastmath=True)


def count_photons(
    adu: np.ndarray,
    good: np.ndarray,
    gain: float,
    dtype: np.dtype | type = np.uint16,
    from_share: float = 0.5,
) -> np.ndarray:
    """Turn what a detector read out into photons.

    Parameters
    ----------
    adu : (n, y, x) ndarray of float32
        Without common mode.
    good : (y, x) ndarray of bool
        Others have no photons.
    gain : float
        ADU a photon.
    dtype : dtype, optional
        Unsigned integer; what is more than it can hold becomes its greatest.
    from_share : float, optional
        The share of a photon from which one more is counted: 0.5 rounds to the nearest; more, as
        0.7, where a photon's charge rarely spreads and noise is not to be taken for photons.

    Returns
    -------
    (n, y, x) ndarray
        Not below 0; 0 where a value is not finite.
    """
    photons = np.zeros(adu.shape, dtype)
    _count(
        adu.reshape(len(adu), -1),
        good.reshape(-1),
        np.float32(1.0 / gain),
        np.float32(1.0 - from_share),
        np.float32(np.iinfo(dtype).max),
        photons.reshape(len(adu), -1),
    )
    return photons


@numba.njit(cache=True, nogil=True)
def _count(adu, good, per_adu, shift, most, photons):  # type: ignore[no-untyped-def]
    for frame in range(len(adu)):
        for pixel in range(adu.shape[1]):
            value = adu[frame, pixel] * per_adu + shift
            # also false for what is not a number
            if value >= 1.0 and good[pixel] and np.isfinite(value):
                photons[frame, pixel] = min(value, most)


def sum_frames(
    photons: np.ndarray, good: np.ndarray, lit_from: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Count lit pixels and photons of each frame.

    Parameters
    ----------
    photons : (n, y, x) ndarray of unsigned integers
    good : (y, x) ndarray of bool
        Pixels that count.
    lit_from : int, optional
        A pixel with so many photons is lit.

    Returns
    -------
    lit_pixels : (n,) ndarray of int32
    photon_count : (n,) ndarray of int64
    """
    lit = np.zeros(len(photons), np.int32)
    total = np.zeros(len(photons), np.int64)
    _sum(photons.reshape(len(photons), -1), good.reshape(-1), lit_from, lit, total)
    return lit, total


@_compiled
def _sum(photons, good, lit_from, lit, total):  # type: ignore[no-untyped-def]
    for frame in range(len(photons)):
        row = photons[frame]
        pixels_lit, count = np.int32(0), np.int64(0)
        for pixel in range(len(row)):
            value = row[pixel] if good[pixel] else 0
            pixels_lit += value >= lit_from
            count += value
        lit[frame], total[frame] = pixels_lit, count


def log_shape(background: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Give the logarithm of each good pixel's share of the background.

    Parameters
    ----------
    background : (y, x) ndarray of float
        Photons, of any scale.
    good : (y, x) ndarray of bool

    Returns
    -------
    (y, x) ndarray of float32
        0 where a pixel is not good. Pixels without background get a thousandth of the mean.
    """
    shares = np.where(good, np.maximum(background, 0.0), 0.0).astype(np.float64)
    mean = shares.sum() / max(int(good.sum()), 1)
    if not mean > 0:
        return np.zeros(background.shape, np.float32)
    shares = np.where(good, np.maximum(shares, _DARKEST * mean), 0.0)
    total = shares.sum()
    return np.log(np.where(good, shares / total, 1.0)).astype(np.float32)


def score_shape(photons: np.ndarray, good: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Tell how badly the photons of each frame fit the shape of the background.

    Parameters
    ----------
    photons : (n, y, x) ndarray of unsigned integers
    good : (y, x) ndarray of bool
    shape : (y, x) ndarray of float32
        From `log_shape`.

    Returns
    -------
    (n,) ndarray of float64
        `sum k (ln k - ln b)` over good pixels with `k` photons and the share `b` of the
        background. Minus `K ln N`, for K photons in all where N are expected, it is the
        logarithm of the likelihood ratio of Baglivo et al. (1992, J. R. Stat. Soc. B 54, 559)
        by which Hummingbird finds hits.
    """
    scores = np.zeros(len(photons))
    flat = photons.reshape(len(photons), -1)
    _score(flat, good.reshape(-1), shape.reshape(-1), _K_LOG_K, scores)
    last = len(_K_LOG_K) - 1
    if photons.dtype.itemsize > 1:
        frame, pixel = np.nonzero((flat > last) & good.reshape(-1))
        many = flat[frame, pixel].astype(np.float64)
        np.add.at(scores, frame, many * np.log(many) - _K_LOG_K[last])
    return scores


@_compiled
def _score(photons, good, shape, table, scores):  # type: ignore[no-untyped-def]
    last = len(table) - 1
    for frame in range(len(photons)):
        row = photons[frame]
        # without a branch, both loops take several pixels at a time
        expected = np.float32(0.0)
        for pixel in range(len(row)):
            expected += np.float32(row[pixel]) * shape[pixel]
        found = np.float32(0.0)
        for pixel in range(len(row)):
            found += table[min(row[pixel], last)] * good[pixel]
        scores[frame] = np.float64(found) - np.float64(expected)


def subtract_photons(
    photons: np.ndarray,
    good: np.ndarray,
    background: np.ndarray,
    scale: np.ndarray,
    overflow: int | None = None,
) -> np.ndarray:
    """Take whole photons of a background off frames.

    Parameters
    ----------
    photons : (n, y, x) ndarray of unsigned integers
    good : (y, x) ndarray of bool
        Others have no photons.
    background : (y, x) ndarray of float
        Photons.
    scale : (n,) ndarray of float
        How much of it each frame has.
    overflow : int, optional
        Pixels with more photons stay as they are.

    Returns
    -------
    (n, y, x) ndarray
        `max(0, k - floor(scale * background))`.
    """
    left = np.zeros_like(photons)
    number = len(photons)
    _subtract(
        photons.reshape(number, -1),
        good.reshape(-1),
        background.reshape(-1).astype(np.float64),
        np.asarray(scale, np.float64),
        np.iinfo(np.int64).max if overflow is None else overflow,
        left.reshape(number, -1),
    )
    return left


@numba.njit(cache=True, nogil=True)
def _subtract(photons, good, background, scale, overflow, left):  # type: ignore[no-untyped-def]
    for frame in range(len(photons)):
        for pixel in range(photons.shape[1]):
            if good[pixel]:
                count = np.int64(photons[frame, pixel])
                whole = np.int64(scale[frame] * background[pixel])
                left[frame, pixel] = count if count > overflow else max(count - whole, 0)
