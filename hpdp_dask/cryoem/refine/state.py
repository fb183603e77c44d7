"""Where a refinement is: what is kept between iterations, and how the next is sampled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpdp_dask.numerics import grids

#: Half-maps are made of the same images up to here, so that they keep one frame; RELION's.
JOIN_RESOLUTION = 40.0

#: From this order on (3.75°) orientations are searched about the last ones; RELION's.
LOCAL_ORDER = 4

#: The finest grid; beyond it the mean of the posterior is finer than its points.
FINEST_ORDER = 7

#: No refinement takes longer.
MOST_ITERATIONS = 40

#: The first grid that is searched whole.
_COARSEST_ORDER = 2

#: The finest step of shifts, pixels.
_FINEST_SHIFT = 0.25


@dataclass(frozen=True)
class Sampling:
    """How one iteration samples poses.

    Attributes
    ----------
    order : int
        Of the grid of orientations at the last level of the search (`numerics.grids`).
    local : bool
        Search about the last orientations only.
    shift_step : float
        Of the grid of shifts at the last level, pixels.
    """

    order: int
    local: bool
    shift_step: float

    @property
    def angular_step(self) -> float:
        """Give the angular step of the last level, degrees."""
        return grids.angular_step(self.order)

    def finer(self) -> Sampling:
        """Give the sampling of the next order."""
        order = min(self.order + 1, FINEST_ORDER)
        return Sampling(order, order >= LOCAL_ORDER, max(self.shift_step / 2, _FINEST_SHIFT))

    @property
    def orders(self) -> list[int]:
        """Give the orders of the levels of the search, from coarse to fine."""
        first = self.order - 1 if self.local else min(_COARSEST_ORDER, self.order)
        return list(range(first, self.order + 1))


@dataclass(frozen=True)
class State:
    """What is known after an iteration, but for the maps, which are files.

    Attributes
    ----------
    iteration : int
        0 for the start.
    radius : int
        The last shell that the next iteration compares.
    order, local, shift_step
        Of the next iteration's `Sampling`.
    noise_power : list of lists of float
        For each optics group and shell, `<|noise|²>` of the transforms.
    shift_sigma : float
        Standard deviation of the shifts along an axis, pixels.
    shift_range : float
        How far shifts are searched about the last ones, pixels.
    fsc : list of float
        Of the half-maps, under the mask; empty at the start.
    best_shell : int
        The last shell resolved so far.
    stalled : int
        Iterations without a finer resolution at this sampling.
    final : bool
        The next iteration is the last: to Nyquist's frequency.
    finished : bool
    scales : list of float
        Intensity of each micrograph's particles; empty where micrographs are not known.
    history : list of dict
        One row for each iteration, for reports.
    """

    iteration: int
    radius: int
    order: int
    local: bool
    shift_step: float
    noise_power: list[list[float]]
    shift_sigma: float
    shift_range: float
    fsc: list[float] = field(default_factory=list)
    best_shell: int = 0
    stalled: int = 0
    final: bool = False
    finished: bool = False
    scales: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sampling(self) -> Sampling:
        """Give the sampling of the next iteration."""
        return Sampling(self.order, self.local, self.shift_step)


def last_shell(fsc: np.ndarray, threshold: float = 0.143) -> int:
    """Give the last shell before the correlation first falls below a threshold."""
    below = np.flatnonzero(np.asarray(fsc)[1:] < threshold)
    return int(below[0]) if below.size else len(fsc) - 1


def next_radius(shell: int, nyquist: int) -> int:
    """Give how far to compare when the maps agree up to a shell: some more, to let them grow."""
    return min(nyquist, shell + max(5, round(0.3 * shell)))
