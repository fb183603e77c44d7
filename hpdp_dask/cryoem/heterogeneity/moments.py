"""The reductions of the linear start: the noise, and what the next directions follow from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.heterogeneity.directions import read_seen
from hpdp_dask.cryoem.heterogeneity.observations import Observed, Optics, observe
from hpdp_dask.numerics import fourier, slices, subspace
from hpdp_dask.numerics.fourier import HalfPlane

#: Images that are worked on at once; and for each pixel of the box, images of a leaf.
_BATCH, _IMAGES_PER_LEAF_AND_PIXEL = 128, 20

#: Shells that every image shows, whatever it was filtered by; those with less power than this
#: share of the noise in them are empty.
_COARSE, _EMPTY = slice(1, 5), 1e-2

#: Variance that counts as none of a sample being known, in units of the noise in those shells:
#: a finite one, so that what is divided by it can be multiplied again.
_UNKNOWN = 1e6


@dataclass(frozen=True)
class NoisePower:
    """The reduction of images to powers by shell: what the mean map does not explain, and all.

    Attributes
    ----------
    mean : Path
        `Directions` without any, at the last shell, noise 1.
    optics : Optics
    box : int
    """

    mean: Path
    optics: Optics
    box: int
    name: str = "noise"

    @property
    def nbytes(self) -> int:
        """The size of an accumulator."""
        return 16 * (self.box // 2 + 1)

    @property
    def images_per_leaf(self) -> int:
        """How many images a leaf folds at least."""
        return _IMAGES_PER_LEAF_AND_PIXEL * self.box

    def start(self) -> np.ndarray:
        """Make an empty accumulator."""
        return np.zeros((2, self.box // 2 + 1))

    def fold(self, sums: np.ndarray, block: xr.Dataset) -> np.ndarray:
        """Add a block of images; in place."""
        seen = read_seen(self.mean, self.box)
        plane = seen.plane
        for observed in _batches(block, self.optics, plane, seen.model.noise):
            rest = observed.transforms - observed.ctf * seen.mean(observed.rotations, plane)
            for mine, each in zip(sums, (rest, observed.transforms), strict=True):
                power = (each.real**2 + each.imag**2).sum(0, dtype=np.float64)
                mine += np.bincount(plane.shell, power, len(mine))
        return sums

    def merge(self, sums: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Add the second accumulator to the first; in place."""
        sums += others
        return sums

    def finish(self, sums: np.ndarray) -> np.ndarray:
        """Give the sums."""
        return sums


def noise_of(sums: np.ndarray, box: int, images: int) -> np.ndarray:
    """Give the variance of the noise of a transform's sample.

    Filters leave shells empty. What a map does not explain there comes of interpolation, and in
    units of itself it would tell of conformations what no image shows. Such shells count for
    nothing.

    Parameters
    ----------
    sums : (2, shells) ndarray
        Of `NoisePower`.
    box : int
        Of the images.
    images : int
        How many are in the sums.

    Returns
    -------
    (shells,) ndarray of float64
    """
    shells = sums.shape[1]
    samples = np.bincount(fourier.half_plane(box, shells - 1).shell, minlength=shells)
    noise, shown = sums / (samples * images)
    level = np.median(noise[_COARSE])
    return np.where(shown < _EMPTY * level, _UNKNOWN * level, noise)


