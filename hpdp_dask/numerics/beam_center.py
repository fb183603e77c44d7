"""Where the beam meets the detector, from the symmetry of what is scattered around it.

At small angles a pattern has a centre of inversion: Friedel's law. What many particles scatter is
round as well. Both hold for whatever part of it the detector sees; gaps and masked pixels only take
part of the evidence away. Everything works from the places of pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter
from scipy.special import gammaln

from hpdp_dask.numerics.pixel_grid import Grid, to_grid

#: Of all good pixels this share must have a partner on the other side.
_FEWEST_PARTNERS = 0.1

#: The peak of the correlation is fitted over so many half cells on either side, again and again.
_AROUND = 1
_LOOKS = 10

#: Of the variance that the most telling partners have, so much makes a place worth a look.
_EVIDENCE = 0.3

#: Added to counts, the noise of their square roots is most even (Anscombe 1948).
_SHIFT = 0.375

#: Pixels over which the brightness about a pixel is averaged.
_NEARBY = 4.0

#: Steps towards the roundest place end when they are this small, pixels; those that only come
#: near it go around a place that is known that well.
_TURNS = 40
_CONVERGED = 1e-3
_NEARLY = 0.02

#: A ring with fewer pixels tells nothing.
_FEWEST_IN_RING = 8


class Center(NamedTuple):
    """Where the beam is.

    Attributes
    ----------
    x, y : float
        As the pixels are given, m.
    score : float
        Of `friedel_center`: the correlation of the image with its inverse, 1 for a perfect
        centre. Of the others: the share of the variance that the model tells.
    diameter : float
        Of the sphere, Å; NaN of methods without one.
    """

    x: float
    y: float
    score: float
    diameter: float = float("nan")


def friedel_center(
    image: np.ndarray,
    good: np.ndarray,
    pixel_x: np.ndarray,
    pixel_y: np.ndarray,
    pixel_size: float,
    near: tuple[float, float] | None = None,
) -> Center | None:
    """Find the point about which an image looks most like its own inverse.

    Parameters
    ----------
    image : (y, x) ndarray
        Photons, of one frame or of many.
    good : (y, x) ndarray of bool
    pixel_x, pixel_y : (y, x) ndarray of float
        m.
    pixel_size : float
        m.
    near : tuple of float, optional
        x and y of a point that is not more than some pixels off, m; by default all are looked at.

    Returns
    -------
    Center or None
        The peak of the correlation of the image with its inverse under the mask (Padfield 2012,
        IEEE Trans. Image Process. 21, 2706), at all points at once by FFT, then to a part of a
        pixel by a parabola. It is of square roots, under which the noise of photons is nearly
        even, and that noise is taken out of the variance that the correlation is divided by: else
        a centre would be better where its partners are brighter. None if there is no such point
        within the detector.
    """
    root = np.sqrt(np.maximum(image, 0.0) + _SHIFT)
    places = good, pixel_x, pixel_y, pixel_size
    if near is None:
        grid = to_grid(root, *places)
        score = _inverse_correlation(grid)
        row, column = np.unravel_index(np.argmax(score), score.shape)
        if not np.isfinite(score[row, column]):
            return None
        near = (
            grid.origin[0] + 0.5 * grid.step * float(column),
            grid.origin[1] + 0.5 * grid.step * float(row),
        )
    center, height = np.array(near), float("nan")
    for _ in range(_LOOKS):
        # with the middle of a cell on the centre all is the same on both sides
        grid = to_grid(root, *places, (float(center[0]), float(center[1])))
        column, row = (
            round(2.0 * (at - first) / grid.step)
            for at, first in zip(center, grid.origin, strict=True)
        )
        patch = _patch(grid, row, column)
        if not np.isfinite(patch).all():
            return None
        peak = _parabola(patch)
        if peak is None:
            return None
        off_x, off_y, height = peak
        center += 0.5 * grid.step * np.array([off_x, off_y])
        if np.hypot(off_x, off_y) < _CONVERGED:
            break
    return Center(float(center[0]), float(center[1]), height)


def _centred(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Give an image of square roots about its mean, and the variance that photons give it."""
    weights = grid.weights
    around = np.maximum(gaussian_filter(weights, _NEARBY), 1e-6)
    nearby = gaussian_filter(weights * grid.values, _NEARBY) / around
    noise = grid.noise * np.interp(nearby, *_noise_of_roots())
    return grid.values - np.average(grid.values, weights=weights), noise


