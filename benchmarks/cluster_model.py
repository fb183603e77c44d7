"""What the benchmarks of the cluster layer share: work for `run_tree` that only takes its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpdp_dask.dataflow.leaves import Leaf


@dataclass(frozen=True)
class Timed:
    """Leaves that each take some seconds and give an accumulator; see `running.Work`.

    Attributes
    ----------
    seconds : float
        Of each leaf.
    nbytes : int
        Of an accumulator.
    spin : bool
        Whether a leaf takes a core meanwhile.
    """

    seconds: float
    nbytes: int
    spin: bool = False
    name: str = "timed"
    task: str = "fold"
    path: Path = Path("nothing.zarr")
    returns: bool = True

    def fold(self, leaf: Leaf, done: Callable[[int], None]) -> np.ndarray:
        """Take the time of a leaf, telling four times of what is done."""
        for _ in range(4):
            if self.spin:
                until = time.perf_counter() + self.seconds / 4
                while time.perf_counter() < until:
                    pass
            else:
                time.sleep(self.seconds / 4)
            done((leaf.stop - leaf.start) // 4)
        return np.full(self.nbytes // 8, 1.0)

    def add(self, sums: Iterable[np.ndarray]) -> np.ndarray:
        """Add to a copy of the first."""
        parts = iter(sums)
        total = next(parts).copy()
        for part in parts:
            total += part
        return total

    def end(self, total: np.ndarray) -> float:
        """Give how many leaves were added."""
        return float(total[0])


def leaves(number: int, images: int = 100) -> tuple[list[Leaf], list[int]]:
    """Give leaves of so many images, and how many each has."""
    found = [Leaf(index * images, (index + 1) * images) for index in range(number)]
    return found, [images] * number
