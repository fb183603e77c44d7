"""What rounds of expectation and maximisation have in common, for all images and for half-sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpdp_dask.cryoem.heterogeneity.directions import Directions
from hpdp_dask.numerics import fourier, subspace
from hpdp_dask.numerics.masks import soft_sphere
from hpdp_dask.numerics.shells import power_spectrum

#: Variance of a direction's samples, as a share of the mean map's power in their shell. A tight
#: prior keeps the noise of images out of the directions that their weights are found by.
TIGHT_SHARE = 0.0125

#: No shell is expected to have less power than this share of the first one's.
_LEAST = 1e-12

#: Soft edge of the sphere that directions are cut to, pixels of the cropped box.
_EDGE = 3.0


def reaches_of(rounds: tuple[tuple[float, int], ...], radius: int) -> list[int]:
    """Give the last shell of each round.

    Parameters
    ----------
    rounds : tuple of (float, int)
        How many rounds there are at each share of the last radius.
    radius : int
        That last radius.
    """
    return [max(4, round(share * radius)) for share, times in rounds for _ in range(times)]


def following(model: Directions, grids: np.ndarray, moments: np.ndarray, reach: int) -> Directions:
    """Make the directions that follow from the sums over images.

    Parameters
    ----------
    model : Directions
        Those that the images' weights were found by.
    grids : (grids_of(q), ...) ndarray of float32
        Of `numerics.subspace.insert_moments`; completed in place.
    moments : (q, q) ndarray
        Mean of the products of the weights.
    reach : int
        Last shell.
    """
    box = len(model.mean)
    solved = subspace.solve_directions(grids, len(moments), penalty(model.mean, reach, TIGHT_SHARE))
    volumes = np.stack([volume_of(each, box) for each in solved])
    volumes = subspace.standardize(volumes, moments)
    spread = np.sqrt(np.square(volumes, dtype=np.float64).sum((1, 2, 3)))
    return Directions(model.mean, volumes, model.noise, spread, reach)


def penalty(mean: np.ndarray, reach: int, share: float) -> np.ndarray:
    """Give 1 over the variance that directions are expected to have.

    Parameters
    ----------
    mean : (N, N, N) ndarray
        The mean map.
    reach : int
        Last shell.
    share : float
        Of the mean map's power in the shell.

    Returns
    -------
    (reach + 1,) ndarray of float64
        By shell.
    """
    power = power_spectrum(mean, 3)[: reach + 1] * len(mean) ** 3
    return np.asarray(1.0 / (share * power + _LEAST * power[0]))


def volume_of(transform: np.ndarray, box: int) -> np.ndarray:
    """Make the volume of a transform, cut to the sphere that images show."""
    return np.asarray(fourier.volume_of(transform, box) * soft_sphere(box, box / 2 - _EDGE, _EDGE))


def keep(model: Directions, file: Path) -> None:
    """Write directions whole or not at all, for workers and for a run that resumes."""
    hidden = file.with_name(f".{file.name}.partial")
    model.save(hidden)
    hidden.replace(file)