def _inverse_correlation(grid: Grid) -> np.ndarray:
    """Correlate an image of square roots with its inverse about all points: (2 Y - 1, 2 X - 1).

    The index is the sum of the indices of partners, twice that of the centre. -inf where partners
    are few or tell little.
    """
    weights = grid.weights
    values, noise = _centred(grid)
    shape = tuple(2 * length - 1 for length in weights.shape)
    fast = [scipy.fft.next_fast_len(length, real=True) for length in shape]

    def transformed(part: np.ndarray) -> np.ndarray:
        return np.asarray(scipy.fft.rfft2(weights * part, fast))

    def convolved(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(scipy.fft.irfft2(a * b, fast))[: shape[0], : shape[1]]

    ones, first = transformed(np.ones_like(values)), transformed(values)
    pairs = convolved(ones, ones)
    squares = convolved(transformed(values**2 - noise), ones)
    score, variance = _score(pairs, convolved(first, ones), squares, convolved(first, first))
    enough = pairs > _FEWEST_PARTNERS * weights.sum()
    most = float(variance[enough].max()) if enough.any() else 0.0
    return np.where(enough & (variance > max(_EVIDENCE * most, 0.0)), score, -np.inf)


def _score(
    pairs: np.ndarray, sums: np.ndarray, squares: np.ndarray, products: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give the correlation of partners, and the variance that it is divided by."""
    shared = sums**2 / np.maximum(pairs, 1e-6)
    variance = squares - shared
    return (products - shared) / np.where(variance > 0.0, variance, np.inf), variance


def _patch(grid: Grid, row: int, column: int) -> np.ndarray:
    """Correlate an image with its inverse about a few points around one."""
    weights = grid.weights
    values, noise = _centred(grid)
    rows, columns = weights.shape
    sums = np.zeros((4, 2 * _AROUND + 1, 2 * _AROUND + 1))
    for i in range(2 * _AROUND + 1):
        for j in range(2 * _AROUND + 1):
            both_y, both_x = row + i - _AROUND, column + j - _AROUND
            y = slice(max(0, both_y - rows + 1), min(rows, both_y + 1))
            x = slice(max(0, both_x - columns + 1), min(columns, both_x + 1))
            pairs = weights[y, x] * weights[y, x][::-1, ::-1]
            value = values[y, x]
            weighed = pairs * value
            sums[:, i, j] = (
                pairs.sum(),
                weighed.sum(),
                (weighed * value).sum() - (pairs * noise[y, x]).sum(),
                (weighed * value[::-1, ::-1]).sum(),
            )
    score, _ = _score(*sums)
    return np.where(sums[0] > _FEWEST_PARTNERS * weights.sum(), score, np.nan)


@lru_cache(maxsize=1)
def _noise_of_roots() -> tuple[np.ndarray, np.ndarray]:
    """Tell the variance of the root of Poisson counts by its mean: two columns, in order."""
    mean = np.geomspace(1e-4, 100.0, 200)
    k = np.arange(200.0)
    chance = np.exp(k * np.log(mean)[:, None] - mean[:, None] - gammaln(k + 1.0))
    root = np.sqrt(k + _SHIFT)
    expected = chance @ root
    return expected, np.maximum(chance @ root**2 - expected**2, 0.0)


def _parabola(patch: np.ndarray) -> tuple[float, float, float] | None:
    """Fit a paraboloid to a peak: its place from the middle along columns and rows, its height.

    None if there is no peak.
    """
    step = np.arange(-_AROUND, _AROUND + 1, dtype=np.float64)
    y, x = (part.ravel() for part in np.meshgrid(step, step, indexing="ij"))
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    level, by_x, by_y, xx, xy, yy = np.linalg.lstsq(basis, patch.ravel(), rcond=None)[0]
    curvature = np.array([[2.0 * xx, xy], [xy, 2.0 * yy]])
    if np.linalg.eigvalsh(curvature)[-1] >= 0.0:
        return None
    off = np.clip(np.linalg.solve(curvature, [-by_x, -by_y]), -_AROUND, _AROUND)
    return float(off[0]), float(off[1]), float(level + 0.5 * off @ [by_x, by_y])


def ring_center(
    image: np.ndarray,
    good: np.ndarray,
    pixel_x: np.ndarray,
    pixel_y: np.ndarray,
    pixel_size: float,
    start: tuple[float, float],
) -> Center | None:
    """Find the point about which an image is roundest.

    Parameters
    ----------
    image : (y, x) ndarray
        Photons of many frames.
    good : (y, x) ndarray of bool
    pixel_x, pixel_y : (y, x) ndarray of float
        m.
    pixel_size : float
        m.
    start : tuple of float
        x and y to begin at, m, a few pixels off at most.

    Returns
    -------
    Center or None
        The least-squares fit of a curve of the radius alone, each ring weighed by what it
        scatters about its mean: steps of Gauss and Newton for the centre, with the curve found
        anew at each. None if the steps go astray.
    """
    x, y, value = pixel_x[good], pixel_y[good], image[good].astype(np.float64)
    center = np.array(start, np.float64)
    whole = max(float(((value - value.mean()) ** 2).sum()), 1e-300)
    for turn in range(_TURNS):
        off_x, off_y = x - center[0], y - center[1]
        radius = np.maximum(np.hypot(off_x, off_y), 1e-3 * pixel_size)
        ring = (radius / pixel_size).astype(np.int64)
        share = radius / pixel_size - ring
        # each pixel belongs to the two rings it lies between, so nothing jumps when it moves
        number = _spread(ring, share, np.ones_like(value))
        level = _spread(ring, share, value) / np.maximum(number, 1e-9)
        slope = (level[ring + 1] - level[ring]) / pixel_size
        left = value - (level[ring] + share * (level[ring + 1] - level[ring]))
        scatter = _spread(ring, share, left**2) / np.maximum(number - 1.0, 1.0)
        scatter[number < _FEWEST_IN_RING] = np.inf
        weight = 1.0 / np.maximum(np.maximum(scatter[ring], scatter[ring + 1]), 1e-12)
        # what a step does to the curve itself is no evidence of where the centre is
        gradient = np.stack([-slope * off_x / radius, -slope * off_y / radius])
        for part in gradient:
            mean = _spread(ring, share, part) / np.maximum(number, 1e-9)
            part -= mean[ring] + share * (mean[ring + 1] - mean[ring])
        normal = (gradient * weight) @ gradient.T
        if not np.linalg.det(normal) > 0.0:
            return None
        step = np.linalg.solve(normal, (gradient * weight) @ left)
        length = float(np.hypot(*step)) / pixel_size
        # the rings that a step changes make it a little too long or too short
        center += step * min(1.0 if turn < _TURNS // 2 else 0.5, 2.0 / max(length, 1e-30))
        if length < _CONVERGED:
            break
    if not length < _NEARLY:
        return None
    return Center(float(center[0]), float(center[1]), 1.0 - float((left**2).sum()) / whole)


def _spread(ring: np.ndarray, share: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum values over rings, each parted between the ring below it and the one above."""
    rings = int(ring.max()) + 2
    below = np.bincount(ring, (1.0 - share) * values, rings)
    return np.asarray(below + np.bincount(ring + 1, share * values, rings))
