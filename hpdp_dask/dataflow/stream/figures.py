"""What a stream tells of itself while it runs: rates, lag, counts. Asked from any thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hpdp_dask.dataflow.stream.ranking import Outstanding, Ranked, Ranking, Trace
from hpdp_dask.dataflow.stream.report import Example, Report
from hpdp_dask.dataflow.stream.task import Labelling

#: Seconds that rates and the present lag are of.
WINDOW = 10.0

#: A moment every so many seconds at first, and so many are remembered at most: then every second
#: one is forgotten, and they come half as often.
MOMENT, MOMENTS = 2.0, 1000

#: Edges of the bins that lags are counted in, seconds: 5 % each.
_EDGES = np.geomspace(1e-3, 1e5, 378)

#: Examples of each class that are remembered, and of frames without a class.
_EXAMPLES, _UNLABELLED = 6, 12


@dataclass(frozen=True)
class Moment:
    """How a stream was at a time: frames a second, share chosen, lag (median, 95 %), seconds.

    `traced` has the columns that are followed, of the frames chosen in the last seconds.
    """

    time: float
    rate: float
    chosen: float
    lag: float
    lag_95: float
    traced: Mapping[str, float]


@dataclass(frozen=True)
class Snapshot:
    """What is known of a stream.

    Attributes
    ----------
    seconds : float
        Since this process took it up.
    frames, chosen : int
        Measured, in all; chosen of them.
    came : int
        Measured since this process took it up.
    rate, mean_rate : float
        Frames a second, over the last seconds, and from the first to the last that came.
    lag : tuple of float
        Median, 95 %, 99 % and greatest time between the arrival of a frame and its result on
        disk, seconds; of all frames since this process took the stream up. NaN before the first.
    lag_now : float
        The 95 % of the last seconds.
    waiting : int
        Frames that are there and not taken.
    asides : dict of str to int
        Frames set aside by reason.
    missing : int
        Numbers of frames that never came.
    model : str or None
        That labels frames now.
    classes : tuple of str
    labels : ndarray
        Frames that the model labelled, by class; the last of those it accepted no class for.
    unlabelled : int
        Chosen frames that it has not labelled yet.
    histograms : dict of str to ndarray
    examples : dict of int to list of Example
        By class; -1 of frames without one.
    seconds_by_part : dict of str to float
        CPU time of the workers.
    moments : list of Moment
        The past, oldest first.
    points : dict of str to ndarray
        Columns that are followed, of the last chosen frames.
    ranked : dict of str to list of Ranked
        Frames that stand out, by the name of the ranking.
    """

    seconds: float
    frames: int
    chosen: int
    came: int
    rate: float
    mean_rate: float
    lag: tuple[float, float, float, float]
    lag_now: float
    waiting: int
    asides: Mapping[str, int]
    missing: int
    model: str | None
    classes: tuple[str, ...]
    labels: np.ndarray
    unlabelled: int
    histograms: Mapping[str, np.ndarray]
    examples: Mapping[int, Sequence[Example]]
    seconds_by_part: Mapping[str, float]
    moments: Sequence[Moment]
    points: Mapping[str, np.ndarray]
    ranked: Mapping[str, Sequence[Ranked]]


class _Came(NamedTuple):
    """A batch of the last seconds: when it was done, and what was in it."""

    time: float
    frames: int
    chosen: int
    lags: np.ndarray
    points: Mapping[str, np.ndarray]


class Figures:
    """Adds up what the tasks of a stream report.

    Parameters
    ----------
    traces : sequence of Trace, optional
    rankings : sequence of Ranking, optional
    """

    def __init__(self, traces: Sequence[Trace] = (), rankings: Sequence[Ranking] = ()) -> None:
        self._traces = traces
        self._outstanding = Outstanding(rankings)
        self._lock = threading.Lock()
        self._total = Report()
        self._labelling: Labelling | None = None
        self._labels = np.zeros(0, np.int64)
        self._examples: dict[int, deque[Example]] = {}
        self._lags = np.zeros(len(_EDGES) - 1, np.int64)
        self._recent: deque[_Came] = deque()
        self._moments: list[Moment] = []
        self._every = MOMENT
        self._began = time.time()
        self._came = 0
        self._span = float("inf"), float("-inf")
        self._greatest = float("nan")
        self.waiting = 0
        self.missing = 0

    def recover(self, report: Report) -> None:
        """Add batches that were done before this process took the stream up."""
        with self._lock:
            report.seconds = {}
            self._total.add(report)
            self._outstanding.add(report.ranked)

    def measured(self, report: Report, arrived: tuple[float, float]) -> set[int]:
        """Add a batch, whose first and last frames arrived at these times.

        Returns
        -------
        set of int
            Frames that stand out no more, so that no picture of them is needed.
        """
        now = time.time()
        lags = now - np.linspace(*arrived, max(1, report.frames))
        counts = np.histogram(np.clip(lags, _EDGES[0], _EDGES[-1]), _EDGES)[0]
        with self._lock:
            self._total.add(report)
            self._came += report.frames
            self._span = min(self._span[0], arrived[0]), max(self._span[1], now)
            self._lags += counts
            self._greatest = float(np.fmax(self._greatest, lags.max()))
            self._recent.append(_Came(now, report.frames, report.chosen, counts, report.points))
            dropped = self._outstanding.add(report.ranked)
        self.labelled(report)
        return dropped

    @property
    def bars(self) -> dict[str, float]:
        """Give the values that frames must reach to stand out."""
        with self._lock:
            return self._outstanding.bars

    def labelled(self, report: Report) -> None:
        """Add labels that a task gave, and what it found worth showing."""
        with self._lock:
            current = None if self._labelling is None else self._labelling.model
            if report.model is not None and report.model == current:
                self._labels = self._labels + report.labels
            if report.model == current:
                for example in report.examples:
                    most = _EXAMPLES if example.label >= 0 else _UNLABELLED
                    self._examples.setdefault(example.label, deque(maxlen=most)).append(example)

    def add_seconds(self, report: Report) -> None:
        """Add the CPU time of a task that labelled earlier frames."""
        with self._lock:
            self._total.add(Report(seconds=report.seconds))

    def set_aside(self, reason: str, frames: int) -> None:
        """Count frames that were set aside."""
        with self._lock:
            self._total.add(Report(asides={reason: frames}))

    def begin_model(self, labelling: Labelling) -> None:
        """Begin to count the labels of another model."""
        with self._lock:
            self._labelling = labelling
            self._labels = np.zeros(len(labelling.classes) + 1, np.int64)
            self._examples.clear()

    def remember(self) -> None:
        """Note the present moment, if it is time to."""
        now = time.time()
        with self._lock:
            while self._recent and now - self._recent[0].time > WINDOW:
                self._recent.popleft()
            if self._moments and now - self._moments[-1].time < self._every:
                return
            frames, chosen, lags = self._window()
            self._moments.append(
                Moment(
                    now,
                    self._rate(now, frames),
                    chosen / frames if frames else float("nan"),
                    _quantile(lags, 0.5),
                    _quantile(lags, 0.95),
                    self._traced(),
                )
            )
            if len(self._moments) > MOMENTS:
                self._moments = self._moments[::2]
                self._every *= 2

    def _window(self) -> tuple[int, int, np.ndarray]:
        frames = sum(each.frames for each in self._recent)
        chosen = sum(each.chosen for each in self._recent)
        lags = sum((each.lags for each in self._recent), np.zeros_like(self._lags))
        return frames, chosen, lags

    def _traced(self) -> dict[str, float]:
        """Sum up what is followed of the frames of the last seconds."""
        found = {}
        for trace in self._traces:
            parts = [each.points[trace.column] for each in self._recent if each.points]
            found[trace.column] = trace.of(np.concatenate([np.zeros(0), *parts]))
        return found

    def _rate(self, now: float, frames: int) -> float:
        return frames / max(0.1, min(WINDOW, now - self._began))

    def snapshot(self) -> Snapshot:
        """Tell all that is known."""
        now = time.time()
        with self._lock:
            while self._recent and now - self._recent[0].time > WINDOW:
                self._recent.popleft()
            frames, _, lags = self._window()
            labelling = self._labelling
            return Snapshot(
                seconds=now - self._began,
                frames=self._total.frames,
                chosen=self._total.chosen,
                came=self._came,
                rate=self._rate(now, frames),
                mean_rate=self._came / max(1e-3, self._span[1] - self._span[0]),
                lag=(
                    _quantile(self._lags, 0.5),
                    _quantile(self._lags, 0.95),
                    _quantile(self._lags, 0.99),
                    self._greatest,
                ),
                lag_now=_quantile(lags, 0.95),
                waiting=self.waiting,
                asides=dict(self._total.asides),
                missing=self.missing,
                model=None if labelling is None else labelling.model,
                classes=() if labelling is None else labelling.classes,
                labels=self._labels.copy(),
                unlabelled=self._total.chosen - int(self._labels.sum()),
                histograms=dict(self._total.histograms),
                examples={label: list(found) for label, found in self._examples.items()},
                seconds_by_part=dict(self._total.seconds),
                moments=list(self._moments),
                points=dict(self._total.points),
                ranked={name: list(frames) for name, frames in self._outstanding.frames.items()},
            )


def _quantile(counts: np.ndarray, share: float) -> float:
    """Give the upper edge of the bin up to which a share of what was counted lies."""
    total = counts.sum()
    if not total:
        return float("nan")
    return float(_EDGES[1 + np.searchsorted(np.cumsum(counts), share * total)])
