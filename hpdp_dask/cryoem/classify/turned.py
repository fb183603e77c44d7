"""Averages turned in their plane, as images are compared with them: from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpdp_dask.cryoem.search import Level
from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.planar import InPlaneRotations, in_plane_rotations, transform_averages


@dataclass(frozen=True)
class TurnLevel(Level):
    """A level of the search.

    Attributes
    ----------
    angles : (p,) ndarray
        In the plane, degrees.
    """

    angles: np.ndarray


class Turned:
    """Turned averages, as `search.Hypotheses`.

    A candidate is `class * p + angle` of the p angles of its level; the two halves of an angle
    are the next level's.

    Parameters
    ----------
    averages : (k, N, N) array of float32
    levels : sequence of TurnLevel
        From coarse to fine.
    class_share : (k,) ndarray
        The prior of the classes.
    """

    def __init__(
        self, averages: Array, levels: Sequence[TurnLevel], class_share: np.ndarray
    ) -> None:
        box = averages.shape[-1]
        self.levels = levels
        self._log_share = np.log(class_share).astype(np.float32)
        self._rotations, self._rows = [], []
        for level in levels:
            radius = level.plane.radius
            turns = in_plane_rotations(box, radius, level.angles, namespace(averages))
            self._rotations.append(turns)
            self._rows.append(turns.extract(transform_averages(averages, radius)))

    @property
    def rotations(self) -> InPlaneRotations:
        """The rotations of the last level."""
        return self._rotations[-1]

    def first(self) -> tuple[np.ndarray, Array]:
        """Give all averages at all angles of the first level, (r, m)."""
        return np.arange(len(self._rows[0])), self._rows[0]

    def at(self, place: int, candidates: np.ndarray) -> Array:
        """Give the turned averages of candidates of a level, (..., m)."""
        rows = self._rows[place]
        xp = namespace(rows)
        return xp.take(rows, xp.asarray(candidates), axis=0)

    def children(self, place: int, candidates: np.ndarray) -> np.ndarray:
        """Give the two halves of each angle."""
        return 2 * candidates[..., None] + np.arange(2)

    def log_prior(self, place: int, candidates: np.ndarray) -> np.ndarray:
        """Give the log of the share of the class, spread over the angles of a level."""
        number = len(self.levels[place].angles)
        log_prior: np.ndarray = self._log_share[candidates // number] - np.float32(np.log(number))
        return log_prior
