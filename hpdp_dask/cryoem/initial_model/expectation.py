"""One pass of a search: images are compared with the maps, and folded into sums."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.contrast import PackedTransforms, coefficients_of
from hpdp_dask.cryoem.initial_model.maximization import next_model
from hpdp_dask.cryoem.initial_model.model import Model
from hpdp_dask.cryoem.initial_model.settings import Settings, State
from hpdp_dask.cryoem.initial_model.sums import Sums, add_sums, empty_sums
from hpdp_dask.dataflow.kept import newest
from hpdp_dask.dataflow.notes import in_batches
from hpdp_dask.dataflow.results import Rows
from hpdp_dask.numerics import slices
from hpdp_dask.numerics.arrays import Array, fast_namespace, to_host
from hpdp_dask.numerics.ctf import evaluate_ctf
from hpdp_dask.numerics.fourier import HalfPlane, half_plane, transform_volume
from hpdp_dask.numerics.likelihood import (
    GaussianImages,
    forecast_bytes,
    posterior_of,
)

#: What the probabilities of a batch may take.
_BATCH_BYTES = 64 << 20

#: Products and sums that a task should do, for a second or two of one core.
_WORK_PER_LEAF = 1e11

#: A slice is inserted if its weight is more than this share of the largest.
_LEAST_WEIGHT = 1e-6


class References(NamedTuple):
    """The maps as images are compared with them, slice by slice, one class after the other.

    Attributes
    ----------
    rotations : (r, 3, 3) array of float32
    slices : (r, m) array of complex64
    starts : (classes,) ndarray of int
        The first of each class.
    log_prior : (1, r) array of float32
        All classes are alike to the end: a class that is small at first must not die of it.
    noise_power : (groups, radius + 1) array
        Inflated.
    """

    rotations: Array
    slices: Array
    starts: np.ndarray
    log_prior: Array
    noise_power: Array


@dataclass(frozen=True)
class Expectation:
    """The pass that follows a state; see `dataflow.loops.Expectation`.

    Attributes
    ----------
    settings : Settings
    state : State
    folder, following : Path
        Of the model, and where the next one goes.
    """

    settings: Settings
    state: State
    folder: Path
    following: Path

    @property
    def name(self) -> str:
        """One word for the dashboard."""
        return f"search-{self.state.iteration + 1:03d}"

    @property
    def seed(self) -> int:
        """Of the choice of images."""
        return self.settings.seed

    @property
    def share(self) -> float:
        """Of the images that take part."""
        if self.settings.takes_all(self.state.iteration):
            return 1.0
        return self.settings.at(self.state.iteration).images / self.settings.number

    @property
    def preparation(self) -> PackedTransforms:
        """What is kept of images."""
        return PackedTransforms(self.settings.box, self.settings.last_radius)

    @property
    def radius(self) -> int:
        """The last shell."""
        return self.settings.at(self.state.iteration).radius

    @property
    def _extent(self) -> tuple[int, int, int]:
        """Count shifts, references and samples."""
        iteration = self.state.iteration
        references = sum(map(len, self.settings.orientations(iteration)))
        plane = half_plane(self.settings.box, self.radius)
        return len(self.settings.shifts(iteration)), references, len(plane)

    @property
    def nbytes(self) -> int:
        """Size of the sums."""
        return 4 * self.settings.classes * int(np.prod(slices.accumulator_shape(self.radius)))

    @property
    def working_bytes(self) -> int:
        """What a thread holds besides: references, their sums and a batch of images."""
        shifts, references, samples = self._extent
        return 20 * references * samples + forecast_bytes(
            self._batch(shifts, references), shifts, references, samples
        )

    @property
    def images_per_leaf(self) -> int:
        """How many images a task takes."""
        shifts, references, samples = self._extent
        return max(50, int(_WORK_PER_LEAF / (8.0 * shifts * references * samples)))

    @staticmethod
    def _batch(shifts: int, references: int) -> int:
        return max(1, _BATCH_BYTES // (4 * shifts * references))

    def start(self) -> Sums:
        """Make empty sums."""
        return empty_sums(self.settings, self.radius)

    def fold(self, sums: Sums, block: xr.Dataset, before: Rows | None) -> tuple[Sums, Rows]:
        """Compare images with the maps, and insert them."""
        xp = fast_namespace()
        key = str(self.folder), Model.written(self.folder), xp.__name__
        references = newest("initial-model", key, self._references)
        shifts = self.settings.shifts(self.state.iteration)
        plane = half_plane(self.settings.box, self.radius)
        number, samples = block.sizes["particle"], len(plane)
        signal = xp.zeros(references.slices.shape, np.complex64)
        weight = xp.zeros(references.slices.shape, np.float32)
        results = {
            "class_number": np.zeros(number, np.int32),
            "class_probability": np.zeros(number, np.float32),
        }

        def compare(rows: slice) -> None:
            images = GaussianImages(
                plane,
                xp.asarray(np.ascontiguousarray(block["transforms"].values[rows, :samples])),
                evaluate_ctf(
                    coefficients_of(block, np.arange(number)[rows]),
                    xp.asarray(plane.x) / plane.box,
                    xp.asarray(plane.y) / plane.box,
                ),
                references.noise_power,
                xp.asarray(block["optics_group"].values[rows]),
                shifts,
            )
            prior = xp.full((1, len(shifts)), -np.log(len(shifts)), np.float32)
            posterior = posterior_of(images.match(references.slices), references.log_prior, prior)
            folded = images.compress(posterior, references.slices)
            nonlocal signal, weight
            signal += folded.signal
            weight += folded.weight
            group = block["optics_group"].values[rows]
            of_class = np.add.reduceat(
                to_host(posterior.reference_probability), references.starts, axis=1
            )
            results["class_number"][rows] = of_class.argmax(axis=1) + 1
            results["class_probability"][rows] = of_class.max(axis=1)
            sums.class_share[...] += of_class.sum(axis=0)
            sums.residual[...] += to_host(folded.residual)
            sums.images[...] += np.bincount(group, minlength=len(sums.images))
            evidence, highest = map(to_host, (posterior.log_evidence, posterior.highest))
            sums.moments[...] += evidence.sum(), highest.sum(dtype=np.float64)

        in_batches(number, self._batch(len(shifts), len(references.slices)), compare)
        _insert(sums.volumes, references, signal, weight, plane)
        return sums, results

    def _references(self) -> References:
        """Cut the maps into slices."""
        xp, settings = fast_namespace(), self.settings
        model = Model.load(self.folder)
        iteration = self.state.iteration
        orientations = settings.orientations(iteration)
        # of the same extent as the images: a sample's frequency is the same number
        plane = half_plane(settings.small_box, self.radius)
        rotations, found, prior = [], [], []
        for volume, matrices in zip(model.maps, orientations, strict=True):
            transform = transform_volume(xp.asarray(volume), self.radius)
            rotations.append(xp.asarray(matrices, dtype=xp.float32))
            found.append(slices.extract_slices(transform, rotations[-1], plane))
            prior.append(np.full(len(matrices), -np.log(len(matrices)), np.float32))
        lengths = [len(each) for each in rotations]
        noise = model.noise_power[:, : self.radius + 1] * settings.at(iteration).inflation
        return References(
            xp.concatenate(rotations),
            xp.concatenate(found),
            np.cumsum([0, *lengths[:-1]]),
            xp.asarray(np.concatenate(prior))[None],
            xp.asarray(noise),
        )

    def merge(self, sums: Sums, others: Sums) -> Sums:
        """Add sums."""
        return add_sums(sums, others)

    def finish(self, sums: Sums) -> State:
        """Make the next model."""
        model, state = next_model(self.settings, self.state, Model.load(self.folder), Sums(*sums))
        model.save(self.following)
        return state


def _insert(
    volumes: Array, references: References, signal: Array, weight: Array, plane: HalfPlane
) -> None:
    """Insert the sums of slices into those of their classes, but for slices that got nothing."""
    xp = fast_namespace()
    ends = [*references.starts[1:], len(signal)]
    # the second shell has weight in any image, zero frequency may have none
    of_slice = weight[:, 1 : min(10, weight.shape[1])].sum(axis=1)
    for volume, start, end in zip(volumes, references.starts, ends, strict=True):
        rows = start + xp.flatnonzero(of_slice[start:end] > _LEAST_WEIGHT * of_slice.max())
        if len(rows):
            parts = xp.stack([signal[rows].real, signal[rows].imag, weight[rows]], axis=-1)
            slices.insert_slices(volume, parts, references.rotations[rows], plane)
