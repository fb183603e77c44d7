"""The search for the poses of a batch of images: from a coarse grid to a fine one.

Each level compares the images with slices on a grid of orientations, at a radius that the step
of the grid is fine enough for, and keeps for each image the orientations and the shifts that
together hold 99.9 % of the probability; the next level looks at their children. The first level
is one grid for all images, and so two matrix products; or, in local searches, the neighbours of
the orientations of the iteration before. (Two levels: Scheres 2012, J. Struct. Biol. 180, 519;
branch and bound: Punjani et al. 2017, Nat. Methods 14, 290.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpdp_dask.cryoem.refine.plan import PIECE_BYTES, Level, Plan, Slices
from hpdp_dask.numerics import grids
from hpdp_dask.numerics.arrays import Array, namespace, to_host
from hpdp_dask.numerics.fourier import HalfPlane
from hpdp_dask.numerics.likelihood import (
    CandidateImages,
    GaussianImages,
    Posterior,
    posterior_of,
)

#: How much of the probability goes on to the next level, and how many candidates at most.
_FRACTION = 0.999
_MOST_ORIENTATIONS, _MOST_SHIFTS = 100, 12

#: How far from the last orientation local searches reach, steps of their first grid.
_LOCAL_REACH = 1.4


@dataclass(frozen=True)
class Batch:
    """Images of one half-set, centred by their last shifts.

    Attributes
    ----------
    plane : HalfPlane
        Of the last level.
    transforms : (n, m) array of complex64
    ctf : (n, m) array of float32
        Times the scale of the image.
    noise_power : (groups, radius + 1) array
    group : (n,) array of int
    centre : (n, 2) ndarray
        The last shifts, pixels, which `transforms` are moved by.
    orientation : (n, 3, 3) ndarray or None
        The last ones, for local searches.
    """

    plane: HalfPlane
    transforms: Array
    ctf: Array
    noise_power: Array
    group: Array
    centre: np.ndarray
    orientation: np.ndarray | None

    @cached_property
    def signal(self) -> Array:
        """C X / s2, (n, m)."""
        return self.transforms * (self.ctf / self.power)

    @cached_property
    def weight(self) -> Array:
        """C² / s2, (n, m)."""
        return self.ctf**2 / self.power

    @cached_property
    def power(self) -> Array:
        """The power of the noise of each sample, (n, m)."""
        xp = namespace(self.transforms)
        shell = xp.asarray(self.plane.shell)
        return xp.asarray(self.noise_power, dtype=xp.float32)[:, shell][self.group]


@dataclass(frozen=True)
class Found:
    """The last level of the search for some images of a batch.

    Attributes
    ----------
    rows : (k,) ndarray of int
        Which images.
    matrices : (k, c, 3, 3) ndarray of float32
        Their candidates' orientations.
    shifts : (k, t, 2) ndarray
        Their candidates' shifts, from the last ones, pixels.
    references : (k, c, m) array of complex64
    shifted : (k, t, m) array of complex64
        C X / s2.
    posterior : Posterior
    """

    rows: np.ndarray
    matrices: np.ndarray
    shifts: np.ndarray
    references: Array
    shifted: Array
    posterior: Posterior


@dataclass(frozen=True)
class _Lists:
    """For each image a list of orientations and one of shifts, filled up with -1 and NaN."""

    orientations: np.ndarray
    shifts: np.ndarray

    def take(self, rows: np.ndarray) -> _Lists:
        """Take the lists of some images, no longer than they need."""
        orientations, shifts = self.orientations[rows], self.shifts[rows]
        most = int((orientations >= 0).sum(axis=1).max())
        tried = int((~np.isnan(shifts[..., 0])).sum(axis=1).max())
        return _Lists(orientations[:, :most], shifts[:, :tried])


def search(batch: Batch, model: Slices, plan: Plan) -> Iterator[Found]:
    """Search the poses of a batch.

    Parameters
    ----------
    batch : Batch
    model : Slices
        Of the map of their half-set.
    plan : Plan

    Yields
    ------
    Found
        For a few images at a time; each image once.
    """
    place = 0
    if plan.local:
        lists = _neighbours(batch, plan)
    else:
        lists = _children(_search_grid(batch, model, plan), plan.levels[0])
        place = 1
    if place == len(plan.levels):
        raise ValueError("a search of the whole grid needs a second level")
    for last in range(place, len(plan.levels)):
        found = _search_lists(batch, model, plan, last, lists)
        if last == len(plan.levels) - 1:
            yield from found
            return
        lists = _children(_survivors(found, lists), plan.levels[last])


def _search_grid(batch: Batch, model: Slices, plan: Plan) -> _Lists:
    """Compare all images with the whole first grid; list what survives."""
    level = plan.levels[0]
    shifts = grids.shifts_on_disc(plan.shift_range, level.shift_step)
    samples = len(level.plane)
    images = GaussianImages(
        level.plane,
        batch.transforms[:, :samples],
        batch.ctf[:, :samples],
        batch.noise_power,
        batch.group,
        shifts,
    )
    xp = namespace(batch.transforms)
    ratios = images.match(model.first())
    tried = np.broadcast_to(shifts, (len(ratios), *shifts.shape))
    prior = xp.asarray(_log_shift_prior(tried, batch.centre, plan.shift_sigma))
    posterior = posterior_of(ratios, xp.zeros((1, ratios.shape[2]), xp.float32), prior)
    orientations = np.broadcast_to(plan.first_orientations, (len(ratios), ratios.shape[2]))
    return _select(posterior, orientations, tried)


def _neighbours(batch: Batch, plan: Plan) -> _Lists:
    """List the orientations and shifts about the last ones."""
    assert batch.orientation is not None
    level = plan.levels[0]
    reach = _LOCAL_REACH * grids.angular_step(level.order)
    found, starts = grids.neighbours(level.order, batch.orientation @ plan.perturbation.T, reach)
    counts = np.diff(starts)
    orientations = np.full((len(counts), counts.max()), -1)
    within = np.arange(counts.max()) < counts[:, None]
    orientations[within] = found
    shifts = grids.shifts_on_disc(plan.shift_range, level.shift_step)
    return _Lists(orientations, np.broadcast_to(shifts, (len(counts), *shifts.shape)))


def _search_lists(
    batch: Batch, model: Slices, plan: Plan, place: int, lists: _Lists
) -> Iterator[Found]:
    """Compare images with their own candidates, those with as many together."""
    xp = namespace(batch.transforms)
    level = plan.levels[place]
    samples = len(level.plane)
    counts = (lists.orientations >= 0).sum(axis=1)
    for rows in _pieces(counts, 8 * samples):
        own = lists.take(rows)
        known = own.orientations >= 0
        references = model.at(place, np.where(known, own.orientations, own.orientations[:, :1]))
        shifts = np.where(np.isnan(own.shifts), own.shifts[:, :1], own.shifts)
        images = CandidateImages(
            level.plane,
            batch.signal[rows, :samples],
            batch.weight[rows, :samples],
            references,
            shifts,
        )
        ratios, shifted = images.match()
        on_shifts = _log_shift_prior(own.shifts, batch.centre[rows], plan.shift_sigma)
        on_orientations = np.where(known, np.float32(0), np.float32(-np.inf))
        posterior = posterior_of(ratios, xp.asarray(on_orientations), xp.asarray(on_shifts))
        matrices = plan.matrices(level.order, np.maximum(own.orientations, 0))
        yield Found(rows, matrices, shifts, references, shifted, posterior)


def _pieces(counts: np.ndarray, bytes_each: int) -> Iterator[np.ndarray]:
    """Cut images, in order of their number of candidates, into pieces of bounded size."""
    order = np.argsort(counts, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order)
            and (stop + 1 - start) * counts[order[stop]] * bytes_each <= PIECE_BYTES
        ):
            stop += 1
        yield order[start:stop]
        start = stop


def _survivors(found: Iterator[Found], lists: _Lists) -> _Lists:
    """Select what goes on to the next level, image by image."""
    number = len(lists.orientations)
    orientations = np.full((number, _MOST_ORIENTATIONS), -1)
    shifts = np.full((number, _MOST_SHIFTS, 2), np.nan)
    for piece in found:
        own = lists.take(piece.rows)
        chosen = _select(piece.posterior, own.orientations, piece.shifts)
        orientations[piece.rows, : chosen.orientations.shape[1]] = chosen.orientations
        shifts[piece.rows, : chosen.shifts.shape[1]] = chosen.shifts
    return _Lists(orientations, shifts)


def _select(posterior: Posterior, orientations: np.ndarray, shifts: np.ndarray) -> _Lists:
    """Keep for each image the candidates that hold nearly all of the probability."""
    kept = _most_probable(to_host(posterior.reference_probability), _MOST_ORIENTATIONS)
    moved = _most_probable(to_host(posterior.shift_probability), _MOST_SHIFTS)
    chosen = np.take_along_axis(orientations, np.maximum(kept, 0), axis=1)
    chosen_shifts = np.take_along_axis(shifts, np.maximum(moved, 0)[..., None], axis=1)
    return _Lists(
        np.where(kept >= 0, chosen, -1),
        np.where(moved[..., None] >= 0, chosen_shifts, np.nan),
    )


def _most_probable(probability: np.ndarray, most: int) -> np.ndarray:
    """Give the columns that hold a fraction of each row's probability, by rank, then -1."""
    most = min(most, probability.shape[1])
    columns = np.argpartition(-probability, most - 1, axis=1)[:, :most]
    values = np.take_along_axis(probability, columns, axis=1)
    rank = np.argsort(-values, axis=1, kind="stable")
    columns = np.take_along_axis(columns, rank, axis=1)
    values = np.take_along_axis(values, rank, axis=1)
    before = np.cumsum(values, axis=1, dtype=np.float64) - values
    wanted = before < _FRACTION
    return np.where(wanted, columns, -1)[:, : wanted.sum(axis=1).max()]


def _children(lists: _Lists, level: Level) -> _Lists:
    """Give the children of candidates on the next grids of orientations and of shifts."""
    number = len(lists.orientations)
    known = np.repeat(lists.orientations >= 0, 8, axis=1)
    finer = grids.children(level.order, np.maximum(lists.orientations, 0)).reshape(number, -1)
    shifts = grids.shift_children(lists.shifts, level.shift_step).reshape(number, -1, 2)
    return _Lists(np.where(known, finer, -1), shifts)


def _log_shift_prior(shifts: np.ndarray, centre: np.ndarray, sigma: float) -> np.ndarray:
    """Give the log of the prior of shifts, Gaussian about no shift; -inf for those that are NaN."""
    moved = shifts + centre[:, None, :]
    log_prior = -0.5 * (moved**2).sum(axis=2) / sigma**2
    return np.where(np.isnan(log_prior), -np.inf, log_prior).astype(np.float32)
