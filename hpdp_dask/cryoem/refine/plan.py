"""How images are searched in a map: the levels from coarse to fine, and the map's slices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpdp_dask.cryoem.search import PIECE_BYTES, Level, Lists, ShiftPrior
from hpdp_dask.numerics import grids, slices
from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.fourier import half_plane
from hpdp_dask.numerics.rotations import euler_to_matrix

#: Coarse levels compare this share of the shells at most: a third of the samples prunes as well.
_COARSE_SHARE = 0.6

#: Images that are searched together.
BATCH = 64

#: What the slices of a whole grid may take to be made once, bytes.
_TABLE_BYTES = 128 << 20

#: How far from the last orientation local searches reach, steps of their first grid.
_LOCAL_REACH = 1.4


@dataclass(frozen=True)
class MapLevel(Level):
    """A level of the search.

    Attributes
    ----------
    order : int
        Of the grid of orientations.
    """

    order: int


@dataclass(frozen=True)
class Plan:
    """How a batch is searched.

    Attributes
    ----------
    levels : tuple of MapLevel
        From coarse to fine.
    perturbation : (3, 3) ndarray
        The grids' rotation in this iteration.
    operators : (g, 3, 3) ndarray
        Of the point group.
    local : bool
    shift_prior : ShiftPrior
    """

    levels: tuple[MapLevel, ...]
    perturbation: np.ndarray
    operators: np.ndarray
    local: bool
    shift_prior: ShiftPrior

    @cached_property
    def first_orientations(self) -> np.ndarray:
        """Give the indices of the first grid in the asymmetric unit."""
        turned = self.perturbation @ self.operators @ self.perturbation.T
        order = self.levels[0].order
        chosen = grids.asymmetric_directions(order, turned)
        return grids.orientations_along(order, chosen).ravel()

    @property
    def table_bytes(self) -> int:
        """Give what the slices of whole grids take for one map."""
        first = len(self.first_orientations) * len(self.levels[0].plane) * 8
        others = [_grid_bytes(level) for level in self.levels]
        tables = sum(size for size in others if size <= _TABLE_BYTES)
        return tables + (0 if self.local else first)

    @property
    def batch_bytes(self) -> int:
        """Give what a batch takes: the pairs of the first level, or the slices of a piece."""
        level = self.levels[0]
        shifts = len(grids.shifts_on_disc(self.shift_prior.reach, level.shift_step))
        first = 0 if self.local else 2 * BATCH * shifts * len(self.first_orientations) * 4
        return max(first, 6 * PIECE_BYTES)

    def neighbours(self, orientation: np.ndarray) -> Lists:
        """List the first level's orientations and shifts about the last ones, (n, 3, 3)."""
        level = self.levels[0]
        reach = _LOCAL_REACH * grids.angular_step(level.order)
        found, starts = grids.neighbours(level.order, orientation @ self.perturbation.T, reach)
        counts = np.diff(starts)
        candidates = np.full((len(counts), counts.max()), -1)
        candidates[np.arange(counts.max()) < counts[:, None]] = found
        shifts = grids.shifts_on_disc(self.shift_prior.reach, level.shift_step)
        return Lists(candidates, np.broadcast_to(shifts, (len(counts), *shifts.shape)))

    def matrices(self, order: int, indices: np.ndarray) -> np.ndarray:
        """Give the matrices of orientations of the perturbed grid, (..., 3, 3) float32."""
        flat = euler_to_matrix(grids.orientations(order, indices.ravel()))
        return (flat @ self.perturbation).reshape(*indices.shape, 3, 3).astype(np.float32)


def plan_search(
    orders: list[int],
    box: int,
    radius: int,
    shift_step: float,
    *,
    diameter: float,
    perturbation: np.ndarray,
    operators: np.ndarray,
    local: bool,
    shift_prior: ShiftPrior,
) -> Plan:
    """Choose the samples and the shifts of each level.

    Parameters
    ----------
    orders : list of int
    box : int
    radius : int
        Of the last level, shells.
    shift_step : float
        Of the last level, pixels.
    diameter : float
        Of the particle, pixels.
    perturbation, operators, local, shift_prior
        As of `Plan`.
    """
    levels = []
    for place, order in enumerate(orders):
        above = len(orders) - 1 - place
        reach = radius
        if above:
            # a step of the grid is an arc of at most 1.2 times the detail that is compared
            reach = min(radius, max(4, int(box / grids.resolution_for(order, diameter))))
            reach = min(reach, max(8, int(_COARSE_SHARE * radius)))
        levels.append(MapLevel(half_plane(box, reach), shift_step * 2**above, order))
    return Plan(tuple(levels), perturbation, operators, local, shift_prior)


def _grid_bytes(level: MapLevel) -> int:
    """Give what the slices of all orientations of a level's grid take."""
    return 72 * 8**level.order * len(level.plane) * 8


class Slices:
    """The slices of one map, as `search.Hypotheses`; small grids of them are made once.

    A candidate is an orientation's number on the grid of its level.

    Parameters
    ----------
    transform : array of complex64
        Of `fourier.transform_volume`.
    plan : Plan
    """

    def __init__(self, transform: Array, plan: Plan) -> None:
        self._transform = transform
        self._plan = plan
        self._first: Array | None = None
        self._tables: dict[int, tuple[Array, np.ndarray]] = {}

    @property
    def levels(self) -> tuple[MapLevel, ...]:
        """The levels, from coarse to fine."""
        return self._plan.levels

    def first(self) -> tuple[np.ndarray, Array]:
        """Give the orientations of the first grid and their slices, (r, m)."""
        if self._first is None:
            self._first = self._extract(self._plan.levels[0], self._plan.first_orientations)
        return self._plan.first_orientations, self._first

    def at(self, place: int, candidates: np.ndarray) -> Array:
        """Give the slices of some orientations of a level, (..., m)."""
        level = self._plan.levels[place]
        if _grid_bytes(level) > _TABLE_BYTES:
            return self._extract(level, candidates)
        xp = namespace(self._transform)
        if place not in self._tables:
            grid = 72 * 8**level.order
            empty = xp.empty((grid, len(level.plane)), xp.complex64)
            self._tables[place] = empty, np.zeros(grid, bool)
        table, made = self._tables[place]
        missing = np.unique(candidates[~made[candidates]])
        if missing.size:
            table[xp.asarray(missing)] = self._extract(level, missing)
            made[missing] = True
        return xp.take(table, xp.asarray(candidates), axis=0)

    def children(self, place: int, candidates: np.ndarray) -> np.ndarray:
        """Give the eight orientations of the next level about each one."""
        found: np.ndarray = grids.children(self._plan.levels[place].order, candidates)
        return found

    def log_prior(self, place: int, candidates: np.ndarray) -> np.ndarray:
        """All orientations are alike."""
        return np.zeros(candidates.shape, np.float32)

    def _extract(self, level: MapLevel, candidates: np.ndarray) -> Array:
        xp = namespace(self._transform)
        matrices = self._plan.matrices(level.order, candidates.ravel())
        flat = slices.extract_slices(self._transform, xp.asarray(matrices), level.plane)
        return flat.reshape(*candidates.shape, -1)
