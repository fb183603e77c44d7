"""The search for the poses of a batch of images: from a coarse grid to a fine one.

Each level compares the images with references on a grid, slices of a map or turned averages, at
a radius that the step of the grid is fine enough for, and keeps for each image the references
and the shifts that together hold 99.9 % of the probability; the next level looks at their
children. The first level is one grid for all images, and so two matrix products; or, in local
searches, what is near the poses of the iteration before. (Two levels: Scheres 2012, J. Struct.
Biol. 180, 519; branch and bound: Punjani et al. 2017, Nat. Methods 14, 290.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

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
_MOST_REFERENCES, _MOST_SHIFTS = 100, 12

#: What the references of images that are compared together may take, bytes.
PIECE_BYTES = 48 << 20


@dataclass(frozen=True)
class Level:
    """A level of the search.

    Attributes
    ----------
    plane : HalfPlane
        The samples that are compared.
    shift_step : float
        Pixels; half as large on the next level.
    """

    plane: HalfPlane
    shift_step: float


class Hypotheses(Protocol):
    """What images are compared with: references on grids from coarse to fine.

    A candidate is the number of a reference on the grid of its level.
    """

    @property
    def levels(self) -> Sequence[Level]:
        """The levels, from coarse to fine."""

    def first(self) -> tuple[np.ndarray, Array]:
        """Give the candidates of the first grid, (r,), and their references, (r, m)."""

    def at(self, place: int, candidates: np.ndarray) -> Array:
        """Give the references of candidates of a level, (..., m)."""

    def children(self, place: int, candidates: np.ndarray) -> np.ndarray:
        """Give the candidates of the next level that are parts of those of a level, (..., k)."""

    def log_prior(self, place: int, candidates: np.ndarray) -> np.ndarray:
        """Give the log of the prior of candidates of a level, of their shape."""


@dataclass(frozen=True)
class Batch:
    """Images that are compared with the same references, centred by their last shifts.

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
    """

    plane: HalfPlane
    transforms: Array
    ctf: Array
    noise_power: Array
    group: Array
    centre: np.ndarray

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

    def in_shifts(self, shifts: np.ndarray, plane: HalfPlane) -> GaussianImages:
        """Give the images as they are compared in the same shifts, up to a plane's radius."""
        samples = len(plane)
        return GaussianImages(
            plane,
            self.transforms[:, :samples],
            self.ctf[:, :samples],
            self.noise_power,
            self.group,
            shifts,
        )


