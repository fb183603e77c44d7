"""Sharpening: the Guinier plot, its B-factor, and the filter that undoes the loss of contrast.

The amplitudes of a map fall with the frequency 1/d as those of the specimen times
exp(B / (4 d²)), with B negative. A straight line through ln|F| against 1/d², from 10 Å on, where
the specimen's own amplitudes are about constant, has the slope B / 4; multiplying the transform
by exp(-B / (4 d²)) undoes the fall. B has RELION's sign: negative sharpens.

Reference: Rosenthal & Henderson 2003, J. Mol. Biol. 333, 721.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

from hpdp_dask.numerics.masks import low_pass_filter
from hpdp_dask.numerics.shells import radial_mean, shell_radii

#: Å; the Guinier plot is straight beyond this resolution only.
GUINIER_FROM = 10.0

#: A line through fewer shells tells nothing.
_LEAST_SHELLS = 3


@dataclass(frozen=True)
class GuinierFit:
    """A straight line through a Guinier plot.

    Attributes
    ----------
    b_factor : float
        Four times the slope, Å²; negative where amplitudes fall with the resolution.
    intercept : float
        Of the line at 1/d² = 0.
    correlation : float
        Of the points with the line, as RELION gives it: 1 for a perfect fit, whatever the slope.
    shells : int
        How many the line goes through.
    """

    b_factor: float
    intercept: float
    correlation: float
    shells: int


def shell_frequencies(box: int, pixel_size: float) -> np.ndarray:
    """Give the frequency of each shell, 1/Å: (box//2 + 1,) from 0 to Nyquist's."""
    return np.arange(box // 2 + 1) / (box * pixel_size)


def shell_amplitudes(volume: np.ndarray) -> np.ndarray:
    """Average the amplitudes of a map in each shell.

    Parameters
    ----------
    volume : (n, n, n) ndarray
        In real space.

    Returns
    -------
    (n//2 + 1,) ndarray of float64
        Mean of the absolute values, divided by the number of voxels.
    """
    amplitudes = np.abs(scipy.fft.rfftn(volume))
    return np.asarray(radial_mean(amplitudes, volume.ndim)) / volume.size


def fsc_weights(fsc: np.ndarray) -> np.ndarray:
    """Weigh shells by how well the map of both halves is expected to agree with the truth.

    Parameters
    ----------
    fsc : (n,) ndarray
        Correlation of the half-maps.

    Returns
    -------
    (n,) ndarray of float64
        sqrt(2 FSC / (1 + FSC)), 0 where the correlation is negative (Rosenthal & Henderson 2003,
        eq. 17). Times the amplitudes of the same map this leaves those of the signal: noise adds
        to the power S of a shell the part (1 - FSC) / (2 FSC) of S.
    """
    known = np.clip(np.asarray(fsc, dtype=np.float64), 0.0, 1.0)
    return np.sqrt(2.0 * known / (1.0 + known))


def fit_guinier(
    amplitudes: np.ndarray, frequencies: np.ndarray, resolution: float
) -> GuinierFit | None:
    """Fit a straight line to ln|F| against 1/d² between 10 Å and a resolution.

    Parameters
    ----------
    amplitudes : (shells,) ndarray
        Of `shell_amplitudes`, freed of noise by `fsc_weights`; shells of amplitude 0 are left
        out.
    frequencies : (shells,) ndarray
        Of `shell_frequencies`, 1/Å.
    resolution : float
        Å; the last one that counts.

    Returns
    -------
    GuinierFit or None
        None where fewer than three shells lie between 10 Å and the resolution.
    """
    rounding = 1e-9
    used = (frequencies >= (1.0 - rounding) / GUINIER_FROM) & (amplitudes > 0)
    used &= frequencies <= (1.0 + rounding) / resolution
    if np.count_nonzero(used) < _LEAST_SHELLS:
        return None
    squared, logarithm = frequencies[used] ** 2, np.log(amplitudes[used])
    slope, intercept = np.polyfit(squared, logarithm, 1)
    # points on a level line agree with it, though a correlation coefficient is not defined
    level = np.ptp(logarithm) <= 1e-12
    correlation = 1.0 if level else abs(np.corrcoef(squared, logarithm)[0, 1])
    return GuinierFit(
        4.0 * float(slope), float(intercept), float(correlation), int(np.count_nonzero(used))
    )


def sharpen(
    volume: np.ndarray, pixel_size: float, *, gains: np.ndarray, b_factor: float, low_pass: float
) -> np.ndarray:
    """Filter a map: a gain for each shell, a B-factor, and a low-pass with a two-shell edge.

    Parameters
    ----------
    volume : (n, n, n) ndarray
    pixel_size : float
        Å.
    gains : (n//2 + 1,) ndarray
        Factor at the radius of each shell, linear between them: `fsc_weights` divided by the
        modulation transfer function of the detector.
    b_factor : float
        Å²; the transform is multiplied by exp(-B / (4 d²)), so that a negative one sharpens.
    low_pass : float
        Å; where the raised cosine of `masks.low_pass_filter` is a half.

    Returns
    -------
    (n, n, n) ndarray of float32
    """
    box = volume.shape[-1]
    extent = box * pixel_size
    # Beyond the low-pass nothing is left; there the exponential must not overflow.
    radii = np.minimum(shell_radii(box, volume.ndim), extent / low_pass + 1.0)
    factors = np.interp(radii, np.arange(len(gains)), gains)
    factors *= np.exp(-b_factor / 4.0 * (radii / extent) ** 2)
    transform = scipy.fft.rfftn(volume.astype(np.float32, copy=False))
    transform *= factors.astype(np.float32)
    return low_pass_filter(scipy.fft.irfftn(transform, s=volume.shape), pixel_size, low_pass)
