"""Where the beam meets the detector, and the size of a sphere, from the rings of its pattern."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from hpdp_dask.numerics.beam_center import Center
from hpdp_dask.numerics.diffraction import scattering_vectors
from hpdp_dask.numerics.form_factors import ball

#: Fringes of the largest sphere that can be told take so many pixels each.
_PIXELS_PER_FRINGE = 3.0
_SIZES = 300

#: Pixels that the centre may move.
_FARTHEST = 20.0


def sphere_center(
    image: np.ndarray,
    good: np.ndarray,
    pixels: tuple[np.ndarray, np.ndarray, np.ndarray],
    pixel_size: float,
    wavelength: float,
    start: tuple[float, float],
) -> Center | None:
    """Find the centre and the size of the sphere whose pattern fits an image best.

    Parameters
    ----------
    image : (y, x) ndarray
        Photons, of particles of one size.
    good : (y, x) ndarray of bool
    pixels : three (y, x) ndarray of float
        x, y and z of the pixels, m.
    pixel_size : float
        m.
    wavelength : float
        Å.
    start : tuple of float
        x and y to begin at, m, a few pixels off at most.

    Returns
    -------
    Center or None
        With the diameter; None if there is no fit. A table of sizes is gone through first, with
        scale and even background for each; then all five are fitted together, by least squares of
        the square roots.
    """
    x, y, z = (part[good] for part in pixels)
    value = np.maximum(image[good].astype(np.float64), 0.0)

    def lengths(center: np.ndarray) -> np.ndarray:
        place = scattering_vectors(x - center[0], y - center[1], z, wavelength)
        return np.sqrt((place**2).sum(axis=0))

    q = lengths(np.asarray(start))
    diameter = _best_sphere(value, q, pixel_size / (wavelength * float(np.median(np.abs(z)))))
    shape = ball(np.pi * diameter * q) ** 2
    scale, level = _scale_and_level(value, shape, 1.0 / np.maximum(value, value.mean()))
    first = np.array(
        [0.0, 0.0, 0.0, np.log(max(scale, 1e-12)), np.log(max(level, 1e-3 * value.mean()))]
    )

    def model(parameters: np.ndarray) -> np.ndarray:
        moved = np.asarray(start) + pixel_size * parameters[:2]
        size = diameter * np.exp(parameters[2])
        return np.exp(parameters[3]) * ball(np.pi * size * lengths(moved)) ** 2 + np.exp(
            parameters[4]
        )

    root = np.sqrt(value + 0.375)

    def missed(parameters: np.ndarray) -> np.ndarray:
        return np.asarray(root - np.sqrt(model(parameters) + 0.375))

    found = least_squares(
        missed,
        first,
        x_scale=[1.0, 1.0, 0.02, 0.1, 0.5],
        max_nfev=60,
    )
    if not found.success or np.hypot(*found.x[:2]) > _FARTHEST:
        return None
    share = 1.0 - float(
        (missed(found.x) ** 2).sum() / max(((root - root.mean()) ** 2).sum(), 1e-300)
    )
    center = np.asarray(start) + pixel_size * found.x[:2]
    return Center(float(center[0]), float(center[1]), share, float(diameter * np.exp(found.x[2])))


def _best_sphere(value: np.ndarray, q: np.ndarray, step: float) -> float:
    """Give the diameter, Å, of the sphere that fits photons at lengths of q best, roughly.

    Rings are as wide as a pixel, `step` in 1/Å.
    """
    ring = (q / step).astype(np.int64)
    number = np.bincount(ring)
    there = number > 0
    level = np.bincount(ring, value)[there] / number[there]
    middle = np.bincount(ring, q)[there] / number[there]
    weight = number[there] / np.maximum(level, 1e-3 * level.mean())
    smallest = 1.0 / float(q.max())
    largest = max(1.0 / (_PIXELS_PER_FRINGE * step), 2.0 * smallest)
    diameters = np.geomspace(smallest, largest, _SIZES)
    shapes = ball(np.pi * diameters[:, None] * middle) ** 2
    left = [_squares_left(level, shape, weight) for shape in shapes]
    return float(diameters[int(np.argmin(left))])


def _squares_left(value: np.ndarray, shape: np.ndarray, weight: np.ndarray) -> float:
    scale, level = _scale_and_level(value, shape, weight)
    return float((weight * (value - scale * shape - level) ** 2).sum())


def _scale_and_level(
    value: np.ndarray, shape: np.ndarray, weight: np.ndarray
) -> tuple[float, float]:
    """Fit `scale * shape + level`, neither below zero."""
    total = weight.sum()
    mean_value, mean_shape = (weight @ value) / total, (weight @ shape) / total
    off = shape - mean_shape
    scale = max(float((weight * off) @ value / max((weight * off) @ off, 1e-300)), 0.0)
    level = mean_value - scale * mean_shape
    if level < 0.0:
        return max(
            float((weight * shape) @ value / max((weight * shape) @ shape, 1e-300)), 0.0
        ), 0.0
    return scale, float(level)
