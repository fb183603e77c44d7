"""The first pass of a search: images in random orientations, and their power."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.contrast import PackedTransforms, coefficients_of
from hpdp_dask.cryoem.initial_model.maximization import first_model
from hpdp_dask.cryoem.initial_model.settings import Settings, State
from hpdp_dask.cryoem.initial_model.sums import Sums, add_sums, empty_sums
from hpdp_dask.dataflow.results import Rows
from hpdp_dask.numerics import slices
from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.ctf import evaluate_ctf
from hpdp_dask.numerics.fourier import half_plane
from hpdp_dask.numerics.likelihood import multiplicity
from hpdp_dask.numerics.rotations import random_rotations


@dataclass(frozen=True)
class FirstPass:
    """Inserts images in random orientations; see `dataflow.loops.Expectation`.

    The maps that come out are balls with some texture, a different one in each class.

    Attributes
    ----------
    settings : Settings
    following : Path
        Where the first model goes.
    """

    settings: Settings
    following: Path
    name: str = "search-000"
    images_per_leaf: int = 1000

    @property
    def seed(self) -> int:
        """Of the choice of images."""
        return self.settings.seed

    @property
    def share(self) -> float:
        """Of the images that take part."""
        return self.settings.at(0).images / self.settings.number

    @property
    def preparation(self) -> PackedTransforms:
        """What is kept of images."""
        return PackedTransforms(self.settings.box, self.settings.last_radius)

    @property
    def nbytes(self) -> int:
        """Size of the sums."""
        shape = slices.accumulator_shape(self.settings.at(0).radius)
        return 4 * self.settings.classes * int(np.prod(shape))

    @property
    def working_bytes(self) -> int:
        """What a thread holds besides."""
        return 64 << 20

    def start(self) -> Sums:
        """Make empty sums; `residual` has all shells, for the power of the images."""
        settings = self.settings
        power = np.zeros((settings.groups, settings.last_radius + 1))
        return empty_sums(settings, settings.at(0).radius)._replace(residual=power)

    def fold(self, sums: Sums, block: xr.Dataset, before: Rows | None) -> tuple[Sums, Rows]:
        """Insert images, each in an orientation of its own for each class."""
        settings, xp = self.settings, namespace(sums.volumes)
        whole = half_plane(settings.box, settings.last_radius)
        plane = half_plane(settings.box, settings.at(0).radius)
        rows = np.arange(block.sizes["particle"])
        transforms = block["transforms"].values
        ctf = evaluate_ctf(coefficients_of(block, rows), plane.x / plane.box, plane.y / plane.box)
        # the noise of normalised images is white, of variance 1: its power is the box squared
        weight = ctf / np.float32(settings.box**2)
        signal = transforms[:, : len(plane)] * weight
        parts = xp.asarray(np.stack([signal.real, signal.imag, ctf * weight], axis=-1))
        for volume, poses in zip(sums.volumes, self._poses(block["image"].values), strict=True):
            slices.insert_slices(volume, parts, xp.asarray(poses), plane)
        group = block["optics_group"].values
        squares = np.abs(transforms) ** 2 * multiplicity(whole)
        for member in np.unique(group):
            power = squares[group == member].sum(axis=0, dtype=np.float64)
            sums.residual[member] += np.bincount(whole.shell, weights=power)
        sums.images[...] += np.bincount(group, minlength=len(sums.images))
        return sums, {}

    def _poses(self, images: np.ndarray) -> Array:
        """Draw orientations of some images, (classes, n, 3, 3), the same in any leaf."""
        seed = self.settings.seed
        return np.stack(
            [
                random_rotations(self.settings.classes, np.random.default_rng((seed, image)))
                for image in images
            ],
            axis=1,
        )

    def merge(self, sums: Sums, others: Sums) -> Sums:
        """Add sums."""
        return add_sums(sums, others)

    def finish(self, sums: Sums) -> State:
        """Make the first model."""
        model, state = first_model(self.settings, Sums(*sums))
        model.save(self.following)
        return state
