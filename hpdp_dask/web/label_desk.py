"""The hands behind a label page: they save, paint, choose and tell, each in its own thread.

The thread of the server only passes messages on; so keys are answered while pictures are painted
and a classifier learns.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.web.label_book import LabelBook
from hpdp_dask.web.pictures import Contrast, Painter

log = logging.getLogger(__name__)

#: Pixels along the longer side of a tile, and of the large picture.
SIDES = {"small": 256, "large": 1600}

#: Pictures that are sent together.
_TOGETHER = 8

#: Seconds between two looks at what others said; and how much longer than it takes to find an
#: estimate the next one waits.
_LOOK, _REST = 1.0, 2.0

#: Pages of frames that are chosen ahead.
_AHEAD = 2


class Visitor(Protocol):
    """One browser tab."""

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message; from any thread."""

    def update(self) -> None:
        """Send what was labelled since the last time; from any thread."""


class LabelDesk:
    """Serves the visitors of one page.

    Parameters
    ----------
    book : LabelBook
    """

    def __init__(self, book: LabelBook) -> None:
        self.book = book
        self._visitors: set[Visitor] = set()
        self._wishes: dict[Visitor, tuple[str, int]] = {}
        #: What visitors have before them, and what they were offered beyond that.
        self._shown: dict[Visitor, set[int]] = {}
        self._offered: dict[Visitor, set[int]] = {}
        self._arranged: dict[Visitor, tuple[str, str, np.ndarray]] = {}
        self._stale: set[Visitor] = set()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="labels")
        self._painter = ThreadPoolExecutor(2, thread_name_prefix="pictures")
        self._painters: dict[str, Painter] = {}
        self._painters_lock = threading.Lock()
        self._estimated: tuple[int, int] | None = None
        self._estimate_after = 0.0
        self._estimate_message: dict[str, Any] = {
            "kind": "estimate",
            "text": "",
            "isKnown": False,
            "history": [],
        }
        self._number = book.source.number
        self._failures: set[str] = set()
        self._wake = threading.Event()
        self._ended = threading.Event()
        # two, since pages must hear of the server though a choice takes long
        self._threads = [
            threading.Thread(target=self._watch, name="look", daemon=True),
            threading.Thread(target=self._think, name="choice", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def enter(self, visitor: Visitor) -> None:
        """Let somebody in: tells the estimate, and from now on what changes."""
        self._visitors.add(visitor)
        visitor.tell(self._estimate_message)

    def leave(self, visitor: Visitor) -> None:
        """Forget a visitor; what was being looked at is free for others."""
        self._visitors.discard(visitor)
        for kept in (self._wishes, self._arranged, self._shown, self._offered):
            kept.pop(visitor, None)

    def save(self, visitor: Visitor, acts: list[tuple[str, int, str | None]], person: str) -> None:
        """Write acts, in the order in which they come, and say when they are on the disk."""
        self._writer.submit(self._safely, [visitor], partial(self._save, visitor, acts, person))

    def paint(
        self, visitor: Visitor, frames: list[int], size: str, version: int, contrast: Contrast
    ) -> None:
        """Paint frames and send the pictures, some at a time."""
        for first in range(0, len(frames), _TOGETHER):
            some = frames[first : first + _TOGETHER]
            paint = partial(self._paint, visitor, some, size, version, contrast)
            self._painter.submit(self._safely, [visitor], paint)

    def arrange(
        self, visitor: Visitor, order: str, only: str, start: int | None, size: int
    ) -> None:
        """Send a part of an order; without a start that with the first frame without a label."""
        for kept in (self._wishes, self._shown, self._offered):
            kept.pop(visitor, None)
        arrange = partial(self._arrange, visitor, order, only, start, size)
        self._painter.submit(self._safely, [visitor], arrange)

    def choose(self, visitor: Visitor, only: str, size: int, shown: Iterable[int]) -> None:
        """Send what teaches most, now and whenever that changes."""
        self._shown[visitor] = set(shown)
        self._wishes[visitor] = (only, size)
        self._stale.add(visitor)
        self._wake.set()

    def describe(self, visitor: Visitor, frame: int) -> None:
        """Send what is known of a frame."""
        rows = [list(row) for row in self.book.numbers(frame)]
        visitor.tell({"kind": "numbers", "frame": frame, "rows": rows})

    def stop(self) -> None:
        """Write what was said, and end."""
        self._ended.set()
        self._wake.set()
        self._writer.shutdown(wait=True)
        self._painter.shutdown(wait=True, cancel_futures=True)
        for thread in self._threads:
            thread.join()

    def _safely(self, visitors: Iterable[Visitor], work: Callable[[], None]) -> None:
        """Do something, and say on pages what went wrong."""
        try:
            work()
            return
        except (InputError, OSError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        except Exception as error:
            if repr(error) not in self._failures:
                self._failures.add(repr(error))
                log.exception("The label page failed.")
            text = f"This failed ({error}); the terminal of the page says where."
        for visitor in visitors:
            visitor.tell({"kind": "problem", "text": text})

    def _save(self, visitor: Visitor, acts: list[tuple[str, int, str | None]], person: str) -> None:
        names = [name for name, _, _ in acts]
        try:
            self.book.save(acts, person)
        except InputError as error:
            visitor.tell({"kind": "refused", "names": names, "text": str(error)})
            return
        except OSError as error:
            text = f"Not saved ({error.strerror or error}); it is tried again."
            visitor.tell({"kind": "problem", "text": text})
            return
        visitor.tell({"kind": "saved", "names": names})
        self._stale |= set(self._wishes)
        self._wake.set()

    def _paint(
        self, visitor: Visitor, frames: list[int], size: str, version: int, contrast: Contrast
    ) -> None:
        with self._painters_lock:
            if size not in self._painters:
                source = self.book.source
                x, y = source.positions or (None, None)
                self._painters[size] = Painter(source.mask, x, y, longest=SIDES[size])
        pictures = self._painters[size].paint(self.book.source.read(np.array(frames)), contrast)
        visitor.tell(
            {
                "kind": "pictures",
                "version": version,
                "size": size,
                "frames": frames,
                "pictures": pictures,
            }
        )

    def _arrange(
        self, visitor: Visitor, order: str, only: str, start: int | None, size: int
    ) -> None:
        arranged = self._arranged.get(visitor)
        if start is None or arranged is None or arranged[:2] != (order, only):
            # kept, since labels that are given meanwhile change some orders
            arranged = self._arranged[visitor] = order, only, self.book.arrange(order, only)
        frames = arranged[2]
        if start is None:
            unlabelled = np.flatnonzero(self.book.labels()[frames] == "")
            first = int(unlabelled[0]) if order != "review" and len(unlabelled) else 0
            start = first - first % size
        visitor.tell(
            {
                "kind": "frames",
                "order": order,
                "only": only,
                "start": start,
                "frames": frames[start : start + 3 * size].tolist(),
                "total": len(frames),
            }
        )

    def _watch(self) -> None:
        """Look at the log and tell what is new, and that somebody is here, until the end."""
        while not self._ended.wait(_LOOK):
            if self._visitors:
                self._safely(list(self._visitors), self._look)

    def _think(self) -> None:
        """Choose and estimate whenever there are new labels or wishes, until the end."""
        while not self._ended.is_set():
            self._wake.wait(_LOOK)
            self._wake.clear()
            for work in (self._choose, self._find_estimate):
                if self._visitors:
                    self._safely(list(self._visitors), work)

    def _choose(self) -> None:
        while self._stale and not self._ended.is_set():
            visitor = self._stale.pop()
            if visitor not in self._wishes:
                continue
            only, size = self._wishes[visitor]
            others = [frames for who, frames in list(self._offered.items()) if who is not visitor]
            taken = set().union(*list(self._shown.values()), *others)
            frames = self.book.instructive(only, _AHEAD * size, taken)
            self._offered[visitor] = set(frames.tolist())
            visitor.tell(
                {
                    "kind": "frames",
                    "order": "instructive",
                    "only": only,
                    "start": 0,
                    "frames": frames.tolist(),
                    "total": None,
                }
            )

    def _look(self) -> None:
        self.book.look()
        if self._number != self.book.source.number:
            self._number = self.book.source.number
            self._stale |= set(self._wishes)
            self._wake.set()
        for visitor in list(self._visitors):
            visitor.update()

    def _find_estimate(self) -> None:
        if self.book.revision == self._estimated or time.monotonic() < self._estimate_after:
            return
        began, self._estimated = time.monotonic(), self.book.revision
        found, why_not = self.book.estimate()
        if found is not None:
            self._estimate_after = time.monotonic() + _REST * (time.monotonic() - began)
        history = list(self._estimate_message["history"])
        text = why_not
        if found is not None and found.accepted == 0:
            text = "no pattern is certain enough yet"
        elif found is not None:
            low, high = found.interval
            text = (
                f"Precision {found.precision:.0%} ({low:.0%} to {high:.0%}) of the "
                f"{found.accepted:.0%} that are accepted"
            )
            history.append([found.labelled, round(found.precision, 4)])
        self._estimate_message = {
            "kind": "estimate",
            "text": text,
            "isKnown": found is not None,
            "history": history[-100:],
        }
        for visitor in list(self._visitors):
            visitor.tell(self._estimate_message)
