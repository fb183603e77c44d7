"""What the directions of each half-set are worth in the images of the other.

A direction that was found in noise explains no other images: it costs evidence there. As a check
on the noise itself the same directions are also shown to each image from a wrong side, turned by
chance: what they gain there, they do not gain from the particle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.heterogeneity.directions import Seen, read_seen
from hpdp_dask.cryoem.heterogeneity.halves import half_sets_of
from hpdp_dask.cryoem.heterogeneity.imaging_errors import ERRORS, imaging_errors
from hpdp_dask.cryoem.heterogeneity.observations import Optics, observe
from hpdp_dask.numerics import nested_evidence
from hpdp_dask.numerics.rotations import random_rotations

#: The places of images, their rows of numbers, and two matrices.
Sums = tuple[np.ndarray, np.ndarray, np.ndarray]

#: Images that are worked on at once; and for each pixel of the box, images of a leaf.
_BATCH, _IMAGES_PER_LEAF_AND_PIXEL = 64, 20


@dataclass(frozen=True)
class HeldOut:
    """The reduction of images to what the directions of the half-sets tell of each.

    The accumulator has the places of images in the stack, a row of numbers for each, and two
    matrices; see `Found`.

    Attributes
    ----------
    halves : tuple of Path
        The `Directions` of each half.
    optics : Optics
    box, radius, count : int
        Of the images; last shell; number of directions.
    images : int
        In the stack.
    alternate : bool
        See `halves.HalfSets`.
    seed : int
        Of the wrong sides.
    errors : bool
        Allow for errors of the imaging (`imaging_errors`) in all models.
    """

    halves: tuple[Path, Path]
    optics: Optics
    box: int
    radius: int
    count: int
    images: int
    alternate: bool
    seed: int = 0
    errors: bool = True
    name: str = "held-out"

    @property
    def columns(self) -> int:
        """Count the numbers of an image."""
        return 4 * self.count + 2

    @property
    def nbytes(self) -> int:
        """The size of the largest accumulator."""
        return (8 + 4 * self.columns) * self.images

    @property
    def images_per_leaf(self) -> int:
        """How many images a leaf folds at least."""
        return _IMAGES_PER_LEAF_AND_PIXEL * self.box

    def start(self) -> Sums:
        """Make an empty accumulator."""
        rows = np.zeros((0, self.columns), np.float32)
        return np.zeros(0, np.int64), rows, np.zeros((2, self.count, self.count))

    def fold(self, sums: Sums, block: xr.Dataset) -> Sums:
        """Add a block of images."""
        places, rows, kept = sums
        first = block.attrs["first_image"]
        half_sets = half_sets_of(block, self.alternate)
        seed = np.random.SeedSequence(self.seed, spawn_key=(first,))
        turned = random_rotations(len(half_sets), np.random.default_rng(seed))
        parts = [rows]
        for start in range(0, len(half_sets), _BATCH):
            part = slice(start, start + _BATCH)
            batch = block.isel(particle=part)
            parts.append(self._rows(batch, half_sets[part], turned[part], kept))
        places = np.concatenate([places, first + np.arange(len(half_sets))])
        return places, np.concatenate(parts), kept

    def _rows(
        self, block: xr.Dataset, half_sets: np.ndarray, turned: np.ndarray, kept: np.ndarray
    ) -> np.ndarray:
        """Make the rows of some images, and add to the sums of what shrinking leaves."""
        known, count = (ERRORS if self.errors else 0), self.count
        found = np.empty((len(half_sets), self.columns), np.float32)
        found[:, 0] = half_sets
        gains, controls, *weights = np.split(found[:, 2:], 4, axis=1)
        true = np.r_[0 : known + count]
        wrong = np.r_[0:known, known + count : known + 2 * count]
        for half_set, path in enumerate(self.halves):
            both = self._products(read_seen(path, self.box), block, turned)
            halves = [
                nested_evidence.weights_of(p[:, true][:, :, true], y[:, true], known)
                for p, y in both
            ]
            # one half's directions look at other samples than the other's: no noise in common
            mean, covariance = halves[half_set]
            weights[half_set][:] = mean
            kept[half_set] += (np.eye(count) - covariance).sum(0)
            other = half_sets != half_set
            products, projected = (a + b for a, b in zip(*both, strict=True))
            for columns, into in ((true, gains), (wrong, controls)):
                into[other] = nested_evidence.nested_gains(
                    products[other][:, columns][:, :, columns], projected[other][:, columns], known
                )
            found[other, 1] = nested_evidence.distance_of_halves(
                *((mean[other], covariance[other]) for mean, covariance in halves)
            )
        return found

    def _products(
        self, seen: Seen, block: xr.Dataset, turned: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Compare images with all directions, by every second of their samples and by the others.

        In order: errors of the imaging, directions, directions from a wrong side.
        """
        plane = seen.plane
        rows = {name: block[name].values for name in self.optics.rows}
        observed = observe(block["images"].values, rows, self.optics, plane, seen.model.noise)
        rest = observed.transforms - observed.ctf * seen.mean(observed.rotations, plane)
        bases = [
            seen.directions(rotations, plane) * observed.ctf[:, None]
            for rotations in (observed.rotations, observed.rotations @ turned)
        ]
        if self.errors:
            bases.insert(0, imaging_errors(seen, observed, block, plane))
        basis = np.concatenate(bases, axis=1)
        return [
            nested_evidence.correlate(rest[:, first::2], basis[:, :, first::2]) for first in (0, 1)
        ]

    def merge(self, sums: Sums, others: Sums) -> Sums:
        """Put the rows of the second after those of the first, and add its matrices."""
        (places, rows, kept), (more, others_rows, others_kept) = sums, others
        return (
            np.concatenate([places, more]),
            np.concatenate([rows, others_rows]),
            kept + others_kept,
        )

    def finish(self, sums: Sums) -> Found:
        """Put the rows in the order of the stack, and name the columns."""
        places, rows, kept = sums
        rows = rows[np.argsort(places)]
        gains, controls, first, second = np.split(rows[:, 2:].astype(np.float64), 4, axis=1)
        return Found(
            rows[:, 0].astype(np.int8),
            gains,
            controls,
            (first, second),
            rows[:, 1].astype(np.float64),
            (kept[0] / len(rows), kept[1] / len(rows)),
        )


@dataclass(frozen=True)
class Found:
    """What directions of the half-sets tell of n images; q directions each.

    Attributes
    ----------
    half_set : (n,) ndarray of int8
    gains : (n, q) ndarray
        Nats that each direction of the other half-set adds to the image's evidence, given those
        before it.
    controls : (n, q) ndarray
        The same, of directions seen from a wrong side.
    weights : tuple of (n, q) ndarray
        Along the directions of each half: the first from every second sample, the second from the
        others.
    distance : (n,) ndarray
        Of weights from disjoint samples, see `numerics.nested_evidence.distance_of_halves`; along
        the directions of the other half-set.
    kept : tuple of (q, q) ndarray
        What share of true weights is left in `weights`, whose prior shrinks them.
    """

    half_set: np.ndarray
    gains: np.ndarray
    controls: np.ndarray
    weights: tuple[np.ndarray, np.ndarray]
    distance: np.ndarray
    kept: tuple[np.ndarray, np.ndarray]
