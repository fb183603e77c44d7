"""Files that appear in a folder as a stream."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
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
from hpdp_dask.dataflow.stream.geometries import Geometries
from hpdp_dask.dataflow.stream.ids import Intervals
from hpdp_dask.dataflow.stream.listing import Listing, State
from hpdp_dask.dataflow.stream.taken import Taken, TakenLog, digest_of
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import Detector, FrameSource
from hpdp_dask.stacks.frames import frame_table

#: A file that has not changed for so long and still cannot be read is damaged, seconds.
_DAMAGED = 10.0

#: What has been taken, in the folder of the stream.
_TAKEN = "taken.jsonl"

Open = Callable[..., FrameSource]

#: Makes photons of what was read out.
Count = Callable[[xr.Dataset], xr.Dataset]


class Directory:
    """The frames of files that appear in a folder, or below it, in the order of their names.

    A file is taken when it has not changed for a while and can be opened; names that begin with a
    dot or end as those of unfinished files do not count. It then gets the next free numbers for
    its frames, which are written down, so that they are the same after a restart. A batch may be
    of several files, if so many wait; when the stream is full files wait where they are.

    Parameters
    ----------
    path : path
        The folder.
    batch : int
        Frames of a batch at most.
    open_file : callable
        Opens a file; is pickled into tasks.
    suffixes : tuple of str
        Endings of the names of files to take, as *.cxi*.
    but : tuple of str, optional
        Endings of files not to take all the same.
    geometries : bool, optional
        Each file is measured with its own geometry. By default that of the first holds for all.
    settle : float, optional
        Seconds without a change after which a file is complete.
    idle : float, optional
        The stream ends when nothing new came for so many seconds; by default it goes on until it
        is ended.
    count : callable, optional
        Makes photons of frames as they were read out; is pickled into tasks.

    Raises
    ------
    InputError
        There is no such folder.
    """

    keeps_frames = True
    number = None

    def __init__(
        self,
        path: str | Path,
        batch: int,
        open_file: Open,
        suffixes: tuple[str, ...],
        *,
        but: tuple[str, ...] = (),
        geometries: bool = False,
        settle: float = 2.0,
        idle: float | None = None,
        count: Count | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        if not self.path.is_dir():
            raise InputError(f"{path}: no such folder; frames are to appear in it as files.")
        self.words = str(path)
        self._batch = batch
        self._open = open_file
        self._listing = Listing(self.path, suffixes, but)
        self._several = geometries
        self._geometries = Geometries()
        self._settle = settle
        self._idle = idle
        self._count = count
        self._next: deque[Batch] = deque()
        self._ready: deque[tuple[str, float]] = deque()
        #: spans of frames that are to be in one batch, and when the first of them was there
        self._gathered: list[tuple[Taken, int, int]] = []
        self._arrived = 0.0
        #: of files that wait to be complete: state, and when they were seen so first
        self._seen: dict[str, tuple[State, float]] = {}
        self._aside: dict[str, State] = {}
        self._looked = float("-inf")
        self._came = time.monotonic()

    def begin(self, folder: Path, done: Collection[str]) -> None:
        """Read what was taken before; frames of it that have no results come again."""
        self._listing.without = folder
        self._log = TakenLog(folder / _TAKEN)
        for number in range(1 + max((taken.geometry for taken in self._log.order), default=-1)):
            self._geometries.detectors.append(self._detector(number))
        measured = Intervals()
        for name in done:
            first, last = ids_of(name)
            measured.add(first, last + 1)
        for taken in self._log.order:
            for start, stop in measured.gaps(taken.first, taken.end):
                self._gather(taken, start, stop, time.time())
        self._hand_out()

    def next(self, patience: float) -> Batch | Aside | None:
        """Give the next frames of files that were taken, or take others."""
        until = time.monotonic() + patience
        while True:
            if self._next:
                return self._next.popleft()
            self._look()
            if self._ready:
                self._came = time.monotonic()
                file, since = self._ready.popleft()
                found = self._take(file, since)
                if found is not None:
                    return found
                continue
            if self._gathered:
                self._hand_out()
                continue
            now = time.monotonic()
            if self._idle is not None and not self._seen and now - self._came > self._idle:
                raise EndOfStream
            if now >= until:
                return None
            time.sleep(min(0.1, until - now))

    def _look(self) -> None:
        """Look which files there are, a few times while one settles."""
        if time.monotonic() - self._looked < min(1.0, self._settle / 2):
            return
        self._looked = time.monotonic()
        waiting = {file for file, _ in self._ready}
        for file, state in self._listing.look(self._log.by_file):
            taken = self._log.by_file.get(file)
            known = self._aside.get(file) or (taken and State(taken.size, taken.time))
            if known == state or file in waiting:
                continue
            before, since = self._seen.get(file, (None, 0.0))
            if before != state:
                self._seen[file] = state, self._looked
                self._came = self._looked
            elif self._looked - since >= self._settle:
                self._ready.append((file, since))

    def _take(self, file: str, since: float) -> Aside | None:
        """Take a file, or set it aside; None too if it should be looked at again."""
        state, _ = self._seen[file]
        path = self.path / file
        waited = time.monotonic() - since
        if file in self._log.by_file:
            return self._refuse(file, state, "changed", "changed after it was taken")
        try:
            digest = digest_of(path)
            source = self._open(path)
            if source.number == 1:
                source.read(0, 1)  # of other formats the header tells whether all is there
        except (InputError, OSError) as error:
            if waited > max(_DAMAGED, self._settle):
                return self._refuse(file, state, "damaged", str(error))
            return None  # it may still be written
        if other := self._log.holding(state.size, digest):
            words = f"holds what {other.file} holds"
            return self._refuse(file, state, "repeated", words, source.number)
        detector = source.detector
        if self._several or not self._geometries.detectors:
            geometry = self._geometries.number_of(detector)
        else:
            geometry = 0
        rows, columns = source.shape
        names = " ".join(sorted(name for name, v in source.columns.items() if _is_number(v)))
        kind = f"{rows}x{columns} {source.dtype} {source.unit} {names}".strip()
        first = self._log.next_id
        taken = Taken(file, state.size, state.time, digest, first, source.number, geometry, kind)
        self._seen.pop(file)
        self._log.add(taken)
        self._gather(taken, taken.first, taken.end, time.time() - waited)
        return None

    def _refuse(self, file: str, state: State, reason: str, words: str, frames: int = 1) -> Aside:
        self._seen.pop(file)
        self._aside[file] = state
        return Aside(reason, str(self.path / file), frames, words)

    def _gather(self, taken: Taken, start: int, stop: int, arrived: float) -> None:
        """Put frames of a file into batches, the first of them with those that were gathered."""
        if self._gathered:
            last, _, end = self._gathered[-1]
            if (end, last.geometry, last.kind) != (start, taken.geometry, taken.kind):
                self._hand_out()
        while start < stop:
            if not self._gathered:
                self._arrived = arrived
            held = sum(end - first for _, first, end in self._gathered)
            end = min(stop, start + self._batch - held)
            self._gathered.append((taken, start, end))
            if held + end - start == self._batch:
                self._hand_out()
            start = end

    def _hand_out(self) -> None:
        """Make a batch of the frames that were gathered."""
        if not self._gathered:
            return
        arrived = self._arrived, time.time()
        alone = tuple(self._batch_of([span], arrived) for span in self._gathered)
        whole = alone[0] if len(alone) == 1 else self._batch_of(self._gathered, arrived, alone)
        self._next.append(whole)
        self._gathered = []

    def _batch_of(
        self,
        spans: list[tuple[Taken, int, int]],
        arrived: tuple[float, float],
        parts: tuple[Batch, ...] = (),
    ) -> Batch:
        start, stop = spans[0][1], spans[-1][2]
        return Batch(
            batch_name(start, stop - 1),
            stop - start,
            arrived,
            self._reading(spans),
            geometry=spans[0][0].geometry,
            parts=parts,
        )

    def _reading(self, spans: list[tuple[Taken, int, int]]) -> Callable[[], xr.Dataset]:
        parts = tuple(
            _Part(self.path / taken.file, taken.time, start - taken.first, stop - start, start)
            for taken, start, stop in spans
        )
        return _ReadFiles(parts, self._open, self._count)

    def _detector(self, geometry: int) -> Detector | None:
        """Give a geometry as the first file of it has it."""
        file = next(taken.file for taken in self._log.order if taken.geometry == geometry)
        with suppress(InputError, OSError):  # the file may have gone since
            return self._open(self.path / file).detector
        return None

    def shared(self, geometry: int = 0) -> xr.Dataset | None:
        """Give geometry and mask as the first file that has them."""
        if geometry >= len(self._geometries.detectors):
            return None
        detector = self._geometries.detectors[geometry]
        return None if detector is None else frame_table(detector, {})

    def again(self, name: str) -> Callable[[], xr.Dataset]:
        """Give what reads the frames of a batch."""
        first, last = ids_of(name)
        return self._reading(
            [
                (taken, max(first, taken.first), min(last + 1, taken.end))
                for taken in self._log.of_frames(first, last + 1)
            ]
        )

    def place_of(self, frame_id: int) -> tuple[str, int]:
        """Give the file of a frame, and its number there."""
        (taken,) = self._log.of_frames(frame_id, frame_id + 1)
        return str(self.path / taken.file), frame_id - taken.first

    def waiting(self) -> int:
        """Tell how many frames of files that were taken wait; of others nobody knows."""
        return sum(batch.frames for batch in self._next)

    def settled(self, batch: Batch) -> None:
        """Files stay as they are."""

    def close(self) -> None:
        """No file is open."""


def _is_number(values: np.ndarray) -> bool:
    """Tell whether a column can go with the frames: numbers do, names of files need not."""
    return values.dtype.kind in "biuf"


@dataclass(frozen=True)
class _Part:
    """Frames of a file: from one on so many; `first_id` is the id of the first of them."""

    path: Path
    time: int
    start: int
    frames: int
    first_id: int


@dataclass(frozen=True)
class _ReadFiles:
    """Reads frames of files."""

    parts: tuple[_Part, ...]
    open_file: Open
    count: Count | None

    def __call__(self) -> xr.Dataset:
        blocks = [self._read(part) for part in self.parts]
        block = blocks[0] if len(blocks) == 1 else xr.concat(blocks, "frame")
        return block if self.count is None else self.count(block)

    def _read(self, part: _Part) -> xr.Dataset:
        source = newest("file", (part.path, part.time), partial(self.open_file, part.path))
        rows = slice(part.start, part.start + part.frames)
        columns = {
            name: values[rows] for name, values in source.columns.items() if _is_number(values)
        }
        return frame_table(None, columns).assign(
            {
                source.unit: (("frame", "y", "x"), source.read(rows.start, rows.stop)),
                FRAME_ID: ("frame", part.first_id + np.arange(part.frames)),
            }
        )
