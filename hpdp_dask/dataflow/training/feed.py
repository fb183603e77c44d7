"""Batches made ahead of the training by threads, from shards that are read ahead too."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from hpdp_dask.dataflow.training.learner import Learner
from hpdp_dask.dataflow.training.order import Order, Step, share_of
from hpdp_dask.stacks.shards import ImageReader

#: Batches that are ready, or being made, for each thread that makes them.
_AHEAD = 3


class Feed:
    """Gives one worker its part of each batch of an epoch.

    Images of raw shards are taken one by one through a memory map. Packed shards are read whole,
    a window ahead, and the images that this worker needs are held.

    Parameters
    ----------
    reader : ImageReader
    rows : mapping of str to (number,) ndarray
        What is known of all images of the stack.
    learner : Learner
    order : Order
    rank, ranks : int
        Which of how many workers this is.
    threads : int
        That prepare batches; one more reads.

    Attributes
    ----------
    waited : float
        Seconds that the training has waited for batches.
    """

    def __init__(
        self,
        reader: ImageReader,
        rows: Mapping[str, np.ndarray],
        learner: Learner,
        order: Order,
        rank: int = 0,
        ranks: int = 1,
        threads: int = 1,
    ) -> None:
        self._reader, self._rows, self._learner, self._order = reader, rows, learner, order
        self._rank, self._ranks, self._threads = rank, ranks, threads
        self.waited = 0.0

    def epoch(self, epoch: int) -> Iterator[dict[str, np.ndarray]]:
        """Give the batches of an epoch in turn.

        Raises
        ------
        InputError
            A shard is missing or damaged.
        """
        steps = list(self._order.epoch(epoch))
        waiting: deque[Future[dict[str, np.ndarray]]] = deque()
        with (
            ThreadPoolExecutor(1, "read") as reading,
            ThreadPoolExecutor(self._threads, "prepare") as preparing,
        ):
            windows = _Windows(self._reader, reading, self._needed(epoch, steps))
            try:
                for step in steps:
                    waiting.append(preparing.submit(self._make, epoch, step, windows.of(step)))
                    if len(waiting) > _AHEAD * self._threads:
                        yield self._next(waiting)
                while waiting:
                    yield self._next(waiting)
            finally:
                for future in waiting:
                    future.cancel()

    def _next(self, waiting: deque[Future[dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
        began = time.perf_counter()
        batch = waiting.popleft().result()
        self.waited += time.perf_counter() - began
        return batch

    def _needed(self, epoch: int, steps: list[Step]) -> list[np.ndarray]:
        """Give the images of each window that this worker will be asked for, sorted."""
        wanted = np.sort(np.concatenate([self._mine(step) for step in steps] or [np.empty(0, int)]))
        return [
            np.intersect1d(window, wanted, assume_unique=True)
            for window in self._order.windows(epoch)
        ]

    def _mine(self, step: Step) -> np.ndarray:
        return share_of(step.images, self._rank, self._ranks)

    def _make(self, epoch: int, step: Step, windows: list[_Window]) -> dict[str, np.ndarray]:
        mine = self._mine(step)
        images = _take(self._reader, windows, mine)
        seeds = (
            np.random.SeedSequence(self._order.seed, spawn_key=(1, epoch, image))
            for image in mine.tolist()
        )
        rows = {name: values[mine] for name, values in self._rows.items()}
        return self._learner.prepare(images, rows, [np.random.default_rng(seed) for seed in seeds])


class _Window:
    """The images of a window that are held, or are on their way."""

    def __init__(self, places: np.ndarray, images: Future[np.ndarray]) -> None:
        self.places, self.images = places, images


class _Windows:
    """Reads packed shards a window ahead, and lets go of windows that are done with."""

    def __init__(
        self, reader: ImageReader, pool: ThreadPoolExecutor, needed: list[np.ndarray]
    ) -> None:
        self._reader, self._pool, self._needed = reader, pool, needed
        self._held: dict[int, _Window] = {}

    def of(self, step: Step) -> list[_Window]:
        """Give the windows that a step's images are in; none for shards that can be mapped."""
        if self._reader.layout.raw:
            return []
        first, last = step.windows
        # the one after is read meanwhile
        wanted = range(first, min(len(self._needed), last + 2))
        for window in wanted:
            if window not in self._held:
                places = self._needed[window]
                future = self._pool.submit(partial(_read, self._reader, places))
                self._held[window] = _Window(places, future)
        for window in [window for window in self._held if window < wanted.start]:
            del self._held[window]
        return [self._held[window] for window in range(first, last + 1)]


def _read(reader: ImageReader, places: np.ndarray) -> np.ndarray:
    """Read images in ascending order, shard after shard."""
    out = np.empty((len(places), *reader.image_shape), reader.dtype)
    shards = places // reader.images_per_shard
    cuts = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(places)]
    for low, high in pairwise(cuts):
        if high > low:
            first = int(places[low])
            block = reader.read(first, int(places[high - 1]) + 1)
            out[low:high] = block[places[low:high] - first]
    return out


def _take(reader: ImageReader, windows: list[_Window], places: np.ndarray) -> np.ndarray:
    """Take images out of windows in memory, or off the disk."""
    if not windows:
        return reader.take(places)
    out = np.empty((len(places), *reader.image_shape), reader.dtype)
    for window in windows:
        there = np.isin(places, window.places, assume_unique=True)
        if there.any():
            out[there] = window.images.result()[np.searchsorted(window.places, places[there])]
    return out


def to_device(batch: Mapping[str, np.ndarray], device: str) -> dict[str, Any]:
    """Make tensors of arrays, on a device."""
    import torch

    tensors = {name: torch.from_numpy(np.ascontiguousarray(batch[name])) for name in batch}
    if device == "cpu":
        return tensors
    return {
        name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()
    }