@dataclass(frozen=True)
class ShiftPrior:
    """Where particles may be: a Gaussian about the middle of the image.

    Attributes
    ----------
    reach : float
        The first level's farthest shift from the last one, pixels.
    sigma : float
        Along each axis, pixels.
    """

    reach: float
    sigma: float

    def log_prior(self, shifts: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Give the log of the prior, 0 at its top, (n, t) float32; -inf where shifts are NaN.

        Parameters
        ----------
        shifts : (n, t, 2) ndarray
            From the last ones, pixels.
        centre : (n, 2) ndarray
            The last ones.
        """
        moved = shifts + centre[:, None, :]
        log_prior = -0.5 * (moved**2).sum(axis=2) / self.sigma**2
        return np.where(np.isnan(log_prior), -np.inf, log_prior).astype(np.float32)


@dataclass(frozen=True)
class Found:
    """The last level of the search for some images of a batch.

    Attributes
    ----------
    rows : (k,) ndarray of int
        Which images.
    candidates : (k, c) ndarray of int
        Lists that are shorter are filled up with their first, of no probability.
    shifts : (k, t, 2) ndarray
        From the last ones, pixels.
    references : (k, c, m) array of complex64
    shifted : (k, t, m) array of complex64
        C X / s2.
    posterior : Posterior
    """

    rows: np.ndarray
    candidates: np.ndarray
    shifts: np.ndarray
    references: Array
    shifted: Array
    posterior: Posterior


@dataclass(frozen=True)
class Lists:
    """For each image a list of candidates and one of shifts.

    Attributes
    ----------
    candidates : (n, c) ndarray of int
        Filled up with -1, and at least one.
    shifts : (n, t, 2) ndarray
        Pixels, filled up with NaN, and at least one.
    """

    candidates: np.ndarray
    shifts: np.ndarray

    def take(self, rows: np.ndarray) -> Lists:
        """Take the lists of some images, no longer than they need."""
        candidates, shifts = self.candidates[rows], self.shifts[rows]
        most = int((candidates >= 0).sum(axis=1).max())
        tried = int((~np.isnan(shifts[..., 0])).sum(axis=1).max())
        return Lists(candidates[:, :most], shifts[:, :tried])


def search(
    batch: Batch, hypotheses: Hypotheses, prior: ShiftPrior, begin: Lists | None = None
) -> Iterator[Found]:
    """Search the poses of a batch.

    Parameters
    ----------
    batch : Batch
    hypotheses : Hypotheses
    prior : ShiftPrior
    begin : Lists, optional
        What the first level compares each image with; by default all with the whole first grid.

    Yields
    ------
    Found
        For a few images at a time; each image once.

    Raises
    ------
    ValueError
        If there is one level only, and nothing to begin from.
    """
    place = 0
    if begin is None:
        if len(hypotheses.levels) == 1:
            raise ValueError("a search of the whole grid needs a second level")
        begin = _children(hypotheses, 0, _search_grid(batch, hypotheses, prior))
        place = 1
    lists = begin
    for last in range(place, len(hypotheses.levels)):
        found = _search_lists(batch, hypotheses, prior, last, lists)
        if last == len(hypotheses.levels) - 1:
            yield from found
            return
        lists = _children(hypotheses, last, _survivors(found, lists))


def _search_grid(batch: Batch, hypotheses: Hypotheses, prior: ShiftPrior) -> Lists:
    """Compare all images with the whole first grid; list what survives."""
    xp = namespace(batch.transforms)
    level = hypotheses.levels[0]
    candidates, references = hypotheses.first()
    shifts = grids.shifts_on_disc(prior.reach, level.shift_step)
    ratios = batch.in_shifts(shifts, level.plane).match(references)
    tried = np.broadcast_to(shifts, (len(ratios), *shifts.shape))
    posterior = posterior_of(
        ratios,
        xp.asarray(hypotheses.log_prior(0, candidates)[None]),
        xp.asarray(prior.log_prior(tried, batch.centre)),
    )
    return _select(posterior, np.broadcast_to(candidates, (len(ratios), len(candidates))), tried)


def _search_lists(
    batch: Batch, hypotheses: Hypotheses, prior: ShiftPrior, place: int, lists: Lists
) -> Iterator[Found]:
    """Compare images with their own candidates, those with as many together."""
    xp = namespace(batch.transforms)
    level = hypotheses.levels[place]
    samples = len(level.plane)
    counts = (lists.candidates >= 0).sum(axis=1)
    for rows in _pieces(counts, 8 * samples):
        own = lists.take(rows)
        known = own.candidates >= 0
        candidates = np.where(known, own.candidates, own.candidates[:, :1])
        references = hypotheses.at(place, candidates)
        shifts = np.where(np.isnan(own.shifts), own.shifts[:, :1], own.shifts)
        images = CandidateImages(
            level.plane,
            batch.signal[rows, :samples],
            batch.weight[rows, :samples],
            references,
            shifts,
        )
        ratios, shifted = images.match()
        on_candidates = np.where(known, hypotheses.log_prior(place, candidates), -np.inf)
        posterior = posterior_of(
            ratios,
            xp.asarray(on_candidates.astype(np.float32)),
            xp.asarray(prior.log_prior(own.shifts, batch.centre[rows])),
        )
        yield Found(rows, candidates, shifts, references, shifted, posterior)


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


def _survivors(found: Iterator[Found], lists: Lists) -> Lists:
    """Select what goes on to the next level, image by image."""
    number = len(lists.candidates)
    candidates = np.full((number, _MOST_REFERENCES), -1)
    shifts = np.full((number, _MOST_SHIFTS, 2), np.nan)
    for piece in found:
        chosen = _select(piece.posterior, piece.candidates, piece.shifts)
        candidates[piece.rows, : chosen.candidates.shape[1]] = chosen.candidates
        shifts[piece.rows, : chosen.shifts.shape[1]] = chosen.shifts
    return Lists(candidates, shifts)


def _select(posterior: Posterior, candidates: np.ndarray, shifts: np.ndarray) -> Lists:
    """Keep for each image the candidates that hold nearly all of the probability."""
    kept = _most_probable(to_host(posterior.reference_probability), _MOST_REFERENCES)
    moved = _most_probable(to_host(posterior.shift_probability), _MOST_SHIFTS)
    chosen = np.take_along_axis(candidates, np.maximum(kept, 0), axis=1)
    chosen_shifts = np.take_along_axis(shifts, np.maximum(moved, 0)[..., None], axis=1)
    return Lists(
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
    wanted = (before < _FRACTION) & (values > 0)
    return np.where(wanted, columns, -1)[:, : wanted.sum(axis=1).max()]


def _children(hypotheses: Hypotheses, place: int, lists: Lists) -> Lists:
    """Give the children of candidates on the next grids of references and of shifts."""
    number = len(lists.candidates)
    finer = hypotheses.children(place, np.maximum(lists.candidates, 0))
    known = np.repeat(lists.candidates >= 0, finer.shape[-1], axis=1)
    step = hypotheses.levels[place].shift_step
    shifts = grids.shift_children(lists.shifts, step).reshape(number, -1, 2)
    return Lists(np.where(known, finer.reshape(number, -1), -1), shifts)
