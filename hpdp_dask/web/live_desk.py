"""What a live page shows, put together once for all its visitors, in a thread of its own."""

from __future__ import annotations

import base64
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from hpdp_dask.dataflow.stream.batches import REASONS, batch_name
from hpdp_dask.dataflow.stream.figures import Snapshot
from hpdp_dask.dataflow.stream.report import Example
from hpdp_dask.errors import InputError
from hpdp_dask.spi.stream.recipe import SIZES
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.web.pictures import Painter
from hpdp_dask.workflow.spi_stream import Live, class_means

log = logging.getLogger(__name__)

#: Seconds between two messages, and between two looks at the means of classes.
_EVERY, _MEANS = 1.0, 10.0

#: Pixels along the longer side of a picture.
_LONGEST = 200

#: Examples that are shown of each class; so many may be new in a message, so that a person can
#: look at the others.
_SHOWN, _NEW = 6, 1

#: Points of a curve at most.
_POINTS = 240


class Visitor(Protocol):
    """One browser tab."""

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message; from any thread."""


class LiveDesk:
    """Tells the visitors of a live page how the stream is.

    Parameters
    ----------
    live : Live
    """

    def __init__(self, live: Live) -> None:
        self.live = live
        #: Where people label, when they may.
        self.label_url = ""
        self._visitors: set[Visitor] = set()
        self._lock = threading.Lock()
        self._examples: dict[tuple[str | None, int], list[dict[str, Any]]] = {}
        self._painter: Painter | None = None
        self._means: tuple[float, str | None, list[str]] = (float("-inf"), None, [])
        self._last: dict[str, Any] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live page", daemon=True)
        self._thread.start()

    def enter(self, visitor: Visitor) -> None:
        """Begin to tell a visitor."""
        with self._lock:
            self._visitors.add(visitor)
        if self._last is not None:
            visitor.tell(self._last)

    def leave(self, visitor: Visitor) -> None:
        """Tell a visitor no more."""
        with self._lock:
            self._visitors.discard(visitor)

    def stop(self) -> None:
        """Tell everybody the last that there is to tell, and end."""
        self._ended.set()
        self._thread.join()

    def end_stream(self) -> None:
        """Take no more frames; what came is finished."""
        self.live.stream.stop("finish")

    def train_again(self) -> None:
        """Train a model with the labels that there are."""
        self.live.scenario.train_again()

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
                visitor.tell(self._last)
        except Exception:  # a page must not end because one picture could not be made
            log.exception("the live page could not be put together")

    def message(self) -> dict[str, Any]:
        """Put together what the page shows."""
        stream, scenario = self.live.stream, self.live.scenario
        seen, status = stream.figures.snapshot(), scenario.status
        return {
            "kind": "state",
            "source": stream.source.words,
            "state": status.state,
            "words": status.words,
            "steps": _steps(seen, status.state, stream.source_ended),
            "gathered": status.gathered,
            "labelled": status.labelled,
            "wanted": status.wanted,
            "trained": [vars(trained) for trained in status.trained],
            "label_url": self.label_url,
            "ending": stream.is_ending,
            "ended": stream.ended.is_set(),
            "frames": seen.frames,
            "hits": seen.chosen,
            "rate": seen.rate,
            "lag": _number(seen.lag_now),
            "lags": [_number(lag) for lag in seen.lag],
            "waiting": 0 if stream.is_ending else seen.waiting,
            "model": seen.model,
            "unlabelled": seen.unlabelled,
            "total": stream.source.number,
            "course": _course(seen),
            "sizes": _sizes(seen.histograms),
            "classes": self._classes(seen),
            "asides": [
                {"reason": reason, "words": REASONS[reason], "number": number}
                for reason, number in sorted(seen.asides.items(), key=lambda each: -each[1])
            ],
            "missing": seen.missing,
            "work": _work_by_part(seen),
        }

    def _classes(self, seen: Snapshot) -> list[dict[str, Any]]:
        """Tell of each class: frames, mean, examples; the last is that of frames without one."""
        if seen.model is None:
            examples = self._shown(None, -1, seen.examples.get(-1, ()))
            return [{"name": "", "number": seen.chosen, "mean": "", "examples": examples}]
        means = self._class_means(seen)
        return [
            {
                "name": name,
                "number": int(seen.labels[place]),
                "mean": means[place] if place < len(means) else "",
                "examples": self._shown(seen.model, place, seen.examples.get(place, ())),
            }
            for place, name in enumerate([*seen.classes, ""])
        ]

    def _shown(
        self, model: str | None, place: int, examples: Sequence[Example]
    ) -> list[dict[str, Any]]:
        """Give the examples of a class that are shown: few new ones at a time."""
        if self._examples and (model, 0) not in self._examples and model is not None:
            self._examples.clear()  # those of another model
        shown = self._examples.setdefault((model, place), [])
        known = {each["frame"] for each in shown}
        new = [example for example in examples if example.frame_id not in known]
        room = max(_NEW, _SHOWN // 2 - len(shown))
        for example in new[-room:]:
            picture = self._picture(example)
            if picture:
                probability = _number(example.probability)
                shown.insert(
                    0,
                    {"frame": example.frame_id, "probability": probability, "picture": picture},
                )
        del shown[_SHOWN:]
        return shown

    def _class_means(self, seen: Snapshot) -> list[str]:
        """Give a picture of the mean of each class, as of some seconds ago."""
        labelling = self.live.stream.labelling
        at, model, pictures = self._means
        if labelling is None or seen.model != labelling.model:
            return []
        if model == labelling.model and time.monotonic() - at < _MEANS:
            return pictures
        found = class_means(self.live.stream.folder, labelling)
        pictures = [
            self._paint(mean.astype(np.float32)) if count else ""
            for mean, count in zip(found.means, found.counts, strict=True)
        ]
        self._means = time.monotonic(), labelling.model, pictures
        return pictures

    def _picture(self, example: Example) -> str:
        """Paint an example; empty if its frame cannot be read."""
        try:
            return self._paint(self._photons(example))
        except (InputError, OSError):
            return ""

    def _photons(self, example: Example) -> np.ndarray:
        """Read one frame."""
        found = self.live.found
        if found.again is None:
            return np.asarray(found.folder.kept(example.batch)[example.row])
        alone = found.again(batch_name(example.frame_id, example.frame_id))
        return np.asarray(alone()["photons"].values[0])

    def _paint(self, frame: np.ndarray) -> str:
        if self._painter is None:
            shared = open_frames(self.live.stream.folder.shared)
            known = "pixel_x" in shared
            self._painter = Painter(
                shared["mask"].values,
                shared["pixel_x"].values if known else None,
                shared["pixel_y"].values if known else None,
                longest=_LONGEST,
            )
        painted = self._painter.paint(frame[None])[0]
        return "data:image/png;base64," + base64.b64encode(painted).decode()


def _number(value: float) -> float | None:
    """Give a number as JSON holds it."""
    return float(value) if math.isfinite(value) else None


def _steps(seen: Snapshot, state: str, source_ended: bool) -> list[dict[str, Any]]:
    """Tell of each step of the scenario whether it is done, and what is done now."""
    if state == "measuring":
        return []
    order = ["gathering", "labelling", "training", "classifying"]
    at = order.index(state) if state in order else len(order)
    names = ["Gather", "Label", "Train", "Classify as they come", "Classify earlier ones"]
    steps = [
        {"name": name, "done": place < at, "now": place == at}
        for place, name in enumerate(names[:4])
    ]
    earlier = seen.model is not None and seen.unlabelled > 0
    done = seen.model is not None and not earlier
    steps[3]["done"] = steps[3]["done"] or (seen.model is not None and source_ended)
    steps.append({"name": names[4], "done": done, "now": earlier})
    return steps


def _course(seen: Snapshot) -> dict[str, list[float | None]]:
    """Give the past as curves, thinned out."""
    moments = list(seen.moments)
    step = max(1, -(-len(moments) // _POINTS))
    kept = moments[::-1][::step][::-1]
    now = moments[-1].time if moments else 0.0
    return {
        "ago": [now - moment.time for moment in kept],
        "rate": [_number(moment.rate) for moment in kept],
        "hits": [_number(moment.chosen) for moment in kept],
        "lag": [_number(moment.lag) for moment in kept],
        "lag_95": [_number(moment.lag_95) for moment in kept],
    }


def _sizes(histograms: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Give the histogram of sizes where there are any: edges in nm, and counts."""
    counts = histograms.get(SIZES.column)
    if counts is None or not counts.any():
        return {"edges": [], "counts": []}
    share = np.cumsum(counts) / counts.sum()
    first = max(0, int(np.searchsorted(share, 0.002)) - 3)
    last = min(len(counts), int(np.searchsorted(share, 0.998)) + 4)
    return {
        "edges": (SIZES.edges[first : last + 1] / 10).tolist(),
        "counts": counts[first:last].tolist(),
    }


def _work_by_part(seen: Snapshot) -> list[dict[str, Any]]:
    """Give the CPU milliseconds a frame of each part of the work."""
    parts = sorted(seen.seconds_by_part.items(), key=lambda each: -each[1])
    frames = max(1, seen.came)
    return [{"name": name, "milliseconds": 1000 * seconds / frames} for name, seconds in parts]
