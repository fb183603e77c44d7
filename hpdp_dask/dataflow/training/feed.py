"""Batches made ahead of the training by threads, from shards that are read ahead too."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from hpdp_dask.dataflow.training.ahead import made_ahead
from hpdp_dask.dataflow.training.learner import PLACE, STEP, Learner
from hpdp_dask.dataflow.training.order import Order, Step, share_of
from hpdp_dask.dataflow.training.windows import Window, Windows
from hpdp_dask.stacks.shards import ImageReader

#: Batches that are ready, or being made, for each thread that makes them.
_AHEAD = 3


class Feed:
    """Gives one worker its part of each batch of an epoch.

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
    device : str
        For which they are prepared: `cpu` or `cuda`.

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
        device: str = "cpu",
    ) -> None:
        self._reader, self._rows, self._learner, self._order = reader, rows, learner, order
        self._rank, self._ranks, self._threads = rank, ranks, threads
        self._device = device
        self.waited = 0.0

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Step, dict[str, Any]]]:
        """Give the batches of an epoch in turn, as tensors on the CPU.

        Parameters
        ----------
        epoch : int
        first : int, optional
            The step to begin with.

        Raises
        ------
        InputError
            A shard is missing or damaged.
        """
        steps = list(self._order.epoch(epoch))[first:]
        with (
            ThreadPoolExecutor(1, "read") as reading,
            ThreadPoolExecutor(self._threads, "prepare") as preparing,
        ):
            windows = Windows(self._reader, reading, self._needed(epoch, steps))
            given = ((epoch, step, windows.of(step)) for step in steps)
            made = made_ahead(preparing, self._make, given, _AHEAD * self._threads)
            try:
                for step, future in zip(steps, made, strict=True):
                    began = time.perf_counter()
                    batch = future.result()
                    self.waited += time.perf_counter() - began
                    yield step, batch
            finally:
                made.close()

    def mine(self, step: Step) -> np.ndarray:
        """Give the images of a step that this worker computes."""
        return share_of(step.images, self._rank, self._ranks)

    def _needed(self, epoch: int, steps: list[Step]) -> list[np.ndarray]:
        """Give the images of each window that this worker will be asked for, sorted."""
        wanted = np.sort(np.concatenate([self.mine(step) for step in steps] or [np.empty(0, int)]))
        return [
            np.intersect1d(window, wanted, assume_unique=True)
            for window in self._order.windows(epoch)
        ]

    def _make(self, given: tuple[int, Step, list[Window]]) -> dict[str, Any]:
        epoch, step, windows = given
        mine = self.mine(step)
        images = np.empty((len(mine), *self._reader.image_shape), self._reader.dtype)
        for window in windows:
            there = np.isin(mine, window.places, assume_unique=True)
            if there.any():
                images[there] = window.take(mine[there])
        seeds = (
            np.random.SeedSequence(self._order.seed, spawn_key=(1, epoch, image))
            for image in mine.tolist()
        )
        number = epoch * self._order.steps + step.number
        rows = {name: values[mine] for name, values in self._rows.items()}
        rows |= {PLACE: mine, STEP: np.full(len(mine), number)}
        batch = self._learner.prepare(images, rows, [np.random.default_rng(seed) for seed in seeds])
        return host_tensors(batch, self._device)


def host_tensors(batch: Mapping[str, np.ndarray], device: str) -> dict[str, Any]:
    """Make tensors of arrays on the CPU, in memory that a GPU can copy from by itself."""
    import torch

    tensors = {name: torch.from_numpy(np.ascontiguousarray(batch[name])) for name in batch}
    if device == "cpu":
        return tensors
    return {name: tensor.pin_memory() for name, tensor in tensors.items()}


def to_device(tensors: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Copy tensors to a device, if it is not the CPU, without waiting until they are there."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
