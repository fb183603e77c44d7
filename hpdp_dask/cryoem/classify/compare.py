"""A batch of images against turned averages: in all poses, or in those that are likely."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hpdp_dask.cryoem.classify.turned import Turned
from hpdp_dask.cryoem.search import Batch, ShiftPrior, search
from hpdp_dask.numerics.arrays import Array, namespace, to_host
from hpdp_dask.numerics.grids import shifts_on_disc
from hpdp_dask.numerics.likelihood import (
    Posterior,
    compress_candidates,
    posterior_of,
)


class TurnedSums(NamedTuple):
    """Sums for each turned average.

    Attributes
    ----------
    signal : (r, m) array of complex64
        C X / s2.
    weight : (r, m) array of float32
        C² / s2.
    """

    signal: Array
    weight: Array


class Compared(NamedTuple):
    """How probable the poses of some images of a batch are.

    Attributes
    ----------
    rows : (k,) ndarray of int
        Which images.
    candidates : (k, c) ndarray of int
        See `Turned`.
    shifts : (k, t, 2) ndarray
        Pixels.
    posterior : Posterior
    """

    rows: np.ndarray
    candidates: np.ndarray
    shifts: np.ndarray
    posterior: Posterior


def compare_all(
    batch: Batch, model: Turned, prior: ShiftPrior, sums: TurnedSums, residual: Array
) -> Compared:
    """Compare images with all averages at all angles and shifts of the only level, and add them.

    Parameters
    ----------
    batch : Batch
    model : Turned
    prior : ShiftPrior
    sums : TurnedSums
        Changed in place, as is the residual.
    residual : (groups, radius + 1) array of float64
        See `likelihood.GaussianSums`.

    Returns
    -------
    Compared
    """
    xp = namespace(batch.transforms)
    level = model.levels[0]
    shifts = shifts_on_disc(prior.reach, level.shift_step)
    candidates, references = model.first()
    images = batch.in_shifts(shifts, level.plane)
    number = len(batch.centre)
    tried = np.broadcast_to(shifts, (number, *shifts.shape))
    posterior = posterior_of(
        images.match(references),
        xp.asarray(model.log_prior(0, candidates)[None]),
        xp.asarray(prior.log_prior(tried, batch.centre)),
    )
    compressed = images.compress(posterior, references)
    sums.signal[...] += compressed.signal
    sums.weight[...] += compressed.weight
    residual += compressed.residual
    everything = np.broadcast_to(candidates, (number, len(candidates)))
    return Compared(np.arange(number), everything, tried, posterior)


def compare_likely(
    batch: Batch, model: Turned, prior: ShiftPrior, sums: TurnedSums, residual: Array
) -> Iterator[Compared]:
    """Compare images with the averages, angles and shifts that coarser levels leave, and add them.

    Parameters
    ----------
    batch, model, prior, sums, residual
        As of `compare_all`.

    Yields
    ------
    Compared
        For a few images at a time; each image once.
    """
    for found in search(batch, model, prior):
        rows = found.rows
        weight = batch.weight[rows]
        folded = compress_candidates(found.posterior, found.shifted, found.references, weight)
        unexplained = folded.residual(
            batch.transforms[rows],
            batch.power[rows],
            to_host(batch.group)[rows],
            len(residual),
            batch.plane,
        )
        # from here on little memory is needed; see `notes.in_batches`
        folded.add_to(sums.signal, sums.weight, found.candidates, weight)
        residual += unexplained
        yield Compared(rows, found.candidates, found.shifts, found.posterior)
