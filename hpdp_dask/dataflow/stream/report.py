"""What a task of a stream tells of the batches that it did: small, and it adds up."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from hpdp_dask.dataflow.stream.batches import FRAME_ID
from hpdp_dask.dataflow.stream.folder import CHOSEN
from hpdp_dask.dataflow.stream.ranking import Ranked, Ranking, Trace, rank

#: How many examples of each class a task tells of.
_EXAMPLES = 2

#: Frames whose followed columns are held.
_POINTS = 2000


@dataclass(frozen=True)
class Histogram:
    """A column whose distribution is shown: positive values, in bins of equal ratio."""

    column: str
    low: float
    high: float
    bins: int = 200

    @property
    def edges(self) -> np.ndarray:
        """Where bins begin and end, (bins + 1,)."""
        return np.geomspace(self.low, self.high, self.bins + 1)

    def counts(self, values: np.ndarray) -> np.ndarray:
        """Count values; what is beyond the ends, or NaN, in no bin."""
        return np.histogram(values, self.edges)[0]


@dataclass(frozen=True)
class Example:
    """A frame to show: its batch, its row among the chosen of it, its id, what was found."""

    batch: str
    row: int
    frame_id: int
    label: int
    probability: float


@dataclass
class Report:
    """What a task tells of batches that are done. Reports add up.

    Attributes
    ----------
    frames, chosen : int
        Frames measured, those set aside not among them; those that were chosen.
    asides : dict of str to int
        Frames set aside by reason.
    seconds : dict of str to float
        CPU time by part.
    histograms : dict of str to ndarray
    model : str or None
        Which labelled the chosen frames.
    labels : ndarray
        Frames by class; the last of those that no class was accepted for.
    examples : list of Example
    trouble : str or None
        Why a model could not label frames.
    points : dict of str to ndarray
        Columns that are followed, of the last chosen frames.
    ranked : dict of str to list of Ranked
        Frames that stand out.
    """

    frames: int = 0
    chosen: int = 0
    asides: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, np.ndarray] = field(default_factory=dict)
    model: str | None = None
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    examples: list[Example] = field(default_factory=list)
    trouble: str | None = None
    points: dict[str, np.ndarray] = field(default_factory=dict)
    ranked: dict[str, list[Ranked]] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the CPU time of a block to that of a part."""
        begin = time.thread_time()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.thread_time() - begin

    def add(self, other: Report) -> None:
        """Add another, but for labels, examples, model and frames that stand out."""
        self.frames += other.frames
        self.chosen += other.chosen
        for reason, number in other.asides.items():
            self.asides[reason] = self.asides.get(reason, 0) + number
        for part, seconds in other.seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + seconds
        for name, counts in other.histograms.items():
            self.histograms[name] = self.histograms.get(name, 0) + counts
        for name, values in other.points.items():
            before = self.points.get(name, values[:0])
            self.points[name] = np.concatenate([before, values])[-_POINTS:]

    def count(
        self,
        columns: Mapping[str, np.ndarray],
        asides: Iterable[str],
        shown: Iterable[Histogram],
    ) -> None:
        """Count the frames of a batch.

        Parameters
        ----------
        columns : mapping
            What was measured.
        asides : iterable of str
            Why frames were set aside, a word for each.
        shown : iterable of Histogram
        """
        frames = len(columns[FRAME_ID])
        self.frames += frames
        self.chosen += int(np.count_nonzero(columns.get(CHOSEN, np.ones(frames))))
        for reason in asides:
            self.asides[reason] = self.asides.get(reason, 0) + 1
        for histogram in shown:
            if histogram.column in columns:
                counts = histogram.counts(columns[histogram.column])
                self.histograms[histogram.column] = counts

    def follow(
        self,
        columns: Mapping[str, np.ndarray],
        traces: Iterable[Trace],
        rankings: Iterable[Ranking],
        bars: Mapping[str, float] | None = None,
    ) -> None:
        """Note what is followed of the chosen frames of a batch, and which stand out.

        Parameters
        ----------
        columns : mapping
            Of the chosen frames.
        traces : iterable of Trace
        rankings : iterable of Ranking
        bars : mapping of str to float, optional
            Values that frames must reach to stand out.
        """
        followed = [trace.column for trace in traces]
        if followed:
            self.points = {name: columns[name] for name in (FRAME_ID, *followed)}
        self.ranked = rank(columns, rankings, bars)

    def count_labels(self, found: Mapping[str, np.ndarray], classes: int) -> None:
        """Count the labels of a batch, of so many classes."""
        index = np.where(found["label_accepted"] != 0, found["label"], classes)
        counts = np.bincount(index.astype(np.int64), minlength=classes + 1)
        self.labels = self.labels + counts if self.labels.size else counts

    def show(
        self,
        name: str,
        ids: np.ndarray,
        found: Mapping[str, np.ndarray] | None = None,
        classes: int = 0,
    ) -> None:
        """Choose a few frames of a batch as examples: of each class those that are surest.

        Parameters
        ----------
        name : str
            Of the batch.
        ids : (n,) ndarray of int
            Of its chosen frames.
        found : mapping, optional
            Their labels, if there is a model.
        classes : int, optional
            Of the model; what it accepts no class for counts as one more.
        """
        if found is None:
            self.examples += [
                Example(name, row, int(ids[row]), -1, float("nan")) for row in range(len(ids))[:1]
            ]
            return
        probability = found["label_probability"]
        label = np.where(found["label_accepted"] != 0, found["label"], classes)
        for index in np.unique(label).tolist():
            rows = np.flatnonzero(label == index)
            surest = rows[np.argsort(-probability[rows], kind="stable")[:_EXAMPLES]]
            self.examples += [
                Example(name, int(row), int(ids[row]), int(index), float(probability[row]))
                for row in surest
            ]
