"""One pass over images: how probable each class and pose is, and the sums that follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.classify.compare import Compared, TurnedSums, compare_all, compare_likely
from hpdp_dask.cryoem.classify.maximization import next_model
from hpdp_dask.cryoem.classify.model import Model
from hpdp_dask.cryoem.classify.schedule import Settings, State
from hpdp_dask.cryoem.classify.sums import ClassSums, add_sums, empty_sums
from hpdp_dask.cryoem.classify.turned import Turned, TurnLevel
from hpdp_dask.cryoem.contrast import PackedTransforms, coefficients_of
from hpdp_dask.cryoem.search import PIECE_BYTES, Batch, ShiftPrior
from hpdp_dask.dataflow.kept import newest
from hpdp_dask.dataflow.notes import in_batches
from hpdp_dask.dataflow.results import Rows
from hpdp_dask.numerics.arrays import Array, fast_namespace, namespace, to_host
from hpdp_dask.numerics.ctf import evaluate_ctf
from hpdp_dask.numerics.fourier import shift_phases
from hpdp_dask.numerics.grids import shifts_on_disc
from hpdp_dask.numerics.likelihood import forecast_bytes
from hpdp_dask.numerics.planar import fine_plane

#: What the arrays of a batch may take, and how many images it has at most: on a CPU, on a GPU.
_BATCH_BYTES = {True: 200 * 2**20, False: 4 * 2**30}
_BATCH_IMAGES = {True: 512, False: 4096}

#: Products and sums that a task should do, for a few seconds of one core.
_WORK_PER_LEAF = 2e11

#: What an image's own candidates take of that, about.
_WORK_OF_LISTS = 1e8


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
    def _levels(self) -> list[TurnLevel]:
        return self.settings.levels(self.state.radius, self.state.iteration)

    @property
    def _is_near(self) -> bool:
        """Whether shifts are known from a pass over all images."""
        done = self.state.iteration
        return done > 0 and self.settings.is_full(done - 1)

    def _prior(self, near: bool) -> ShiftPrior:
        return self.settings.shift_prior(self._levels[-1], self.state.shift_sigma, near)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Count shifts, references and samples of the first level."""
        level = self._levels[0]
        shifts = shifts_on_disc(self._prior(self._is_near).reach, level.shift_step)
        references = self.settings.classes * len(level.angles)
        return len(shifts), references, len(level.plane)

    @property
    def _batch(self) -> int:
        """How many images are compared at a time."""
        sizes, xp = self._sizes, fast_namespace()
        each = forecast_bytes(1, *sizes, xp) - forecast_bytes(0, *sizes, xp)
        on_cpu = xp is np
        return int(max(8, min(_BATCH_IMAGES[on_cpu], _BATCH_BYTES[on_cpu] / each)))

    @property
    def images_per_leaf(self) -> int:
        """How many images a task takes."""
        shifts, references, samples = self._sizes
        if len(self._levels) == 1:
            work = 8.0 * shifts * references * samples
        else:
            work = 4.0 * shifts * references * samples + _WORK_OF_LISTS
        return max(1, int(_WORK_PER_LEAF / work))

    @property
    def nbytes(self) -> int:
        """Size of the sums."""
        fine = len(fine_plane(self.settings.box, self.state.radius))
        return 12 * self.settings.classes * fine

    @property
    def working_bytes(self) -> int:
        """The references of all levels, the sums of those of the last, and a batch."""
        of_rows = [8 * len(level.angles) * len(level.plane) for level in self._levels]
        rows = self.settings.classes * (sum(of_rows) + 2 * of_rows[-1])
        batch = forecast_bytes(self._batch, *self._sizes, fast_namespace())
        return rows + max(batch, 6 * PIECE_BYTES if len(self._levels) > 1 else 0)

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
        self, sums: ClassSums, block: xr.Dataset, before: Rows | None
    ) -> tuple[ClassSums, Rows]:
        """Compare prepared images with the classes, and add them to the sums."""
        sums = ClassSums(*sums)
        # the same folder may be written again, by a run that begins anew
        written = Model.written(self.folder)
        model, noise_power = newest("classes", (str(self.folder), written), self._load)
        number, xp = block.sizes["particle"], namespace(noise_power)
        near = self._is_near and before is not None
        rows = self.settings.classes * len(self._levels[-1].angles), len(self._levels[-1].plane)
        turned = TurnedSums(xp.zeros(rows, xp.complex64), xp.zeros(rows, xp.float32))
        found: Rows = {
            "class_number": np.empty(number, np.int32),
            "class_probability": np.empty(number, np.float32),
            "psi": np.empty(number, np.float32),
            "shift": np.empty((number, 2), np.float32),
            "pose_probability": np.empty(number, np.float32),
            "evidence": np.empty(number, np.float64),
        }
        added = np.zeros(number, dtype=bool)

        def work(part: slice) -> None:
            # where memory ran out amid a batch, some of its images are in the sums already
            images = np.flatnonzero(~added[part]) + part.start
            if not images.size:
                return
            centre = before["shift"][images] / self.settings.pixel_size if near and before else 0.0
            batch = self._batch_of(block, images, centre, noise_power)
            for piece in self._compare(batch, model, near, turned, sums.residual):
                rows = images[piece.rows]
                self._note(sums, found, batch, rows, piece, before)
                added[rows] = True

        in_batches(number, self._batch, work)
        signal, weight = model.rotations.insert(turned.signal, turned.weight)
        sums.signal[...] += signal
        sums.weight[...] += weight
        return sums, found

    def _load(self) -> tuple[Turned, Array]:
        """Read the model, and make of it what all batches use."""
        xp = fast_namespace()
        model, settings = Model.load(self.folder), self.settings
        # while classes find each other, one that has more images must not draw more for that
        shares = np.full(settings.classes, 1.0 / settings.classes)
        if settings.settles(self.state.iteration):
            shares = np.maximum(self.state.class_share, 1e-6)
        turned = Turned(xp.asarray(model.averages), self._levels, shares)
        return turned, xp.asarray(model.noise_power)

    def _batch_of(
        self, block: xr.Dataset, images: np.ndarray, centre: np.ndarray | float, noise_power: Array
    ) -> Batch:
        """Take images of a block, moved by their centres and the offset of the pass."""
        xp = namespace(noise_power)
        plane = self._levels[-1].plane
        offset = self.settings.offset(self._levels[-1], self.state.iteration)
        centres = np.broadcast_to(centre + offset, (len(images), 2))
        transforms = xp.asarray(block["transforms"].values[images, : len(plane)])
        ctf = evaluate_ctf(
            coefficients_of(block, images),
            xp.asarray(plane.x) / plane.box,
            xp.asarray(plane.y) / plane.box,
        )
        return Batch(
            plane,
            transforms * shift_phases(plane, xp.asarray(centres)),
            ctf,
            noise_power,
            xp.asarray(block["optics_group"].values[images]),
            centres,
        )

    def _compare(
        self, batch: Batch, model: Turned, near: bool, turned: TurnedSums, residual: Array
    ) -> Iterator[Compared]:
        """Compare a batch with the classes: all poses if there is one level, else the likely."""
        prior = self._prior(near)
        if len(self._levels) == 1:
            yield compare_all(batch, model, prior, turned, residual)
        else:
            yield from compare_likely(batch, model, prior, turned, residual)

    def _note(
        self,
        sums: ClassSums,
        found: Rows,
        batch: Batch,
        images: np.ndarray,
        piece: Compared,
        before: Rows | None,
    ) -> None:
        """Note what was found of images."""
        xp, settings, level = namespace(batch.transforms), self.settings, self._levels[-1]
        posterior = piece.posterior
        classes = _by_class(piece, len(level.angles), settings.classes)
        each = np.arange(len(images))
        best = piece.candidates[each, to_host(posterior.best_reference)]
        chosen = best // len(level.angles)
        centre = batch.centre[piece.rows]
        tried = (centre[:, None] + piece.shifts) * settings.pixel_size
        found["class_number"][images] = chosen
        found["class_probability"][images] = classes[each, chosen]
        found["psi"][images] = level.angles[best % len(level.angles)]
        found["shift"][images] = tried[each, to_host(posterior.best_shift)]
        found["pose_probability"][images] = to_host(posterior.highest)
        # the prior of shifts is of sum 1: a Gaussian on a grid of shifts
        spread = 2 * np.pi * (self._prior(False).sigma / level.shift_step) ** 2
        found["evidence"][images] = to_host(posterior.log_evidence) - np.log(max(1.0, spread))

        group = to_host(batch.group)[piece.rows]
        sums.images[...] += xp.asarray(np.bincount(group, minlength=settings.groups))
        sums.members[...] += xp.asarray(classes.sum(axis=0, dtype=np.float64))
        squares = to_host(posterior.shift_probability) * (tried**2).sum(axis=-1)
        changed = 0 if before is None else (before["class_number"][images] != chosen).sum()
        sums.tallies[...] += xp.asarray(
            [
                squares.sum(),
                found["pose_probability"][images].sum(dtype=np.float64),
                changed,
                0 if before is None else len(images),
            ]
        )


def _by_class(piece: Compared, angles: int, classes: int) -> np.ndarray:
    """Add up the probabilities of the candidates of each class, (k, classes) float64."""
    shares = to_host(piece.posterior.reference_probability)
    place = np.arange(len(shares))[:, None] * classes + piece.candidates // angles
    size = len(shares) * classes
    return np.bincount(place.ravel(), shares.ravel(), size).reshape(len(shares), classes)
