"""The order in which images are shown: mixed within a window of shards, alike for any workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Step:
    """The images of a step.

    Attributes
    ----------
    number : int
        Of the step in its epoch, from 0.
    images : (batch,) ndarray of int
        Places in the stack, of all workers together.
    windows : tuple of int
        The first and the last window that they are in, for what reads ahead.
    """

    number: int
    images: np.ndarray
    windows: tuple[int, int]


@dataclass(frozen=True)
class Order:
    """Batches of images for each epoch.

    Shards are put in a random order and taken together by windows; the images of a window are
    mixed. So a disk is read in long pieces, and yet neighbours in a batch come from many shards.

    Attributes
    ----------
    start, stop : int
        The images of the stack that are shown.
    images_per_shard : int
    shards_per_window : int
    batch : int
        What is left at an epoch's end and fills no batch is not shown in it.
    seed : int
    """

    start: int
    stop: int
    images_per_shard: int
    shards_per_window: int
    batch: int
    seed: int

    @property
    def steps(self) -> int:
        """Give the number of steps in an epoch."""
        return (self.stop - self.start) // self.batch

    def windows(self, epoch: int) -> list[np.ndarray]:
        """Give the images of each window of an epoch, mixed."""
        random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(0, epoch)))
        first, last = self.start // self.images_per_shard, -(-self.stop // self.images_per_shard)
        shards = random.permutation(np.arange(first, last))
        found = []
        for place in range(0, len(shards), self.shards_per_window):
            ranges = [
                np.arange(
                    max(self.start, shard * self.images_per_shard),
                    min(self.stop, (shard + 1) * self.images_per_shard),
                )
                for shard in shards[place : place + self.shards_per_window].tolist()
            ]
            found.append(random.permutation(np.concatenate(ranges)))
        return found

    def epoch(self, epoch: int) -> Iterator[Step]:
        """Give the steps of an epoch in turn; a batch may begin in a window and end in the next."""
        number, left, first = 0, np.empty(0, np.int64), 0
        for window, images in enumerate(self.windows(epoch)):
            left = np.concatenate([left, images])
            whole = len(left) // self.batch * self.batch
            for batch in left[:whole].reshape(-1, self.batch):
                yield Step(number, batch, (first, window))
                number, first = number + 1, window
            left = left[whole:]
            if not len(left):
                first = window + 1


def share_of(images: np.ndarray, rank: int, ranks: int) -> np.ndarray:
    """Give the part of a batch that one of several workers computes."""
    return np.array_split(images, ranks)[rank]
