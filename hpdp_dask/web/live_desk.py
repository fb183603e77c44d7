"""What a page of a stream shows, put together once for all its visitors, in a thread of its own.

The parts that all crafts share; each adds its own.
"""

from __future__ import annotations

import base64
import logging
import math
import threading
from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np

from hpdp_dask.dataflow.stream.batches import REASONS
from hpdp_dask.dataflow.stream.driver import Stream
from hpdp_dask.dataflow.stream.figures import Snapshot
from hpdp_dask.dataflow.stream.report import Histogram

log = logging.getLogger(__name__)

#: Seconds between two messages.
_EVERY = 1.0

#: Points of a curve at most.
_POINTS = 240

#: So small a share of what was counted lies beyond either end of a histogram that is shown.
_BEYOND = 0.002


class Visitor(Protocol):
    """One browser tab."""

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message; from any thread."""


class LiveDesk(ABC):
    """Tells the visitors of a live page how the stream is.

    Parameters
    ----------
    stream : Stream
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._visitors: set[Visitor] = set()
        self._lock = threading.Lock()
        self._last: dict[str, Any] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live page", daemon=True)
        self._thread.start()

    def enter(self, visitor: Visitor) -> None:
        """Begin to tell a visitor."""
        with self._lock:
            self._visitors.add(visitor)
        if self._last is not None:
            visitor.tell(self.for_visitor(visitor, self._last))

    def leave(self, visitor: Visitor) -> None:
        """Tell a visitor no more."""
        with self._lock:
            self._visitors.discard(visitor)

    def stop(self) -> None:
        """Tell everybody the last that there is to tell, and end."""
        self._ended.set()
        self._thread.join()

    def hear(self, kind: str) -> None:
        """Do what a visitor asks: to end the stream, or something of the craft."""
        if kind == "end":
            # no more frames are taken; what came is finished
            self.stream.stop("finish")

    def _work(self) -> None:
        while not self._ended.wait(_EVERY):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            visitors = list(self._visitors)
        if not visitors:
            return
        try:
            self._last = self.message()
            for visitor in visitors:
                visitor.tell(self.for_visitor(visitor, self._last))
        except Exception:  # a page must not end because one picture could not be made
            log.exception("the live page could not be put together")

    def message(self) -> dict[str, Any]:
        """Put together what the page shows."""
        stream = self.stream
        seen = stream.figures.snapshot()
        return {
            "kind": "state",
            "source": stream.source.words,
            "ending": stream.is_ending,
            "ended": stream.ended.is_set(),
            "frames": seen.frames,
            "hits": seen.chosen,
            "rate": seen.rate,
            "lag": number(seen.lag_now),
            "lags": [number(lag) for lag in seen.lag],
            "waiting": 0 if stream.is_ending else seen.waiting,
            "total": stream.source.number,
            "course": course(seen),
            "asides": [
                {"reason": reason, "words": REASONS[reason], "number": frames}
                for reason, frames in sorted(seen.asides.items(), key=lambda each: -each[1])
            ],
            "missing": seen.missing,
            "work": _work_by_part(seen),
            **self.craft(seen),
        }

    @abstractmethod
    def craft(self, seen: Snapshot) -> dict[str, Any]:
        """Give what the page of the craft shows beside."""

    def for_visitor(self, visitor: Visitor, message: dict[str, Any]) -> dict[str, Any]:
        """Give a message as one visitor needs it."""
        return message


def number(value: float) -> float | None:
    """Give a number as JSON holds it."""
    return float(value) if math.isfinite(value) else None


def image_url(png: bytes) -> str:
    """Give a picture as a page holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def course(seen: Snapshot) -> dict[str, list[float | None]]:
    """Give the past as curves, thinned out, those of columns that are followed among them."""
    moments = list(seen.moments)
    step = max(1, -(-len(moments) // _POINTS))
    kept = moments[::-1][::step][::-1]
    now = moments[-1].time if moments else 0.0
    followed = kept[-1].traced if kept else ()
    return {
        "ago": [now - moment.time for moment in kept],
        "rate": [number(moment.rate) for moment in kept],
        "hits": [number(moment.chosen) for moment in kept],
        "lag": [number(moment.lag) for moment in kept],
        "lag_95": [number(moment.lag_95) for moment in kept],
        **{name: [number(moment.traced[name]) for moment in kept] for name in followed},
    }


def histogram(seen: Snapshot, shown: Histogram, unit: float = 1.0) -> dict[str, list[float]]:
    """Give a histogram where there is something in it: edges over a unit, and counts."""
    counts = seen.histograms.get(shown.column)
    if counts is None or not counts.any():
        return {"edges": [], "counts": []}
    share = np.cumsum(counts) / counts.sum()
    first = max(0, int(np.searchsorted(share, _BEYOND)) - 3)
    last = min(len(counts), int(np.searchsorted(share, 1 - _BEYOND)) + 4)
    return {
        "edges": (shown.edges[first : last + 1] / unit).tolist(),
        "counts": counts[first:last].tolist(),
    }


def _work_by_part(seen: Snapshot) -> list[dict[str, Any]]:
    """Give the CPU milliseconds a frame of each part of the work."""
    parts = sorted(seen.seconds_by_part.items(), key=lambda each: -each[1])
    frames = max(1, seen.came)
    return [{"name": name, "milliseconds": 1000 * seconds / frames} for name, seconds in parts]
