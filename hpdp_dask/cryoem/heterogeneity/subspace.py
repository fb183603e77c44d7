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
from hpdp_dask.cryoem.heterogeneity.moments import FineMoments, Moments, NoisePower, noise_of
from hpdp_dask.cryoem.heterogeneity.observations import Optics
from hpdp_dask.cryoem.heterogeneity.rounds import (
    following,
    keep,
    penalty,
    reaches_of,
    volume_of,
)
from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.numerics import fourier, subspace
from hpdp_dask.numerics.half_agreement import last_shared_shell, shared_parts
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Rounds at each share of the last radius.
_ROUNDS = ((0.5, 6), (0.75, 6), (1.0, 8))

#: Variance of the samples of directions for volumes, as a share of the mean map's power in their
#: shell. They are filtered afterwards, so that it is only to keep off division by nothing.
_LOOSE_SHARE = 5.0

#: The directions for volumes end where those of both halves correlate less than this.
_LEAST_CORRELATION = 0.02

#: Bytes of sums for such directions that are made in one pass over the images, or one direction.
_BYTES = 2 * 2**30


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
        For what workers read. What an interrupted search for the same left there is gone on from.
    radius : int
        Last shell of the directions.
    seed : int, optional
        Of the first weights.
    client, progress, say : optional

    Returns
    -------
    Directions
    """
    images = ImageReader(stack_path).number
    reaches = reaches_of(_ROUNDS, radius)
    files = [folder / f"directions-{number:02d}.npz" for number in range(len(reaches) + 1)]
    done = max((number for number, file in enumerate(files) if file.exists()), default=None)
    if done is None:
        done, box = 0, min(len(mean), 2 * (radius + 2))
        noise = measure_noise(stack_path, mean, optics, folder, client=client, progress=progress)
        small = np.asarray(fourier.crop_volume(mean, box))
        none = np.zeros((0, *small.shape), np.float32)
        keep(Directions(small, none, noise, np.zeros(0), radius), files[0])
    for number in range(done, len(reaches)):
        reach, before = reaches[number], files[number]
        reduction = Moments(before, optics, len(mean), reach, count, None if number else seed)
        grids, products = reduce_images(stack_path, reduction, client=client, progress=progress)
        model = following(Directions.read(before), grids, products / images, reach)
        keep(model, files[number + 1])
        before.unlink()
        if say is not None:
            told = ", ".join(f"{each:.3g}" for each in model.spread)
            say(f"Subspace, round {number + 1}: to shell {reach}, spread {told}")
    found = replace(Directions.read(files[-1]), mean=mean)
    return _refined(found, stack_path, optics, folder, client=client, progress=progress)


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
    keep(model, here)
    expected = penalty(model.mean, box // 2, _LOOSE_SHARE)
    halves = np.empty((2, count, box, box, box), np.float32)
    together = max(1, _BYTES // FineMoments(here, optics, box, box // 2, 0, 1).nbytes)
    for first in range(0, count, together):
        stop = min(first + together, count)
        made = folder / f"halves-{first:03d}-{stop - 1:03d}.npy"
        if not made.exists():
            some = FineMoments(here, optics, box, box // 2, first, stop)
            grids = reduce_images(stack_path, some, client=client, progress=progress)
            for half, sums in enumerate(grids):
                for place, each in enumerate(sums, start=first):
                    solved = subspace.solve_directions(each[None], 1, expected)[0]
                    halves[half, place] = volume_of(solved, box)
            with write_whole(made, halves[:, first:stop].nbytes) as file:
                np.save(file, halves[:, first:stop])
        halves[:, first:stop] = np.load(made)
    reach = max(
        last_shared_shell(one, other, _LEAST_CORRELATION)
        for one, other in zip(*halves, strict=True)
    )
    joined = np.empty_like(halves[0])
    for place in range(count):
        halves[:, place], joined[place] = shared_parts(halves[0, place], halves[1, place])
    return replace(model, halves=halves, joined=joined, reach=max(reach, model.radius))


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
    here = folder / "mean.npz"
    none = np.zeros((0, box, box, box), np.float32)
    Directions(mean, none, np.ones(box // 2 + 1), np.zeros(0), box // 2).save(here)
    power = reduce_images(
        stack_path, NoisePower(here, optics, box), client=client, progress=progress
    )
    return noise_of(power, box, ImageReader(stack_path).number)
