"""What a process holds on to between tasks: the newest model, and images while they fit.

Nothing here is state that a result depends on. Whoever asks says how the value is made, and a
process that has not got it, because it is new or had no room, makes it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from dask.sizeof import sizeof

T = TypeVar("T")


class _Shelf:
    """The values of one owner."""

    def __init__(self) -> None:
        self.values: dict[Hashable, Any] = {}
        self.bytes = 0
        self.lock = threading.Lock()


_shelves: dict[str, _Shelf] = {}
_roomy: list[str] = []
_lock = threading.Lock()


def newest(owner: str, key: Hashable, make: Callable[[], T]) -> T:
    """Give a value of which only the newest is held, as a model that many tasks use.

    Parameters
    ----------
    owner : str
        What the value is.
    key : hashable
        Which one; another key takes the place of the last.
    make : callable
        Makes it, by one thread while others wait.
    """
    shelf = _shelf(owner)
    with shelf.lock:
        if key not in shelf.values:
            shelf.values.clear()
            shelf.values[key] = make()
        found: T = shelf.values[key]
        return found


def while_they_fit(owner: str, key: Hashable, make: Callable[[], T], room: int) -> T:
    """Give a value of many, which is held if there is room.

    What came first stays: in passes that all go through the values in the same order, to drop
    the oldest for the newest would always drop what comes next.

    Parameters
    ----------
    owner : str
        Whose values. A new owner takes the place of the last.
    key : hashable
    make : callable
    room : int
        Bytes that the owner's values may take.
    """
    with _lock:
        if _roomy and _roomy[0] != owner:
            _shelves.pop(_roomy.pop(), None)
        if not _roomy:
            _roomy.append(owner)
    shelf = _shelf(owner)
    with shelf.lock:
        if key in shelf.values:
            found: T = shelf.values[key]
            return found
    value = make()
    size = sizeof(value)
    with shelf.lock:
        if key not in shelf.values and shelf.bytes + size <= room:
            shelf.values[key] = value
            shelf.bytes += size
    return value


def clear() -> None:
    """Let go of everything."""
    with _lock:
        _shelves.clear()
        _roomy.clear()


def _shelf(owner: str) -> _Shelf:
    with _lock:
        return _shelves.setdefault(owner, _Shelf())
