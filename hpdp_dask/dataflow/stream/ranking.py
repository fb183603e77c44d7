"""Frames of a stream that stand out: which, by what, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.stream.batches import FRAME_ID

#: Frames of each ranking that are remembered.
_REMEMBERED = 6


@dataclass(frozen=True)
class Trace:
    """A column of the chosen frames that is followed over time, and how frames are summed up."""

    column: str
    by: Literal["median", "mean"] = "median"

    def of(self, values: np.ndarray) -> float:
        """Sum up values; NaN if none is known."""
        known = values[np.isfinite(values)]
        if not known.size:
            return float("nan")
        return float(np.median(known) if self.by == "median" else known.mean())


@dataclass(frozen=True)
class Ranking:
    """The chosen frames with the least of a column, or the greatest.

    Attributes
    ----------
    name : str
    column : str
    greatest : bool, optional
    """

    name: str
    column: str
    greatest: bool = False

    def reach(self, values: np.ndarray, bar: float | None) -> np.ndarray:
        """Tell which values are known, and not behind a bar."""
        known = np.isfinite(values)
        if bar is None:
            return known
        return known & (values >= bar if self.greatest else values <= bar)

    def first(self, frames: Iterable[Ranked]) -> list[Ranked]:
        """Put frames in order, the one that stands out most first."""
        sign = -1.0 if self.greatest else 1.0
        return sorted(frames, key=lambda each: (sign * each.value, each.frame_id))


class Ranked(NamedTuple):
    """A frame that stands out, and its value."""

    frame_id: int
    value: float


class Picture(Protocol):
    """Makes small pictures of frames that stand out. Pickled into each task."""

    def prepare(self, stack: xr.Dataset) -> Any:
        """Make what all pictures share; as `columns.Measure.prepare`."""

    def make(self, frame: np.ndarray, prepared: Any) -> np.ndarray:
        """Make a picture.

        Parameters
        ----------
        frame : (y, x) ndarray
        prepared : object
            From `prepare`.

        Returns
        -------
        (Y, X) ndarray of float32
            NaN where nothing was measured. Any number of pixels.
        """


def rank(
    columns: Mapping[str, np.ndarray],
    rankings: Iterable[Ranking],
    bars: Mapping[str, float] | None = None,
) -> dict[str, list[Ranked]]:
    """Give the frames of a batch that stand out.

    Parameters
    ----------
    columns : mapping
        Of the chosen frames.
    rankings : iterable of Ranking
    bars : mapping of str to float, optional
        Values that frames must reach; see `Outstanding.bars`.

    Returns
    -------
    dict
        By the name of the ranking.
    """
    found = {}
    for ranking in rankings:
        values = columns[ranking.column]
        known = np.flatnonzero(ranking.reach(values, (bars or {}).get(ranking.name)))
        frames = [
            Ranked(int(frame), float(value))
            for frame, value in zip(columns[FRAME_ID][known], values[known], strict=True)
        ]
        found[ranking.name] = ranking.first(frames)[:_REMEMBERED]
    return found


class Outstanding:
    """The frames that stand out of all that came.

    Parameters
    ----------
    rankings : sequence of Ranking
    """

    def __init__(self, rankings: Sequence[Ranking]) -> None:
        self._rankings = rankings
        self.frames: dict[str, list[Ranked]] = {ranking.name: [] for ranking in rankings}

    def add(self, found: Mapping[str, Sequence[Ranked]]) -> set[int]:
        """Add those of a batch.

        Returns
        -------
        set of int
            Frames that stand out no more, or did not at all.
        """
        before = self._ids() | {each.frame_id for frames in found.values() for each in frames}
        for ranking in self._rankings:
            frames = {*self.frames[ranking.name], *found.get(ranking.name, ())}
            self.frames[ranking.name] = ranking.first(frames)[:_REMEMBERED]
        return before - self._ids()

    @property
    def bars(self) -> dict[str, float]:
        """Give the value that a frame must reach to stand out, where there are enough."""
        return {
            name: frames[-1].value
            for name, frames in self.frames.items()
            if len(frames) == _REMEMBERED
        }

    def _ids(self) -> set[int]:
        return {each.frame_id for frames in self.frames.values() for each in frames}
