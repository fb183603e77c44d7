"""One pass over images: how probable each class and pose is, and the sums that follow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.classify.maximization import next_model
from hpdp_dask.cryoem.classify.model import Model
from hpdp_dask.cryoem.classify.schedule import Settings, State
from hpdp_dask.cryoem.classify.sums import ClassSums, add_sums, empty_sums
from hpdp_dask.cryoem.contrast import PackedTransforms, coefficients_of
from hpdp_dask.dataflow.kept import newest
from hpdp_dask.dataflow.notes import in_batches
from hpdp_dask.numerics.arrays import Array, fast_namespace, namespace, to_host
from hpdp_dask.numerics.ctf import evaluate_ctf
from hpdp_dask.numerics.fourier import half_plane, shift_phases
from hpdp_dask.numerics.likelihood import GaussianImages, forecast_bytes, posterior_of
from hpdp_dask.numerics.planar import (
    InPlaneRotations,
    fine_plane,
    in_plane_rotations,
    transform_averages,
)

#: What the arrays of a batch may take, and how many images it has at most: on a CPU, on a GPU.
_BATCH_BYTES = {True: 200 * 2**20, False: 4 * 2**30}
_BATCH_IMAGES = {True: 512, False: 4096}

#: Products and sums that a task should do, for a few seconds of one core.
_WORK_PER_LEAF = 2e11


class _References(NamedTuple):
    """The model as images are compared with it: averages turned to all angles."""

    rotations: InPlaneRotations
    rows: Array
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
        return f"classify-{self.state.iteration + 1:03d}"

    @property
    def seed(self) -> int:
        """Of the choice of images."""
        return self.settings.seed

    @property
    def share(self) -> float:
        """Of the images that take part."""
        full = self.settings.is_full(self.state.iteration)
        return 1.0 if full else self.settings.part

    @property
    def preparation(self) -> PackedTransforms:
        """What is kept of the images."""
        return PackedTransforms(self.settings.box, self.settings.limit)

    @cached_property
    def _angles(self) -> np.ndarray:
        return self.settings.angles(self.state.radius, self.state.iteration)

    @property
    def _is_near(self) -> bool:
        """Whether shifts are known from a pass over all images."""
        done = self.state.iteration
        return done > 0 and self.settings.is_full(done - 1)

    def _shifts(self, near: bool) -> np.ndarray:
        return self.settings.shifts(self.state.radius, self.state.iteration, near)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Count shifts, references and samples."""
        samples = len(half_plane(self.settings.box, self.state.radius))
        references = self.settings.classes * len(self._angles)
        return len(self._shifts(self._is_near)), references, samples

    @property
    def _batch(self) -> int:
        """How many images are compared at a time."""
        shifts, references, samples = self._sizes
        xp = fast_namespace()
        none = forecast_bytes(0, shifts, references, samples, xp)
        each = forecast_bytes(1, shifts, references, samples, xp) - none
        on_cpu = xp is np
        return int(max(8, min(_BATCH_IMAGES[on_cpu], _BATCH_BYTES[on_cpu] / each)))

    @property
    def images_per_leaf(self) -> int:
        """How many images a task takes."""
        shifts, references, samples = self._sizes
        return max(1, int(_WORK_PER_LEAF / (8.0 * shifts * references * samples)))

    @property
    def nbytes(self) -> int:
        """Size of the sums."""
        fine = len(fine_plane(self.settings.box, self.state.radius))
        return 12 * self.settings.classes * fine

    @property
    def working_bytes(self) -> int:
        """The references and a batch."""
        shifts, references, samples = self._sizes
        rows = 8 * references * samples
        return rows + forecast_bytes(self._batch, shifts, references, samples, fast_namespace())

    def start(self) -> ClassSums:
        """Make empty sums."""
        fine = len(fine_plane(self.settings.box, self.state.radius))
        return empty_sums(
            self.settings.classes, fine, self.settings.groups, self.state.radius, fast_namespace()
        )

    def merge(self, sums: ClassSums, other: ClassSums) -> ClassSums:
        """Add sums."""
        return add_sums(ClassSums(*sums), ClassSums(*other))

    def finish(self, sums: ClassSums) -> State:
        """Make the next averages, write them, and give the next state."""
        model, state = next_model(
            self.settings, self.state, Model.load(self.folder), ClassSums(*sums)
        )
        model.save(self.following)
        return state

    def fold(
        self, sums: ClassSums, block: xr.Dataset, before: dict[str, np.ndarray] | None
    ) -> tuple[ClassSums, dict[str, np.ndarray]]:
        """Compare prepared images with the classes, and add them to the sums."""
        sums = ClassSums(*sums)
        number = block.sizes["particle"]
        # the same folder may be written again, by a run that begins anew
        written = Model.written(self.folder)
        references = newest("classes", (str(self.folder), written), self._make_references)
        found: dict[str, np.ndarray] = {
            "class_number": np.empty(number, np.int32),
            "class_probability": np.empty(number, np.float32),
            "psi": np.empty(number, np.float32),
            "shift": np.empty((number, 2), np.float32),
            "pose_probability": np.empty(number, np.float32),
            "evidence": np.empty(number, np.float64),
        }

        def work(rows: slice) -> None:
            part, results = self._compare(references, block, rows, before)
            add_sums(sums, part)
            for name, values in results.items():
                found[name][rows] = values

        in_batches(number, self._batch, work)
        return sums, found

    def _make_references(self) -> _References:
        xp = fast_namespace()
        box, radius = self.settings.box, self.state.radius
        model = Model.load(self.folder)
        rotations = in_plane_rotations(box, radius, self._angles, xp)
        averages = transform_averages(xp.asarray(model.averages), radius)
        rows = rotations.extract(averages)
        return _References(rotations, rows, xp.asarray(model.noise_power))

    def _compare(
        self,
        references: _References,
        block: xr.Dataset,
        rows: slice,
        before: dict[str, np.ndarray] | None,
    ) -> tuple[ClassSums, dict[str, np.ndarray]]:
        """Compare a batch: its sums and the results of its images."""
        xp = namespace(references.rows)
        settings, angles = self.settings, self._angles
        plane = half_plane(settings.box, self.state.radius)
        group = block["optics_group"].values[rows]
        transforms = xp.asarray(block["transforms"].values[rows, : len(plane)])
        near = self._is_near and before is not None
        centre = np.zeros((len(group), 2))
        if near and before is not None:
            centre = before["shift"][rows] / settings.pixel_size
            transforms = transforms * shift_phases(plane, xp.asarray(centre))
        tried = self._shifts(near)
        images = GaussianImages(
            plane=plane,
            transforms=transforms,
            ctf=evaluate_ctf(
                coefficients_of(block, np.arange(rows.start, rows.stop)),
                xp.asarray(plane.x) / plane.box,
                xp.asarray(plane.y) / plane.box,
            ),
            noise_power=references.noise_power,
            group=xp.asarray(group),
            shifts=xp.asarray(tried),
        )
        squares = ((centre[:, None] + tried) ** 2).sum(axis=-1) * settings.pixel_size**2
        # while classes find each other, one that has more images must not draw more for that
        shares = (
            np.maximum(self.state.class_share, 1e-6)
            if settings.settles(self.state.iteration)
            else np.full(settings.classes, 1.0 / settings.classes)
        )
        prior = np.log(shares / len(angles))
        posterior = posterior_of(
            images.match(references.rows),
            xp.asarray(np.repeat(prior, len(angles))[None]),
            xp.asarray(_normal(-0.5 * squares / self.state.shift_sigma**2)),
        )
        compressed = images.compress(posterior, references.rows)
        signal, weight = references.rotations.insert(compressed.signal, compressed.weight)
        classes = to_host(
            posterior.reference_probability.reshape(len(group), -1, len(angles)).sum(axis=2)
        )
        best = to_host(posterior.best_reference)
        chosen = best // len(angles)
        shift = (centre + tried[to_host(posterior.best_shift)]) * settings.pixel_size
        results = {
            "class_number": chosen,
            "class_probability": classes[np.arange(len(group)), chosen],
            "psi": angles[best % len(angles)],
            "shift": shift,
            "pose_probability": to_host(posterior.highest),
            "evidence": to_host(posterior.log_evidence),
        }
        changed = 0 if before is None else (before["class_number"][rows] != chosen).sum()
        tallies = [
            (to_host(posterior.shift_probability) * squares).sum(),
            results["pose_probability"].sum(),
            changed,
            0 if before is None else len(group),
        ]
        part = ClassSums(
            signal,
            weight,
            compressed.residual,
            xp.asarray(np.bincount(group, minlength=settings.groups).astype(np.float64)),
            xp.asarray(classes.sum(axis=0, dtype=np.float64)),
            xp.asarray(np.array(tallies, dtype=np.float64)),
        )
        return part, results


def _normal(log_prior: np.ndarray) -> np.ndarray:
    """Give log-probabilities of sum 1 for each image."""
    highest = log_prior.max(axis=1, keepdims=True)
    return log_prior - highest - np.log(np.exp(log_prior - highest).sum(axis=1, keepdims=True))
