"""The shards whose images are mixed at a time: mapped or held, and read ahead."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Protocol

import numpy as np

from hpdp_dask.dataflow.training.order import Step
from hpdp_dask.stacks.layout import Layout
from hpdp_dask.stacks.shards import ImageReader

#: Bytes that are read at once to have them in the system's memory.
_BLOCK = 4 * 2**20


class Window(Protocol):
    """Images of some shards.

    Attributes
    ----------
    places : (n,) ndarray of int
        Of the images that may be asked for, sorted.
    """

    places: np.ndarray

    def take(self, places: np.ndarray) -> np.ndarray:
        """Give some of these images."""
        ...


class Windows:
    """Reads windows ahead, and lets go of those that are done with.

    Parameters
    ----------
    reader : ImageReader
    pool : ThreadPoolExecutor
        Whose thread reads.
    needed : list of (n,) ndarray of int
        Images of each window that will be asked for, sorted.
    """

    def __init__(
        self, reader: ImageReader, pool: ThreadPoolExecutor, needed: list[np.ndarray]
    ) -> None:
        self._reader, self._pool, self._needed = reader, pool, needed
        self._held: dict[int, Window] = {}

    def of(self, step: Step) -> list[Window]:
        """Give the windows that a step's images are in."""
        first, last = step.windows
        # the one after is read meanwhile
        wanted = range(first, min(len(self._needed), last + 2))
        make = _Mapped if self._reader.layout.raw else _Held
        for window in wanted:
            if window not in self._held:
                self._held[window] = make(self._reader, self._pool, self._needed[window])
        for window in [window for window in self._held if window < wanted.start]:
            del self._held[window]
        return [self._held[window] for window in range(first, last + 1)]


class _Held:
    """Images of packed shards, which are read whole."""

    def __init__(self, reader: ImageReader, pool: ThreadPoolExecutor, places: np.ndarray) -> None:
        self.places = places
        self._images: Future[np.ndarray] = pool.submit(partial(_read, reader, places))

    def take(self, places: np.ndarray) -> np.ndarray:
        return self._images.result()[np.searchsorted(self.places, places)]


class _Mapped:
    """Images of raw shards, taken one by one through a memory map.

    The maps last as long as the window: what is mapped counts as this process's memory. Shards
    are read through once before, in long pieces, so that to take an image finds it in the
    system's memory.
    """

    def __init__(self, reader: ImageReader, pool: ThreadPoolExecutor, places: np.ndarray) -> None:
        self.places = places
        self._reader = ImageReader(reader.layout.path)
        shards = np.unique(places // reader.images_per_shard)
        pool.submit(partial(_read_through, reader.layout, shards))

    def take(self, places: np.ndarray) -> np.ndarray:
        return self._reader.take(places)


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


def _read_through(layout: Layout, shards: np.ndarray) -> None:
    """Read shards for the system to have them in memory."""
    block = bytearray(_BLOCK)
    for shard in shards.tolist():
        # who takes images out of what is missing will say so
        with suppress(OSError), open(layout.shard_file(shard), "rb", buffering=0) as file:
            while file.readinto(block):
                pass