@dataclass(frozen=True)
class Moments:
    """The reduction of images to the sums that the next directions follow from.

    Attributes
    ----------
    before : Path
        The `Directions` so far.
    optics : Optics
    box, radius, count : int
        Of the images; last shell; number of directions.
    seed : int or None
        Draw the weights of images by chance, to begin with.
    """

    before: Path
    optics: Optics
    box: int
    radius: int
    count: int
    seed: int | None = None
    name: str = "subspace"

    @property
    def nbytes(self) -> int:
        """The size of an accumulator."""
        shape = slices.accumulator_shape(self.radius)
        return int(4 * subspace.grids_of(self.count) * np.prod(shape, dtype=np.int64))

    @property
    def images_per_leaf(self) -> int:
        """How many images a leaf folds at least."""
        return _IMAGES_PER_LEAF_AND_PIXEL * self.box

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Make empty accumulators: grids, and the sum of the products of weights."""
        grids = (subspace.grids_of(self.count), *slices.accumulator_shape(self.radius))
        return np.zeros(grids, np.float32), np.zeros((self.count, self.count))

    def fold(
        self, sums: tuple[np.ndarray, np.ndarray], block: xr.Dataset
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add a block of images; in place."""
        seen = read_seen(self.before, self.box)
        plane = fourier.half_plane(self.box, self.radius)
        grids, products = sums
        first = block.attrs["first_image"]
        for observed in _batches(block, self.optics, plane, seen.model.noise):
            rest = observed.transforms - observed.ctf * seen.mean(observed.rotations, plane)
            if self.seed is None:
                basis = seen.directions(observed.rotations, seen.plane)
                known = len(seen.plane)
                basis *= observed.ctf[:, None, :known]
                mean, covariance = subspace.posterior(rest[:, :known], basis)
            else:
                seed = np.random.SeedSequence(self.seed, spawn_key=(first,))
                mean = np.random.default_rng(seed).standard_normal((len(rest), self.count))
                covariance = np.zeros((len(rest), self.count, self.count))
            first += len(rest)
            second = covariance + mean[:, :, None] * mean[:, None, :]
            products += second.sum(0)
            subspace.insert_moments(
                grids, rest, observed.ctf, mean, second, observed.rotations, plane
            )
        return sums

    def merge(
        self, sums: tuple[np.ndarray, np.ndarray], others: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add the second accumulators to the first; in place."""
        for mine, other in zip(sums, others, strict=True):
            mine += other
        return sums

    def finish(self, sums: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Give the sums."""
        return sums


@dataclass(frozen=True)
class FineMoments:
    """The reduction of images to the sums that some of the directions follow from, to any shell.

    Those of images at even places of the stack and at odd ones are apart.

    Attributes
    ----------
    before : Path
        The `Directions` that weights are found by.
    optics : Optics
    box, radius : int
        Of the images; last shell.
    first, stop : int
        The first direction, and the one after the last.
    """

    before: Path
    optics: Optics
    box: int
    radius: int
    first: int
    stop: int
    name: str = "directions"

    @property
    def nbytes(self) -> int:
        """The size of an accumulator."""
        return int(4 * np.prod(self._shape, dtype=np.int64))

    @property
    def _shape(self) -> tuple[int, ...]:
        return (2, self.stop - self.first, *slices.accumulator_shape(self.radius))

    @property
    def images_per_leaf(self) -> int:
        """How many images a leaf folds at least."""
        return _IMAGES_PER_LEAF_AND_PIXEL * self.box

    def start(self) -> np.ndarray:
        """Make an empty accumulator."""
        return np.zeros(self._shape, np.float32)

    def fold(self, grids: np.ndarray, block: xr.Dataset) -> np.ndarray:
        """Add a block of images; in place."""
        for half in (0, 1):
            begin = (half - block.attrs["first_image"]) % 2
            self._fold_half(grids[half], block.isel(particle=slice(begin, None, 2)))
        return grids

    def _fold_half(self, grids: np.ndarray, block: xr.Dataset) -> None:
        seen = read_seen(self.before, self.box)
        plane, known = fourier.half_plane(self.box, self.radius), len(seen.plane)
        wanted = slice(self.first, self.stop)
        for observed in _batches(block, self.optics, plane, seen.model.noise):
            rest = observed.transforms - observed.ctf * seen.mean(observed.rotations, plane)
            basis = seen.directions(observed.rotations, seen.plane)
            basis *= observed.ctf[:, None, :known]
            mean, covariance = subspace.posterior(rest[:, :known], basis)
            squares = np.diagonal(covariance, axis1=1, axis2=2) + mean**2
            subspace.insert_squares(
                grids,
                rest,
                observed.ctf,
                mean[:, wanted],
                squares[:, wanted],
                observed.rotations,
                plane,
            )

    def merge(self, grids: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Add the second accumulator to the first; in place."""
        grids += others
        return grids

    def finish(self, grids: np.ndarray) -> np.ndarray:
        """Give the sums."""
        return grids


def _batches(
    block: xr.Dataset, optics: Optics, plane: HalfPlane, noise: np.ndarray
) -> Iterator[Observed]:
    images = block["images"].values
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        rows = {name: block[name].values[part] for name in optics.rows}
        yield observe(images[part], rows, optics, plane, noise)
