"""The first model: the power of the images as noise, averages of random images as classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.classify.maximization import mask_of
from hpdp_dask.cryoem.classify.model import Model
from hpdp_dask.cryoem.classify.schedule import Settings
from hpdp_dask.cryoem.contrast import PackedTransforms, coefficients_of
from hpdp_dask.numerics.ctf import evaluate_ctf
from hpdp_dask.numerics.fourier import half_plane
from hpdp_dask.numerics.likelihood import multiplicity
from hpdp_dask.numerics.planar import averages_of, fine_plane, in_plane_rotations

#: Images of each class in its first average, if there are as many.
FIRST_IMAGES = 100

#: A shell has at least this share of the noise of the strongest.
LEAST_NOISE = 1e-6

#: Random in-plane angles are multiples of this, degrees.
_STEP = 10.0

_Sums = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class FirstModel:
    """The reduction of images to the first model; see `dataflow.trees.Reduction`.

    Some images, chosen at random, are turned by a random angle and put into a random class.

    Attributes
    ----------
    settings : Settings
    """

    settings: Settings
    name: str = "first-averages"
    images_per_leaf: int = 4096

    @property
    def _shape(self) -> tuple[int, int]:
        fine = fine_plane(self.settings.box, self.settings.first_radius)
        return self.settings.classes, len(fine)

    @property
    def nbytes(self) -> int:
        """Size of the sums."""
        return int(12 * np.prod(self._shape))

    def start(self) -> _Sums:
        """Make empty sums: signal and weight of the classes, power and images of the groups."""
        power = np.zeros((self.settings.groups, self.settings.limit + 1))
        return (
            np.zeros(self._shape, np.complex64),
            np.zeros(self._shape, np.float32),
            power,
            np.zeros(self.settings.groups),
        )

    def fold(self, sums: _Sums, block: xr.Dataset) -> _Sums:
        """Add a block of images."""
        settings = self.settings
        power, images = sums[2:]
        prepared = PackedTransforms(settings.box, settings.limit)(block)
        transforms = prepared["transforms"].values
        plane = half_plane(settings.box, settings.limit)
        group = block["optics_group"].values
        squares = np.abs(transforms) ** 2 * multiplicity(plane)
        for member in np.unique(group):
            total = squares[group == member].sum(axis=0, dtype=np.float64)
            power[member] += np.bincount(plane.shell, weights=total)
            images[member] += (group == member).sum()
        first = block.attrs["first_image"]
        generator = np.random.default_rng((settings.seed, first))
        share = min(1.0, FIRST_IMAGES * settings.classes / settings.number)
        chosen = np.flatnonzero(generator.random(len(group)) < share)
        plane = half_plane(settings.box, settings.first_radius)
        turns = round(360.0 / _STEP)
        classes = generator.integers(settings.classes, size=len(chosen))
        row = classes * turns + generator.integers(turns, size=len(chosen))
        ctf = evaluate_ctf(coefficients_of(block, chosen), plane.x / plane.box, plane.y / plane.box)
        of_rows = np.zeros((settings.classes * turns, len(plane)), np.complex64)
        of_weights = np.zeros(of_rows.shape, np.float32)
        np.add.at(of_rows, row, ctf * transforms[chosen, : len(plane)])
        np.add.at(of_weights, row, ctf**2)
        rotations = in_plane_rotations(
            settings.box, settings.first_radius, np.arange(turns) * _STEP
        )
        for total, part in zip(sums, rotations.insert(of_rows, of_weights), strict=False):
            total += part
        return sums

    def merge(self, sums: _Sums, others: _Sums) -> _Sums:
        """Add sums."""
        for total, part in zip(sums, others, strict=True):
            total += part
        return sums

    def finish(self, sums: _Sums) -> Model:
        """Make the model."""
        settings = self.settings
        signal, weight, power, images = sums
        plane = half_plane(settings.box, settings.limit)
        counts = np.bincount(plane.shell, weights=multiplicity(plane))
        noise = power / counts / np.maximum(images, 1.0)[:, None]
        # it must be positive: also of a group without images, which is never asked for it, and in
        # shells that the images were cropped to
        noise[images == 0] = 1.0
        noise = np.maximum(noise, LEAST_NOISE * noise.max(axis=1, keepdims=True))
        transforms = signal / (weight + np.maximum(weight.mean(), 1e-9))
        averages = averages_of(transforms, settings.box, settings.first_radius)
        return Model(averages * mask_of(settings), signal, weight, noise)
