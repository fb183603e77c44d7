"""Results made by threads ahead of who takes them, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def made_ahead(
    pool: Executor, make: Callable[[T], R], given: Iterable[T], number: int
) -> Generator[Future[R]]:
    """Give what is made of each thing, as futures in turn, with `number` more on their way.

    Parameters
    ----------
    pool : Executor
    make : callable
    given : iterable
        Is asked in the thread of who takes the results.
    number : int
        How many are made ahead.

    Yields
    ------
    Future
    """
    waiting: deque[Future[R]] = deque()
    try:
        for each in given:
            waiting.append(pool.submit(make, each))
            if len(waiting) > number:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for future in waiting:
            future.cancel()
