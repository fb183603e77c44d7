"""Sums that run under a stream: of all hits, and of the frames of each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class HitSum:
    """The sum of frames, and how many there are: a powder pattern."""

    name: str = "powder"
    nbytes: int = 0  # nobody plans by it: the shape is known when frames come
    images_per_leaf: int = 1

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Begin with nothing."""
        return np.zeros((0, 0)), np.zeros((), np.int64)

    def fold(
        self, accumulator: tuple[np.ndarray, np.ndarray], block: xr.Dataset
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add frames."""
        photons = block["photons"].values
        total = photons.sum(axis=0, dtype=np.uint64).astype(np.float64)
        return self.merge(accumulator, (total, np.array(len(photons), np.int64)))

    def merge(
        self, accumulator: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add another sum."""
        (total, number), (more, more_number) = accumulator, other
        if total.size and more.size:
            total = total + more
        return total if total.size else more, np.asarray(number + more_number)

    def finish(self, accumulator: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Give the mean frame, (y, x); empty if there were none."""
        total, number = accumulator
        return total / max(1, int(number))


class ClassMeans(NamedTuple):
    """The mean frame of each class, (k, y, x), and how many frames it is of, (k,)."""

    means: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class ClassSums:
    """The sums of the frames of each class, of those that the classifier accepted."""

    name: str = "classes"
    nbytes: int = 0
    images_per_leaf: int = 1

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Begin with nothing, and no class."""
        return np.zeros((0, 0, 0)), np.zeros(0, np.int64)

    def fold(
        self, accumulator: tuple[np.ndarray, np.ndarray], block: xr.Dataset
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add frames."""
        photons = block["photons"].values
        label = np.where(block["label_accepted"].values != 0, block["label"].values, -1)
        number = int(label.max(initial=-1)) + 1
        total = np.zeros((number, *photons.shape[1:]))
        for index in range(number):
            total[index] = photons[label == index].sum(axis=0, dtype=np.uint64)
        return self.merge(accumulator, (total, np.bincount(label[label >= 0], minlength=number)))

    def merge(
        self, accumulator: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add other sums, of more classes or fewer."""
        (total, counts), (more, more_counts) = sorted(
            (accumulator, other), key=lambda each: -len(each[1])
        )
        total, counts = total.copy(), counts.copy()
        if len(more_counts):
            total[: len(more_counts)] += more
            counts[: len(more_counts)] += more_counts
        return total, counts

    def finish(self, accumulator: tuple[np.ndarray, np.ndarray]) -> ClassMeans:
        """Give the mean frame of each class."""
        total, counts = accumulator
        return ClassMeans(total / np.maximum(counts, 1)[:, None, None], counts)
