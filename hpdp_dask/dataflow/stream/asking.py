"""Asks a source for batches, in a thread of its own, for as long as there is room for them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hpdp_dask.dataflow.stream.batches import Aside, Batch, EndOfStream, Source

#: Seconds to wait at a time.
_PATIENCE = 0.2


class Asking:
    """The thread that asks.

    Parameters
    ----------
    source : Source
    batch, aside, end, fail : callable
        Told, in the thread, of a batch, of frames that were set aside, of the end and of an error
        of the source.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch: Callable[[Batch], None],
        aside: Callable[[Aside], None],
        end: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._source = source
        self._batch, self._aside, self._end, self._fail = batch, aside, end, fail
        self._room = Room()
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hpdp-source", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def halt(self) -> None:
        """Ask for no more; `end` is told when that is so."""
        self._halt.set()

    def join(self) -> None:
        """Wait until nobody asks any more."""
        self._halt.set()
        if self._thread.ident is not None:
            self._thread.join()

    def set_room(self, batches: int) -> None:
        """Say how many batches may be under way."""
        self._room.set(batches)

    def settled(self) -> None:
        """Hear that a batch is not under way any more."""
        self._room.release()

    def add(self, batches: int) -> None:
        """Hear that so many more batches are under way than were asked for."""
        self._room.add(batches)

    def _run(self) -> None:
        try:
            while not self._halt.is_set():
                if self._room.acquire(_PATIENCE):
                    self._ask()
        except EndOfStream:
            pass
        except BaseException as error:
            self._fail(error)
            return
        self._end()

    def _ask(self) -> None:
        """Ask until a batch comes, which has the place that was taken for it."""
        found = None
        try:
            while not isinstance(found, Batch) and not self._halt.is_set():
                found = self._source.next(_PATIENCE)
                if isinstance(found, Aside):
                    self._aside(found)
        finally:
            if not isinstance(found, Batch):
                self._room.release()
        if isinstance(found, Batch):
            self._batch(found)


class Room:
    """So many batches may be under way; who wants one more waits."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._number = 1
        self._taken = 0

    def set(self, number: int) -> None:
        """Change how many."""
        with self._condition:
            self._number = number
            self._condition.notify_all()

    def acquire(self, patience: float) -> bool:
        """Take a place; False if there is none within so many seconds."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._taken < self._number, patience):
                return False
            self._taken += 1
            return True

    def add(self, places: int) -> None:
        """Take places, whether there are so many or not."""
        with self._condition:
            self._taken += places

    def release(self) -> None:
        """Give a place back."""
        with self._condition:
            self._taken -= 1
            self._condition.notify_all()
