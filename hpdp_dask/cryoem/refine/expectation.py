"""One pass of a refinement: images are compared with their half-map, and inserted into sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.contrast import PackedTransforms, coefficients_of
from hpdp_dask.cryoem.refine.maximization import Maximization
from hpdp_dask.cryoem.refine.plan import BATCH, Plan, Slices, plan_search
from hpdp_dask.cryoem.refine.state import State
from hpdp_dask.cryoem.search import Batch, Found, ShiftPrior, search
from hpdp_dask.dataflow.kept import newest
from hpdp_dask.dataflow.notes import in_batches
from hpdp_dask.dataflow.results import Rows
from hpdp_dask.numerics import fourier, grids, slices
from hpdp_dask.numerics.arrays import Array, fast_namespace, namespace, to_host
from hpdp_dask.numerics.ctf import evaluate_ctf
from hpdp_dask.numerics.likelihood import compress_candidates, multiplicity
from hpdp_dask.numerics.rotations import euler_to_matrix, matrix_to_euler
from hpdp_dask.numerics.symmetry import symmetry_distance

#: A leaf takes about this many images; a fine level takes milliseconds an image.
_IMAGES_PER_LEAF = 500

#: The mean orientation is taken of candidates this near to the best, steps of the last grid.
_NEAR = 2.5


class Sums(NamedTuple):
    """The accumulator of a pass.

    Attributes
    ----------
    volumes : (2, z, y, x, 3) array of float32
        For each half-set, of `slices.insert_slices`.
    residual : (groups, radius + 1) array of float64
        Power that the references leave unexplained, added up over samples and images.
    images : (groups,) array of float64
    scale : (micrographs, 2) array of float64
        <X, A> and <A, A>, the images and what the references say of them.
    moments : (6,) array of float64
        Sums over images: 1, log-evidence, highest probability, shift² (two axes), scatter of the
        angles in degrees, how far the shift moved in pixels.
    turned : (361,) array of float64
        Histogram of the changes of orientation, in half degrees.
    spread : (361,) array of float64
        Histogram of the width of the posterior, in quarters of a degree.
    """

    volumes: Array
    residual: np.ndarray
    images: np.ndarray
    scale: np.ndarray
    moments: np.ndarray
    turned: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class RefineExpectation:
    """The pass that follows a state; see `dataflow.loops.Expectation`."""

    state: State
    maximization: Maximization
    folder: Path
    seed: int
    share: float = 1.0
    first_bytes: int = 0
    preparation: PackedTransforms = field(init=False)

    def __post_init__(self) -> None:
        """Keep transforms to Nyquist's frequency: the same in all passes."""
        box = self.maximization.box
        object.__setattr__(self, "preparation", PackedTransforms(box, box // 2))

    @property
    def name(self) -> str:
        """The name of the pass on the dashboard."""
        return f"refine-{self.state.iteration + 1:03d}"

    @property
    def nbytes(self) -> int:
        """The size of the half-maps' sums."""
        shape = slices.accumulator_shape(self.state.radius)
        return int(2 * 4 * np.prod(shape, dtype=np.int64))

    @property
    def working_bytes(self) -> int:
        """The transforms and tables of two maps, and a batch.

        At Nyquist's frequency the search is local, but the first passes are global: of both the
        larger counts, so that the forecast of one pass holds for all.
        """
        grid = 8 * int(np.prod(slices.accumulator_shape(self.state.radius)[:3], dtype=np.int64))
        plan = self.plan()
        return 2 * (grid + plan.table_bytes) + max(plan.batch_bytes, self.first_bytes)

    @property
    def images_per_leaf(self) -> int:
        """A leaf is long enough that its sums take little time beside it."""
        return max(_IMAGES_PER_LEAF, 4 * self.maximization.box)

    @property
    def plane(self) -> fourier.HalfPlane:
        """The samples that take part."""
        return fourier.half_plane(self.maximization.box, self.state.radius)

    def plan(self) -> Plan:
        """Plan the search: the same on all workers."""
        state, settings = self.state, self.maximization
        sampling = state.sampling
        generator = np.random.default_rng((self.seed, state.iteration))
        return plan_search(
            sampling.orders,
            settings.box,
            state.radius,
            sampling.shift_step,
            diameter=settings.diameter,
            perturbation=grids.random_perturbation(sampling.order, generator),
            operators=settings.operators,
            local=sampling.local,
            shift_prior=ShiftPrior(state.shift_range, state.shift_sigma),
        )

    @property
    def _log_poses(self) -> float:
        """The log of the number of poses that a prior of sum 1 is spread over.

        All orientations of the last grid in the asymmetric unit, however few were looked at, and
        shifts as probable as the Gaussian prior makes them.
        """
        state = self.state
        orientations = 72 * 8**state.order / len(self.maximization.operators)
        shifts = 2 * np.pi * state.shift_sigma**2 / state.shift_step**2
        return float(np.log(orientations * max(1.0, shifts)))

    def start(self) -> Sums:
        """Make empty sums."""
        groups, micrographs = len(self.state.noise_power), max(1, len(self.state.scales))
        shape = (2, *slices.accumulator_shape(self.state.radius))
        return Sums(
            fast_namespace().zeros(shape, dtype=np.float32),
            np.zeros((groups, self.state.radius + 1)),
            np.zeros(groups),
            np.zeros((micrographs, 2)),
            np.zeros(6),
            np.zeros(361),
            np.zeros(361),
        )

    def fold(self, sums: Sums, block: xr.Dataset, before: Rows | None) -> tuple[Sums, Rows]:
        """Search the poses of the images of a block, and insert the images."""
        xp = namespace(sums.volumes)
        # another run may have had a folder of this name: the file's time tells them apart
        made = (self.folder / "references.npy").stat().st_mtime_ns
        plan, models = newest("refine", (str(self.folder), made, xp.__name__), self._load)
        number = block.sizes["particle"]
        results: Rows = {
            "euler_angles": np.zeros((number, 3)),
            "shift": np.zeros((number, 2)),
            "probability": np.zeros(number, np.float32),
            "log_evidence": np.zeros(number),
            "spread": np.zeros(number, np.float32),
        }
        added = np.zeros(number, dtype=bool)
        for half_set in (0, 1):
            members = np.flatnonzero(block["half_set"].values == half_set)

            def work(part: slice, members: np.ndarray = members, half: int = half_set) -> None:
                # where memory ran out amid a batch, some of its images are in the sums already
                rows = members[part][~added[members[part]]]
                if not rows.size:
                    return
                batch = self._batch(block, rows, before, xp)
                last = None
                if before is not None:
                    last = euler_to_matrix(before["euler_angles"][rows])
                begin = plan.neighbours(last) if plan.local and last is not None else None
                for found in search(batch, models[half], plan.shift_prior, begin):
                    matrices = plan.matrices(self.state.order, found.candidates)
                    self._add(sums, half, block, rows, batch, found, matrices, last, results)
                    added[rows[found.rows]] = True

            in_batches(len(members), BATCH, work)
        return sums, results

    def merge(self, sums: Sums, other: Sums) -> Sums:
        """Add sums."""
        for mine, more in zip(sums, other, strict=True):
            mine += more
        return sums

    def finish(self, sums: Sums) -> State:
        """Make the next half-maps and state."""
        return self.maximization.update(self.state, Sums(*sums))

    def _load(self) -> tuple[Plan, list[Slices]]:
        """Read the half-maps and make of them what all batches use."""
        xp = fast_namespace()
        plan = self.plan()
        halves = np.load(self.folder / "references.npy", allow_pickle=False)
        models = [
            Slices(fourier.transform_volume(xp.asarray(half), radius=self.state.radius), plan)
            for half in halves
        ]
        return plan, models

    def _batch(
        self, block: xr.Dataset, rows: np.ndarray, before: Rows | None, xp: ModuleType
    ) -> Batch:
        plane = self.plane
        box = plane.box
        transforms = xp.asarray(block["transforms"].values[rows, : len(plane)])
        u, v = xp.asarray(plane.x) / box, xp.asarray(plane.y) / box
        ctf = evaluate_ctf(coefficients_of(block, rows), u, v)
        if self.state.scales:
            scales = np.asarray(self.state.scales, np.float32)[block["micrograph"].values[rows]]
            ctf *= xp.asarray(scales)[:, None]
        centre = np.zeros((len(rows), 2))
        if before is not None:
            centre = before["shift"][rows]
            transforms = transforms * fourier.shift_phases(plane, xp.asarray(centre))
        noise = np.asarray(self.state.noise_power)
        group = xp.asarray(block["optics_group"].values[rows])
        return Batch(plane, transforms, ctf, noise, group, centre)

    def _add(
        self,
        sums: Sums,
        half: int,
        block: xr.Dataset,
        rows: np.ndarray,
        batch: Batch,
        found: Found,
        matrices: np.ndarray,
        last: np.ndarray | None,
        results: Rows,
    ) -> None:
        """Insert images as probable as their poses are, and note what was found of each."""
        xp = namespace(batch.transforms)
        images, posterior = rows[found.rows], found.posterior
        probability = to_host(posterior.reference_probability)
        operators = self.maximization.operators
        if not self.state.local:
            matrices = _nearest_mates(matrices, probability, operators)
        mean, spread = mean_orientation(
            matrices, probability, _NEAR * self.state.sampling.angular_step
        )
        moved = to_host(
            (posterior.shift_probability[..., None] * xp.asarray(found.shifts)).sum(axis=1)
        )
        centre = batch.centre[found.rows]
        self._insert(sums, half, block, batch, found, images, matrices)

        results["euler_angles"][images] = matrix_to_euler(mean)
        results["shift"][images] = centre + moved
        results["probability"][images] = probability.max(axis=1)
        results["log_evidence"][images] = to_host(posterior.log_evidence) - self._log_poses
        results["spread"][images] = spread

        turned = np.full(len(images), 180.0)
        if last is not None:
            turned = symmetry_distance(mean, last[found.rows], operators)
        sums.moments[:] += [
            len(images),
            results["log_evidence"][images].sum(),
            results["probability"][images].sum(),
            ((centre + moved) ** 2).sum(),
            spread.sum(),
            np.hypot(*moved.T).sum(),
        ]
        sums.turned[:] += np.bincount((2 * turned).astype(int), minlength=361)[:361]
        bins = np.minimum(4 * spread, 360).astype(int)
        sums.spread[:] += np.bincount(bins, minlength=361)

    def _insert(
        self,
        sums: Sums,
        half: int,
        block: xr.Dataset,
        batch: Batch,
        found: Found,
        images: np.ndarray,
        matrices: np.ndarray,
    ) -> None:
        xp = namespace(batch.transforms)
        plane, weight = batch.plane, batch.weight[found.rows]
        folded = compress_candidates(found.posterior, found.shifted, found.references, weight)
        group = to_host(batch.group)[found.rows]
        residual = folded.residual(
            batch.transforms[found.rows], batch.power[found.rows], group, len(sums.images), plane
        )
        counted = xp.asarray(multiplicity(plane))
        pairs = to_host(xp.stack([folded.product @ counted, folded.expected @ counted], axis=1))

        used = folded.share > 0
        contributions = xp.empty((int(used.sum()), len(plane), 3), dtype=xp.float32)
        contributions[..., 0] = folded.signal.real[used]
        contributions[..., 1] = folded.signal.imag[used]
        contributions[..., 2] = folded.share[used][:, None] * weight[xp.nonzero(used)[0]]
        columns = folded.columns[..., None, None]
        orientations = xp.take_along_axis(xp.asarray(matrices), columns, axis=1)[used]
        # from here on little memory is needed; see `notes.in_batches`
        slices.insert_slices(sums.volumes[half], contributions, orientations, plane)
        sums.residual[:] += to_host(residual)
        sums.images[:] += np.bincount(group, minlength=len(sums.images))
        if self.state.scales:
            np.add.at(sums.scale, block["micrograph"].values[images], pairs)


def mean_orientation(
    matrices: np.ndarray, probability: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Average orientations about the most probable one.

    Parameters
    ----------
    matrices : (n, c, 3, 3) ndarray
    probability : (n, c) ndarray
    reach : float
        Farther ones do not take part, degrees: they are other peaks of the posterior.

    Returns
    -------
    mean : (n, 3, 3) ndarray of float64
        The rotation nearest to the mean of matrices (Moakher 2002, SIAM J. Matrix Anal. Appl.
        24, 1).
    spread : (n,) ndarray of float64
        Root of the mean square of the angle to it, degrees.
    """
    best = np.take_along_axis(matrices, probability.argmax(axis=1)[:, None, None, None], axis=1)
    trace = (matrices * best).sum(axis=(2, 3))
    near = trace > 1.0 + 2.0 * np.cos(np.radians(min(reach, 180.0)))
    share = probability * near
    total = np.einsum("nc,ncij->nij", share, matrices, dtype=np.float64)
    left, _, right = np.linalg.svd(total)
    sign = np.linalg.det(left @ right)
    left[..., 2] *= sign[:, None]
    mean = left @ right
    cosine = ((matrices * mean[:, None]).sum(axis=(2, 3)) - 1.0) / 2.0
    angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return mean, np.sqrt((share * angle**2).sum(axis=1) / share.sum(axis=1))


def _nearest_mates(
    matrices: np.ndarray, probability: np.ndarray, operators: np.ndarray
) -> np.ndarray:
    """Turn candidates into their symmetry mates that are nearest to the most probable one.

    A peak at the border of the asymmetric unit has candidates on both sides of it.
    """
    if len(operators) == 1:
        return matrices
    best = np.take_along_axis(matrices, probability.argmax(axis=1)[:, None, None, None], axis=1)
    mates = np.einsum("nij,gkj->ngik", best[:, 0], operators)
    traces = np.einsum("ncij,ngij->ncg", matrices, mates, optimize=True)
    return matrices @ operators[traces.argmax(axis=2)].astype(matrices.dtype)
