"""Words from workers to the person who waits; and batches that halve when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client

_TOPIC = "hpdp-notes"
_listeners: list[Callable[[str], None]] = []


@contextmanager
def heard(client: Client | None, say: Callable[[str], None] | None) -> Iterator[None]:
    """Hear what tasks `note`, each thing once, while they run on a cluster or in this process."""
    if say is None:
        yield
        return
    told: set[str] = set()

    def once(text: str) -> None:
        if text not in told:
            told.add(text)
            say(text)

    _listeners.append(once)
    if client is not None:
        client.subscribe_topic(_TOPIC, lambda event: once(event[1]))
    try:
        yield
    finally:
        _listeners.remove(once)
        if client is not None:
            client.unsubscribe_topic(_TOPIC)


def note(text: str) -> None:
    """Tell the person who waits, from within a task."""
    try:
        from distributed import get_worker

        get_worker().log_event(_TOPIC, text)
    except ValueError:  # not on a worker
        for listener in _listeners:
            listener(text)


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
