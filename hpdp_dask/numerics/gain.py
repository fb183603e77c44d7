"""ADU a photon, from the peak that single photons make in the histogram of all pixels."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import OptimizeWarning, curve_fit

#: Bins of the histogram, in standard deviations of a pixel without photons.
BIN = 0.125
LOWEST, HIGHEST = -8.0, 248.0
BINS = int((HIGHEST - LOWEST) / BIN)

#: Below this many standard deviations there is no telling a photon from noise.
_NEAREST = 2.5

#: What a peak must have over the valley before it, in Poisson's standard deviations and as a
#: ratio of their heights.
_SIGNIFICANT = 6.0
_RATIO = 1.15

#: Standard deviations of the noise: of the curve that smooths, and half of a window that counts.
_SMOOTH = 0.35
_WINDOW = 0.5


class GainPeak(NamedTuple):
    """The peak of single photons.

    Attributes
    ----------
    gain, error : float
        ADU a photon, from the peak of no photon to that of one, and its standard deviation.
    ratio : float
        Height of the peak over that of the valley before it.
    significance : float
        Peak less valley, in Poisson's standard deviations.
    doubled : bool
        Whether two photons make a peak or a shoulder at twice the gain too.
    """

    gain: float
    error: float
    ratio: float
    significance: float
    doubled: bool


def find_gain(histogram: np.ndarray, noise: float) -> GainPeak | None:
    """Find the gain in a histogram of pixels, most of which have no photon.

    Parameters
    ----------
    histogram : (BINS,) ndarray of int
        Of good pixels without common mode: bins of `BIN * noise` from `LOWEST * noise` on.
    noise : float
        Standard deviation in a pixel without photons, ADU.

    Returns
    -------
    GainPeak or None
        None if no peak stands out: too few photons, too much noise, or a detector that spreads
        charge over pixels.
    """
    counts = np.asarray(histogram, np.float64)
    smooth = gaussian_filter1d(counts, _SMOOTH / BIN)
    places = LOWEST + (np.arange(BINS) + 0.5) * BIN
    zero = int(np.argmax(np.where(np.abs(places) < 4.0, smooth, 0.0)))
    for peak in _maxima(smooth, np.searchsorted(places, places[zero] + _NEAREST)):
        valley = zero + int(np.argmin(smooth[zero:peak]))
        ratio, significance = _compare(counts, peak, valley)
        if ratio < _RATIO or significance < _SIGNIFICANT:
            continue
        place, error = _centre(counts, places, peak)
        gain = place - _centre(counts, places, zero)[0]
        return GainPeak(
            gain * noise, error * noise, ratio, significance, _is_doubled(smooth, places, gain)
        )
    return None


def _maxima(smooth: np.ndarray, first: int) -> list[int]:
    """List the local maxima from a bin on, each the highest within half a photon's least."""
    reach = int(0.5 * _NEAREST / BIN)
    return [
        place
        for place in range(max(first, reach), len(smooth) - reach)
        if smooth[place] > 0 and smooth[place] == smooth[place - reach : place + reach + 1].max()
    ]


def _compare(counts: np.ndarray, peak: int, valley: int) -> tuple[float, float]:
    """Give the ratio of a peak to a valley, and by how much it stands out."""
    half = int(_WINDOW / BIN)
    above, below = (float(counts[at - half : at + half + 1].sum()) for at in (peak, valley))
    return above / max(below, 1.0), (above - below) / max(above + below, 1.0) ** 0.5


def _centre(counts: np.ndarray, places: np.ndarray, peak: int) -> tuple[float, float]:
    """Fit a Gaussian on a slope to a peak: its centre and the standard deviation of that."""
    half = int(1.5 / BIN)
    window = slice(max(0, peak - half), peak + half + 1)
    x, y = places[window] - places[peak], counts[window]

    def curve(
        x: np.ndarray, centre: float, width: float, height: float, level: float, slope: float
    ) -> np.ndarray:
        return height * np.exp(-0.5 * ((x - centre) / width) ** 2) + level + slope * x

    lowest = float(y.min())
    start = (0.0, 1.0, float(y.max()) - lowest + 1.0, lowest, 0.0)
    bounds = ([-1.0, 0.3, 0.0, -np.inf, -np.inf], [1.0, 5.0, np.inf, np.inf, np.inf])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", OptimizeWarning)
            found, covariance = curve_fit(
                curve, x, y, start, sigma=np.sqrt(y + 1.0), absolute_sigma=True, bounds=bounds
            )
    except (RuntimeError, OptimizeWarning):
        return float(places[peak]), _WINDOW
    return float(places[peak] + found[0]), float(min(covariance[0, 0] ** 0.5, _WINDOW))


def _is_doubled(smooth: np.ndarray, places: np.ndarray, gain: float) -> bool:
    """Tell whether the histogram bulges at twice the gain."""
    at = [int(np.searchsorted(places, share * gain)) for share in (1.6, 2.0, 2.4)]
    if at[-1] >= len(smooth):
        return False
    before, middle, after = (float(smooth[place]) for place in at)
    return middle**2 > 1.05 * before * after and middle > 0
