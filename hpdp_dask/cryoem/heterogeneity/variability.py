"""Where volumes vary: their standard deviation voxel by voxel, in units of the map's noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

from hpdp_dask.cryoem.heterogeneity.agreement import Agreement
from hpdp_dask.cryoem.heterogeneity.volumes import Conformations
from hpdp_dask.cryoem.reconstruct import HalfMaps
from hpdp_dask.numerics.backprojection import wiener_filter, wiener_term
from hpdp_dask.numerics.fourier import transform_volume, volume_of
from hpdp_dask.numerics.masks import soft_sphere

#: Width of the Gaussian in which the noise is averaged, and of the sphere's soft edge, as a share
#: of the box and in pixels.
_WINDOW, _EDGE = 1.0 / 12.0, 3.0


def map_noise(maps: HalfMaps, radius: int) -> np.ndarray:
    """Give the standard deviation of the noise of a map, voxel by voxel.

    Parameters
    ----------
    maps : HalfMaps
    radius : int
        The last shell of the map, which has Wiener's filter of all images.

    Returns
    -------
    (N, N, N) ndarray of float32
        Root of the local mean square of half the difference of the half-maps; 0 outside of the
        sphere that images show.
    """
    wiener = wiener_term(maps.fsc[: radius + 1], joined=True)
    difference = np.asarray(wiener_filter(0.5 * (maps.half1 - maps.half2), wiener))
    box = len(difference)
    square = gaussian_filter(difference.astype(np.float64) ** 2, _WINDOW * box)
    # the sphere's edge ends the difference, and the mean has to do without what is beyond
    inside = np.asarray(soft_sphere(box, box / 2 - _EDGE, _EDGE))
    share = gaussian_filter(inside.astype(np.float64) ** 2, _WINDOW * box)
    noise = np.sqrt(square / np.maximum(share, 1e-6))
    return np.where(inside > 0.5, noise, 0.0).astype(np.float32)


def shared_variability(agreement: Agreement, maps: HalfMaps, radius: int) -> np.ndarray:
    """Tell where volumes vary along the axes that both half-sets found.

    Parameters
    ----------
    agreement : Agreement
    maps : HalfMaps
    radius : int
        The last shell of the axes.

    Returns
    -------
    (N, N, N) ndarray of float32
        Standard deviation over the noise of the map up to the same shell; 0 where the variance
        is negative, which is by noise alone.
    """
    variance = np.zeros(maps.half1.shape)
    for k in range(agreement.shared):
        first, second = (enlarge(axes[k], len(variance)) for axes in agreement.axes)
        # noise of the one is not that of the other: the product has none of it in the mean
        variance += agreement.correlations[k] * first.astype(np.float64) * second
    deviation = np.sqrt(np.maximum(variance, 0.0))
    return _in_units(deviation, map_noise(maps, radius))


def network_variability(
    conformations: Conformations,
    z: np.ndarray,
    maps: HalfMaps,
    number: int,
    seed: int,
    done: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Tell where the volumes of trained networks vary over their latent variables.

    Parameters
    ----------
    conformations : Conformations
    z : (n, zdim) ndarray
        Of the images.
    maps : HalfMaps
    number : int
        Volumes are made at the latent variables of so many images, drawn by chance.
    seed : int
    done : callable, optional
        Told of each volume.

    Returns
    -------
    (N, N, N) ndarray of float32
        Standard deviation over the noise of the map.
    """
    chosen = np.random.default_rng(seed).choice(len(z), min(number, len(z)), replace=False)
    mean = square = None
    for count, made in enumerate(conformations.volumes(z[np.sort(chosen)]), start=1):
        volume = made.astype(np.float64)
        if mean is None or square is None:
            mean, square = volume, np.zeros_like(volume)
        else:
            # Welford 1962, Technometrics 4, 419
            apart = volume - mean
            mean += apart / count
            square += apart * (volume - mean)
        if done is not None:
            done(1)
    assert square is not None
    deviation = np.sqrt(square / max(1, len(chosen) - 1))
    return _in_units(deviation, map_noise(maps, len(deviation) // 2))


def enlarge(volume: np.ndarray, box: int) -> np.ndarray:
    """Give a volume that was cropped in Fourier space its voxels again, (N, N, N) of float32."""
    return np.asarray(volume_of(transform_volume(volume), box))


def _in_units(deviation: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Divide by the noise where there is any; float32."""
    found = np.divide(deviation, noise, out=np.zeros(noise.shape), where=noise > 0)
    return found.astype(np.float32)
