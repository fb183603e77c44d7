"""A stored stack as a stream: its frames come at a given rate, or as fast as they are taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.kept import newest
from hpdp_dask.dataflow.stream.batches import (
    FRAME_ID,
    Aside,
    Batch,
    EndOfStream,
    batch_name,
    ids_of,
)
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import open_frames, unit_of
from hpdp_dask.stacks.shards import ImageReader


class Replay:
    """The frames of a stack, in order, each at its time.

    A frame's id is its place in the stack. When the stream is full frames wait, in the stack:
    they come late, and none is lost.

    Parameters
    ----------
    path : path
        A stack of frames.
    batch : int
        Frames of a batch.
    rate : float, optional
        Frames a second; by default as fast as they are taken.
    needs : tuple of str, optional
        Variables of frames to read beside the photons.
    repeats : int, optional
        How often to go through the stack; ids go on counting.

    Raises
    ------
    InputError
        There is no such stack, or the rate is none.
    """

    keeps_frames = True

    def __init__(
        self,
        path: str | Path,
        batch: int,
        *,
        rate: float | None = None,
        needs: tuple[str, ...] = (),
        repeats: int = 1,
    ) -> None:
        if rate is not None and not rate > 0:
            raise InputError(f"replay at {rate:g} frames a second: give a rate above 0.")
        self._stack = open_frames(path)
        reader = ImageReader(path)
        self.unit = unit_of(self._stack)
        self.path = reader.layout.path
        self._state = (self.path / "zarr.json").stat().st_mtime_ns
        self.number = reader.number * repeats
        self.words = f"replay:{path}"
        self._per_round = reader.number
        self._batch = batch
        self._rate = rate
        self._needs = tuple(name for name in needs if name in self._stack)

    def begin(self, folder: Path, done: Collection[str]) -> None:
        """Start the clock; batches that are done do not come again."""
        self._left = [
            (first + start, first + min(start + self._batch, self._per_round))
            for first in range(0, self.number, self._per_round)
            for start in range(0, self._per_round, self._batch)
        ]
        self._left = [
            (start, stop) for start, stop in self._left if batch_name(start, stop - 1) not in done
        ]
        self._left.reverse()
        self._to_come = sum(stop - start for start, stop in self._left)
        self._began = time.time()
        self._given = 0

    def next(self, patience: float) -> Batch | Aside | None:
        """Give the next frames when their time has come."""
        if not self._left:
            raise EndOfStream
        start, stop = self._left[-1]
        first, last = self._due(self._given), self._due(self._given + stop - start)
        if (early := last - time.time()) > 0:
            time.sleep(min(early, patience))
            if early > patience:
                return None
        self._left.pop()
        self._given += stop - start
        self._to_come -= stop - start
        return Batch(
            batch_name(start, stop - 1), stop - start, (first, last), self._reading(start, stop)
        )

    def _due(self, frames: int) -> float:
        """Say when so many frames are there."""
        return time.time() if self._rate is None else self._began + frames / self._rate

    def shared(self, geometry: int = 0) -> xr.Dataset:
        """Give all variables of the stack that are not of frames."""
        names = [name for name in self._stack.variables if "frame" not in self._stack[name].dims]
        return self._stack[names].load()

    def again(self, name: str) -> Callable[[], xr.Dataset]:
        """Give what reads the frames of a batch."""
        first, last = ids_of(name)
        return self._reading(first, last + 1)

    def place_of(self, frame_id: int) -> tuple[str, int]:
        """Give the stack, and the number of a frame in it."""
        return str(self.path), frame_id % self._per_round

    def _reading(self, start: int, stop: int) -> Callable[[], xr.Dataset]:
        within = start % self._per_round
        return _ReadStack(self.path, self._state, within, within + stop - start, start, self._needs)

    def waiting(self) -> int:
        """Tell how many frames should have come by now, in whole batches, and were not taken."""
        if self._rate is None:
            return 0
        due = int((time.time() - self._began) * self._rate) - self._given
        return max(0, min(due, self._to_come)) // self._batch * self._batch

    def settled(self, batch: Batch) -> None:
        """The stack stays as it is."""

    def close(self) -> None:
        """Let go of the stack."""
        self._stack.close()


@dataclass(frozen=True)
class _ReadStack:
    """Reads frames of a stack; `first_id` is the id of the first."""

    path: Path
    state: int
    start: int
    stop: int
    first_id: int
    needs: tuple[str, ...]

    def __call__(self) -> xr.Dataset:
        reader = newest("replay", (self.path, self.state), partial(ImageReader, self.path))
        block = xr.Dataset(
            {
                reader.layout.array: (("frame", "y", "x"), reader.read(self.start, self.stop)),
                FRAME_ID: ("frame", self.first_id + np.arange(self.stop - self.start)),
            }
        )
        if not self.needs:
            return block
        table = newest("replay table", (self.path, self.state, self.needs), self._table)
        return block.assign(
            {
                name: (variable.dims, variable[self.start : self.stop])
                for name, variable in table.items()
            }
        )

    def _table(self) -> dict[str, xr.Variable]:
        stack = open_frames(self.path)
        return {name: stack[name].variable.load() for name in self.needs}
