"""Words from tasks to whoever waits: images that are done, things that a person should know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

#: Where each thread that runs a task sends its notes.
_thread = threading.local()

#: What each run of each client of this process does with words from its tasks.
_hearers: dict[str, dict[str, Callable[[dict[str, Any]], None]]] = {}


@dataclass(frozen=True)
class Voice:
    """How the tasks of a run reach the client.

    All runs of a client have one topic. The scheduler never forgets a topic, but it clears that
    of a client's name when the client has gone.

    Attributes
    ----------
    topic : str
        The client's name.
    run : str
    """

    topic: str
    run: str

    def tell(self, **words: Any) -> None:
        """Send words from within a task."""
        from distributed import get_worker

        get_worker().log_event(self.topic, {"run": self.run, **words})

    def note(self, text: str) -> None:
        """Send a note from within a task."""
        self.tell(note=text)


@contextmanager
def heard(client: Client, run: str, hear: Callable[[dict[str, Any]], None]) -> Iterator[Voice]:
    """Hear what the tasks of a run tell; gives the voice to hand to them."""
    topic = client.id
    hearers = _hearers.setdefault(topic, {})

    def hear_all(event: tuple[float, dict[str, Any]]) -> None:
        words = event[1]
        if words.get("run") in hearers:  # the scheduler, too, tells of the client
            hearers[words["run"]](words)

    hearers[run] = hear
    client.subscribe_topic(topic, hear_all)
    try:
        yield Voice(topic, run)
    finally:
        del hearers[run]
        if not hearers and client.status == "running":
            client.unsubscribe_topic(topic)


@contextmanager
def noting(tell: Callable[[str], None]) -> Iterator[None]:
    """Say where notes of this thread go."""
    _thread.tell = tell
    try:
        yield
    finally:
        del _thread.tell


def once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Let each thing be said once."""
    told: set[str] = set()

    def say_once(text: str) -> None:
        if text not in told:
            told.add(text)
            say(text)

    return say_once


def note(text: str) -> None:
    """Tell the person who waits, from within a task."""
    tell = getattr(_thread, "tell", None)
    if tell is not None:
        tell(text)


def in_batches(number: int, batch: int, work: Callable[[slice], None]) -> None:
    """Work images off in batches, which halve when the memory or the device runs out.

    Parameters
    ----------
    number : int
        Of images.
    batch : int
        How many at a time.
    work : callable
        Takes a slice of them. Where memory runs out amid it, it is called for parts of the slice
        again, and must not do again what it has done.

    Raises
    ------
    MemoryError
        A single image does not fit.
    """
    start = 0
    while start < number:
        try:
            work(slice(start, min(start + batch, number)))
        except MemoryError:  # CuPy's OutOfMemoryError is one
            if batch == 1:
                raise
            batch = -(-batch // 2)
            note(f"memory ran out; going on with batches of {batch} images")
            continue
        start += batch
