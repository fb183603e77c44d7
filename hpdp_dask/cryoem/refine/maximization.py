"""From the sums of a pass to the next half-maps, and how the next pass samples poses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from hpdp_dask.cryoem.fsc import write_fsc
from hpdp_dask.cryoem.reconstruct import BackProjection
from hpdp_dask.cryoem.refine.state import (
    FINEST_ORDER,
    JOIN_RESOLUTION,
    MOST_ITERATIONS,
    State,
    last_shell,
    next_radius,
)
from hpdp_dask.formats import mrc
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.numerics import backprojection, fourier, grids, shells
from hpdp_dask.numerics.arrays import Array, fast_namespace, namespace, to_host
from hpdp_dask.numerics.masks import soft_sphere

if TYPE_CHECKING:
    from hpdp_dask.cryoem.refine.expectation import Sums

#: Width of the soft edge of the spherical mask, pixels; RELION's.
EDGE = 5.0

#: The grid is fine enough when its step is at most this many times the width of the posterior,
#: and too coarse, whatever the resolution does, when it is this many times.
_FINE_ENOUGH, _TOO_COARSE = 2.5, 5.0

#: It is also fine enough when its step is an arc at the particle's rim of at most this share of
#: the resolution: the mean of the posterior is finer than the step.
_ARC = 0.4

#: Below this share of the shells that were resolved before, a resolution has broken down.
_COLLAPSED = 0.7

#: A micrograph's intensity is known beforehand as well as these many images' signal over noise
#: would tell: to 10 %.
_SCALE_PRIOR = 100.0

#: Shifts are searched this many times as far as they moved last.
_RANGE_PER_MOVE = 3.0


@dataclass(frozen=True)
class Maximization:
    """What a maximisation knows beforehand.

    Attributes
    ----------
    box : int
    pixel_size : float
        Å.
    operators : (g, 3, 3) ndarray
        Of the point group.
    diameter : float
        Of the particle, pixels.
    mask : Path or None
        A soft mask to use in place of the sphere.
    following : Path
        The folder of the next iteration.
    """

    box: int
    pixel_size: float
    operators: np.ndarray
    diameter: float
    mask: Path | None
    following: Path

    @property
    def joined(self) -> int:
        """The last shell that the half-maps share."""
        return int(self.box * self.pixel_size / JOIN_RESOLUTION)

    def solvent(self, box: int, xp: Any) -> Array:
        """Give the mask of maps that are sampled more coarsely, (box, box, box)."""
        scale = box / self.box
        if self.mask is None:
            return soft_sphere(box, scale * self.diameter / 2, scale * EDGE, xp)
        volume, _ = mrc.read_map(self.mask)
        coarse = fourier.crop_volume(xp.asarray(volume), box) * np.float32(scale**3)
        return xp.clip(coarse, 0.0, 1.0)

    def update(self, state: State, sums: Sums) -> State:
        """Make the maps of the next iteration, write them, and give its state."""
        if state.final:
            self._write_last(state, sums)
        xp = fast_namespace()
        radius = state.radius
        halves = [xp.array(half) for half in sums.volumes]
        for place, half in enumerate(halves):
            backprojection.complete(half)
            halves[place] = backprojection.symmetrize(half, self.operators)
        fsc = self._correlate(halves, radius)
        following = self._next_state(state, sums, fsc)
        if following.finished:
            return following
        self._join(halves)
        box = box_for(following.radius, self.box)
        mask = self.solvent(box, xp)
        references = []
        wiener = backprojection.wiener_term(fsc[: radius + 1], joined=False)
        for half in halves:
            means = backprojection.mean_weights(half, radius)
            transform = backprojection.divide(half, means, wiener)
            volume = fourier.volume_of(transform, box)
            # a resolution that broke down leaves a box that holds fewer shells than there are
            filtered = backprojection.wiener_filter(volume, wiener[:box]) * mask
            references.append(to_host(filtered))
        write_references(self.following, references)
        return following

    def _correlate(self, halves: list[Array], radius: int) -> np.ndarray:
        """Correlate the half-maps under the mask; (N // 2 + 1,), zero beyond the radius."""
        box = box_for(radius, self.box)
        mask = self.solvent(box, namespace(halves[0]))
        volumes = []
        for half in halves:
            means = backprojection.mean_weights(half, radius)
            transform = backprojection.divide(half, means, np.zeros_like(means))
            volumes.append(fourier.volume_of(transform, box))
        if self.mask is None:
            found = shells.fourier_shell_correlation(volumes[0], volumes[1], mask)
        else:
            found = shells.corrected_fsc(volumes[0], volumes[1], mask, seed=0).corrected
        fsc = np.zeros(self.box // 2 + 1)
        fsc[: radius + 1] = np.minimum(found[: radius + 1], 1.0)
        return fsc

    def _join(self, halves: list[Array]) -> None:
        """Give both halves the sums of all images at low resolution, that they keep one frame."""
        limit = halves[0].shape[2] - 1
        for z in range(-limit, limit + 1):
            low = backprojection.grid_shells(limit, z) <= self.joined
            if not low.any():
                continue
            plane = z + limit
            joined = halves[0][plane][low] + halves[1][plane][low]
            for half in halves:
                half[plane][low] = joined / 2

    def _write_last(self, state: State, sums: Sums) -> None:
        reduction = BackProjection(self.box, state.radius, self.operators)
        maps = reduction.finish(sums.volumes)
        folder = self.following
        for name, volume in (("half1", maps.half1), ("half2", maps.half2), ("map", maps.joined)):
            mrc.write_map(folder / f"{name}.mrc", volume, self.pixel_size)
        write_fsc(folder / "fsc.csv", {"fsc": maps.fsc}, self.pixel_size)

    def _next_state(self, state: State, sums: Sums, fsc: np.ndarray) -> State:
        """Say how the next iteration samples, and what is known of noise and shifts."""
        nyquist = self.box // 2
        # shells that the halves share say nothing, and the contrast of the first is weak
        trusted = np.array(fsc)
        trusted[: min(self.joined, state.radius) + 1] = 1.0
        resolved = last_shell(trusted)
        number, evidence, highest, squares, _, moved = sums.moments
        turned, spread = _median(sums.turned, 0.5), _median(sums.spread, 0.25)
        sampling = state.sampling
        row = {
            "iteration": state.iteration + 1,
            "resolution": self._resolution(fsc),
            "radius": state.radius,
            "angular_step": sampling.angular_step,
            "shift_step": sampling.shift_step * self.pixel_size,
            "local": sampling.local,
            "angle_change": turned if state.iteration else None,
            "shift_change": moved / number * self.pixel_size,
            "spread": spread,
            "probability": highest / number,
            "log_evidence": evidence / number,
            "fsc": fsc.tolist(),
        }
        gained = resolved > state.best_shell
        stalled = 0 if gained else state.stalled + 1
        detail = self.box * self.pixel_size / max(1, resolved)
        enough = grids.order_for(detail, self.diameter * self.pixel_size, _ARC)
        fine = sampling.angular_step <= _FINE_ENOUGH * spread or sampling.order >= enough
        coarse = sampling.angular_step > _TOO_COARSE * spread
        ready = (stalled >= 1 or coarse) and state.iteration >= 1
        final = ready and (fine or sampling.order == FINEST_ORDER) and sampling.local
        final = final and resolved >= _COLLAPSED * state.best_shell
        final = final or state.iteration + 2 >= MOST_ITERATIONS
        if ready:
            sampling, stalled = sampling.finer(), 0
        shift_step = sampling.shift_step * 2 ** (len(sampling.orders) - 1)
        following = replace(
            state,
            iteration=state.iteration + 1,
            radius=nyquist if final else next_radius(max(resolved, 3), nyquist),
            order=sampling.order,
            local=sampling.local,
            shift_step=sampling.shift_step,
            noise_power=self._noise(state, sums),
            shift_sigma=max(0.5, float(np.sqrt(squares / number / 2))),
            shift_range=max(1.5 * shift_step, _RANGE_PER_MOVE * moved / number),
            fsc=fsc.tolist(),
            best_shell=max(resolved, state.best_shell),
            stalled=stalled,
            scales=_scales(state.scales, sums.scale),
            history=[*state.history, row],
        )
        if state.final:
            return replace(following, finished=True)
        return replace(following, final=final)

    def _resolution(self, fsc: np.ndarray) -> float:
        return shells.resolution_at(fsc, 0.143, self.pixel_size, self.box)

    def _noise(self, state: State, sums: Sums) -> list[list[float]]:
        """Give the power of the noise: what the maps leave unexplained; as before beyond."""
        noise = np.array(state.noise_power)
        plane = fourier.half_plane(self.box, state.radius)
        counted = np.where((plane.x == 0) & (plane.y == 0), 1.0, 2.0)
        samples = np.bincount(plane.shell, weights=counted, minlength=state.radius + 1)
        for group in np.flatnonzero(sums.images):
            measured = sums.residual[group] / (sums.images[group] * samples)
            good = measured > 0
            noise[group, : state.radius + 1][good] = measured[good]
        return noise.tolist()


def write_references(folder: Path, volumes: list[np.ndarray]) -> None:
    """Write what the next pass compares the half-sets with, whole or not at all."""
    stacked = np.stack(volumes)
    with write_whole(folder / "references.npy", stacked.nbytes) as stream:
        np.save(stream, stacked, allow_pickle=False)


def box_for(radius: int, box: int) -> int:
    """Give the least box, of a length that is quick to transform, that holds some shells."""
    enough = 2 * radius + 4
    while enough < box and (enough % 2 or scipy.fft.next_fast_len(enough) != enough):
        enough += 1
    return min(enough, box)


def _median(histogram: np.ndarray, width: float) -> float:
    """Read the median off a histogram of bins of a width that begin at 0."""
    total = np.cumsum(histogram)
    place = int(np.searchsorted(total, total[-1] / 2))
    before = total[place - 1] if place else 0.0
    within = (total[-1] / 2 - before) / max(histogram[place], 1e-12)
    return width * (place + float(within))


def _scales(scales: list[float], sums: np.ndarray) -> list[float]:
    """Find the most probable intensities of micrographs, with a prior about 1; their mean is 1.

    The sums are of references that have the present scale in them.
    """
    if not scales:
        return []
    now = np.array(scales)
    product, power = sums[:, 0] / now, sums[:, 1] / now**2
    found = np.clip((product + _SCALE_PRIOR) / (power + _SCALE_PRIOR), 0.2, 5.0)
    return (found / found.mean()).tolist()
