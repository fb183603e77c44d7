"""Which frames have been seen, however many: intervals of their ids."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import numpy as np


class Intervals:
    """A set of whole numbers that mostly follow each other.

    Memory goes with the number of gaps, not of numbers.
    """

    def __init__(self) -> None:
        # interval k is from _starts[k] to before _stops[k]; they neither overlap nor touch
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._starts, number) - 1
        return place >= 0 and number < self._stops[place]

    def add(self, start: int, stop: int) -> None:
        """Add all numbers from one to before another.

        Parameters
        ----------
        start, stop : int
        """
        low = bisect_left(self._stops, start)
        high = bisect_right(self._starts, stop)
        if low < high:
            start = min(start, self._starts[low])
            stop = max(stop, self._stops[high - 1])
        self._starts[low:high] = [start]
        self._stops[low:high] = [stop]

    def update(self, numbers: np.ndarray) -> None:
        """Add numbers in any order.

        Parameters
        ----------
        numbers : (n,) ndarray of int
        """
        if not numbers.size:
            return
        sorted_numbers = np.unique(numbers)
        breaks = np.flatnonzero(np.diff(sorted_numbers) > 1) + 1
        for run in np.split(sorted_numbers, breaks):
            self.add(int(run[0]), int(run[-1]) + 1)

    def gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Give the spans between two numbers that are not there, each up to before its end.

        Parameters
        ----------
        start, stop : int
        """
        place = bisect_right(self._stops, start)
        while start < stop:
            known = place < len(self._starts) and self._starts[place] < stop
            end = self._starts[place] if known else stop
            if start < end:
                yield start, end
            start = self._stops[place] if known else stop
            place += 1

    @property
    def count(self) -> int:
        """Give how many numbers there are."""
        return sum(self._stops) - sum(self._starts)

    @property
    def last(self) -> int:
        """Give the greatest number; -1 if there is none."""
        return self._stops[-1] - 1 if self._stops else -1

    @property
    def missing(self) -> int:
        """Give how many numbers are not there between the least and the greatest."""
        return self._stops[-1] - self._starts[0] - self.count if self._stops else 0
