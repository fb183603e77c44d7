"""Soft masks: circles, spheres, and the region of a map that holds the particle.

All edges are raised cosines: 1 inside, (1 + cos(π d / width)) / 2 at the distance d from the
inside, 0 from the width on.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import scipy.fft
from scipy import ndimage

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.arrays import Array
from hpdp_dask.numerics.shells import shell_radii


def soft_circle(box: int, radius: float, edge: float, xp: ModuleType = np) -> Array:
    """Make a soft circle about the pixel box//2.

    Parameters
    ----------
    box : int
        Edge of the image, pixels.
    radius : float
        Of what is 1, pixels.
    edge : float
        Width of the soft edge outside the radius, pixels; 0 for a hard one.
    xp : module, optional
        Where the result lives: numpy or cupy.

    Returns
    -------
    (box, box) array of float32
    """
    return _soft_ball(box, radius, edge, 2, xp)


def soft_sphere(box: int, radius: float, edge: float, xp: ModuleType = np) -> Array:
    """Make a soft sphere about the voxel box//2.

    Parameters
    ----------
    box : int
        Edge of the volume, pixels.
    radius : float
        Of what is 1, pixels.
    edge : float
        Width of the soft edge outside the radius, pixels; 0 for a hard one.
    xp : module, optional
        Where the result lives: numpy or cupy.

    Returns
    -------
    (box, box, box) array of float32
    """
    return _soft_ball(box, radius, edge, 3, xp)


def solvent_mask(
    volume: np.ndarray,
    pixel_size: float,
    *,
    threshold: float | None = None,
    low_pass: float = 15.0,
    extend: float = 3.0,
    edge: float = 6.0,
    components: int = 1,
) -> np.ndarray:
    """Make a soft mask about the particle in a map.

    The map is low-passed, cut at the threshold, freed of all but its largest connected parts,
    extended and given a soft edge. Low pass, extension and edge are RELION's defaults.

    Parameters
    ----------
    volume : (n, n, n) ndarray
        Map, particle positive, centred on n//2.
    pixel_size : float
        Å.
    threshold : float, optional
        In the units of the low-passed map; by default a fifth of its largest value inside the
        sphere that fits in the box.
    low_pass : float, optional
        Å; two shells of raised cosine about it.
    extend : float, optional
        Growth in all directions, pixels.
    edge : float, optional
        Width of the soft edge outside, pixels.
    components : int, optional
        How many connected parts are kept, the largest first.

    Returns
    -------
    (n, n, n) ndarray of float32
        From 0 to 1.

    Raises
    ------
    InputError
        If nothing in the sphere is above the threshold.
    """
    smooth = low_pass_filter(volume, pixel_size, low_pass)
    box = volume.shape[-1]
    smooth[_radii(box, 3, np) > box // 2] = -np.inf  # corners hold noise alone
    peak = float(smooth.max())
    if threshold is None:
        threshold = 0.2 * peak
    if not peak > threshold:
        raise InputError(
            f"No voxel of the map, low-passed to {low_pass:g} Å, is above the threshold "
            f"{threshold:g} (its largest value is {peak:g}); is the particle white on dark, and "
            "the threshold in the map's own units?"
        )
    inside = smooth > threshold
    labels, count = ndimage.label(inside, structure=np.ones((3, 3, 3)))
    if count > components:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        inside = np.isin(labels, np.argsort(sizes)[-components:])
    distance = ndimage.distance_transform_edt(~inside)
    return _raised_cosine(distance - extend, edge, np)


def low_pass_filter(volume: np.ndarray, pixel_size: float, resolution: float) -> np.ndarray:
    """Low-pass a map with a raised cosine that is two shells wide.

    Parameters
    ----------
    volume : (n, n, n) ndarray
    pixel_size : float
        Å.
    resolution : float
        Å; the shell at which the filter is a half.

    Returns
    -------
    (n, n, n) ndarray of float32
    """
    box = volume.shape[-1]
    limit = box * pixel_size / resolution
    transform = scipy.fft.rfftn(volume.astype(np.float32, copy=False))
    transform *= _raised_cosine(shell_radii(box, volume.ndim) - (limit - 1.0), 2.0, np)
    return np.asarray(scipy.fft.irfftn(transform, s=volume.shape))


def _radii(box: int, ndim: int, xp: ModuleType) -> Array:
    """Give the distance of each pixel from the centre box//2."""
    axis = xp.arange(box, dtype=xp.float32) - box // 2
    axes = xp.meshgrid(*[axis] * ndim, indexing="ij", sparse=True)
    return xp.sqrt(sum(part * part for part in axes))


def _soft_ball(box: int, radius: float, edge: float, ndim: int, xp: ModuleType) -> Array:
    return _raised_cosine(_radii(box, ndim, xp) - radius, edge, xp)


def _raised_cosine(distance: Array, width: float, xp: ModuleType) -> Array:
    """Fall from 1 at the distance 0 to 0 at the width; 1 where the distance is negative."""
    if width <= 0:
        return (distance <= 0).astype(xp.float32)
    turn = xp.clip(distance / width, 0.0, 1.0)
    return (0.5 + 0.5 * xp.cos(xp.pi * turn)).astype(xp.float32)
