"""The linear start: along which few directions do the volumes vary, and where is each image?

Expectation and maximisation by turns (`numerics.subspace`), coarse to fine: each round is one pass
over the images, at a radius that grows. It takes a small share of the time that a network needs,
and knows the poses and the CTFs, so it gives the network's latent variables a start that an
encoder would need many epochs to find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.cryoem.heterogeneity.directions import Directions
from hpdp_dask.cryoem.heterogeneity.moments import FineMoments, Moments, NoisePower
from hpdp_dask.cryoem.heterogeneity.observations import Optics
from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.numerics import fourier, subspace
from hpdp_dask.numerics.half_agreement import last_shared_shell, shared_parts
from hpdp_dask.numerics.masks import soft_sphere
from hpdp_dask.numerics.shells import power_spectrum
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Rounds at each share of the last radius.
_ROUNDS = ((0.5, 6), (0.75, 6), (1.0, 8))

#: Variance of a direction's samples, as a share of the mean map's power in their shell. A tight
#: prior keeps the noise of images out of the directions that their weights are found by. Those
#: for volumes are filtered afterwards, so that theirs is only to keep off division by nothing.
_SHARE, _LOOSE_SHARE = 0.1, 40.0

#: The directions for volumes end where those of both halves correlate less than this.
_LEAST_CORRELATION = 0.02

#: Bytes of sums for such directions that are made in one pass over the images, or one direction.
_BYTES = 2 * 2**30

#: No shell is expected to have less power than this share of the first one's.
_LEAST = 1e-12

#: Soft edge of the sphere that directions are cut to, pixels of the cropped box.
_EDGE = 3.0


def find_directions(
    stack_path: Path,
    mean: np.ndarray,
    count: int,
    optics: Optics,
    folder: Path,
    *,
    radius: int,
    seed: int = 0,
    client: Client | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Directions:
    """Find the directions in which the volumes of a stack differ from its mean map.

    Weights are found by the coarse shells, as the fine ones tell little of them; then one more
    pass, or several that fit the memory, carries the directions to the finest shell.

    Parameters
    ----------
    stack_path : Path
    mean : (N, N, N) ndarray
        The map of all images, in their grey scale.
    count : int
        How many directions, at least 1.
    optics : Optics
    folder : Path
        For what workers read.
    radius : int
        Last shell of the directions.
    seed : int, optional
        Of the first weights.
    client, progress, say : optional

    Returns
    -------
    Directions
    """
    box, images = len(mean), ImageReader(stack_path).number
    noise = measure_noise(stack_path, mean, optics, folder, client=client, progress=progress)
    small = np.asarray(fourier.crop_volume(mean, min(box, 2 * (radius + 2))))

    def maximize(model: Directions, number: int, reach: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the directions that follow from weights by those so far, and weights' moments."""
        here = folder / f"directions-{number:02d}.npz"
        model.save(here)
        reduction = Moments(here, optics, box, reach, count, None if number else seed)
        grids, products = reduce_images(stack_path, reduction, client=client, progress=progress)
        penalty = _penalty(model.mean, reach, _SHARE)
        found = subspace.solve_directions(grids, count, penalty)
        return np.stack([_volume_of(each, len(small)) for each in found]), products / images

    none = np.zeros((0, *small.shape), np.float32)
    model = Directions(small, none, noise, np.zeros(0), radius)
    rounds = [max(4, round(share * radius)) for share, times in _ROUNDS for _ in range(times)]
    for number, reach in enumerate(rounds):
        volumes, moments = maximize(model, number, reach)
        volumes = subspace.standardize(volumes, moments)
        spread = np.sqrt(np.square(volumes, dtype=np.float64).sum((1, 2, 3)))
        model = Directions(small, volumes, noise, spread, reach)
        if say is not None:
            told = ", ".join(f"{each:.3g}" for each in spread)
            say(f"Subspace, round {number + 1}: to shell {reach}, spread {told}")
    return _refined(
        replace(model, mean=mean), stack_path, optics, folder, client=client, progress=progress
    )


def _refined(
    model: Directions,
    stack_path: Path,
    optics: Optics,
    folder: Path,
    *,
    client: Client | None,
    progress: Progress | None,
) -> Directions:
    """Add the directions for volumes to those that weights are found by."""
    here, count, box = folder / "directions.npz", len(model.directions), len(model.mean)
    model.save(here)
    penalty = _penalty(model.mean, box // 2, _LOOSE_SHARE)
    halves = np.empty((2, count, box, box, box), np.float32)
    together = max(1, _BYTES // FineMoments(here, optics, box, box // 2, 0, 1).nbytes)
    for first in range(0, count, together):
        some = FineMoments(here, optics, box, box // 2, first, min(first + together, count))
        grids = reduce_images(stack_path, some, client=client, progress=progress)
        for half, sums in enumerate(grids):
            for place, each in enumerate(sums, start=first):
                solved = subspace.solve_directions(each[None], 1, penalty)[0]
                halves[half, place] = _volume_of(solved, box)
    reach = max(
        last_shared_shell(one, other, _LEAST_CORRELATION)
        for one, other in zip(*halves, strict=True)
    )
    joined = np.empty_like(halves[0])
    for place in range(count):
        halves[:, place], joined[place] = shared_parts(halves[0, place], halves[1, place])
    return replace(model, halves=halves, joined=joined, reach=max(reach, model.radius))


def _penalty(mean: np.ndarray, reach: int, share: float) -> np.ndarray:
    """Give 1 over the variance that directions are expected to have, by shell."""
    power = power_spectrum(mean, 3)[: reach + 1] * len(mean) ** 3
    return np.asarray(1.0 / (share * power + _LEAST * power[0]))


def _volume_of(transform: np.ndarray, box: int) -> np.ndarray:
    """Make the volume of a transform, cut to the sphere that images show."""
    return np.asarray(fourier.volume_of(transform, box) * soft_sphere(box, box / 2 - _EDGE, _EDGE))


def measure_noise(
    stack_path: Path,
    mean: np.ndarray,
    optics: Optics,
    folder: Path,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Measure the variance of what a map does not explain of the transforms' samples, by shell.

    What the particle's conformations add is small beside the noise, and counted to it.
    """
    box = len(mean)
    whole = box // 2
    plane = fourier.half_plane(box)
    here = folder / "mean.npz"
    none = np.zeros((0, box, box, box), np.float32)
    Directions(mean, none, np.ones(whole + 1), np.zeros(0), whole).save(here)
    reduction = NoisePower(here, optics, box)
    sums = reduce_images(stack_path, reduction, client=client, progress=progress)
    samples = np.bincount(plane.shell, minlength=whole + 1) * ImageReader(stack_path).number
    return np.asarray(sums / samples)
