"""Files that appear in a folder as a stream."""

from __future__ import annotations

import hashlib
import json
import os
import time
from bisect import bisect_right
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
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import FrameSource
from hpdp_dask.stacks.frames import frame_table

#: Endings of names of files that are still being written.
UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".swp", "~")

#: A file that has not changed for so long and still cannot be read is damaged, seconds.
_DAMAGED = 10.0

#: What has been taken, in the folder of the stream.
_TAKEN = "taken.jsonl"

#: Bytes at the ends of a file that tell it from others.
_ENDS = 2**20

#: Only at each so many looks is it looked whether files changed that were taken.
_LOOKS = 20

Open = Callable[[Path], FrameSource]

#: Makes photons of what was read out.
Count = Callable[[xr.Dataset], xr.Dataset]


@dataclass(frozen=True)
class _Taken:
    """A file whose frames belong to the stream.

    Attributes
    ----------
    file : str
        Its path below the folder.
    size, time : int
        Bytes, and nanoseconds of its last change.
    digest : str
        Of its ends.
    first, frames : int
        Id of its first frame, and how many there are.
    """

    file: str
    size: int
    time: int
    digest: str
    first: int
    frames: int


class Directory:
    """The frames of files that appear in a folder, or below it, in the order of their names.

    A file is taken when it has not changed for a while and can be opened; names that begin with a
    dot or end as those of unfinished files do not count. It then gets the next free numbers for
    its frames, which are written down, so that they are the same after a restart. When the stream
    is full files wait where they are.

    Parameters
    ----------
    path : path
        The folder.
    batch : int
        Frames of a batch; a file's last may have fewer.
    open_file : callable
        Opens a file; is pickled into tasks.
    suffixes : tuple of str
        Endings of the names of files to take, as *.cxi*.
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
        self._suffixes = suffixes
        self._settle = settle
        self._idle = idle
        self._count = count
        self._next: deque[Batch] = deque()
        self._ready: deque[tuple[str, float]] = deque()
        #: of files that wait to be complete: size, time of change, and when they were seen so first
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}
        self._aside: dict[str, tuple[int, int]] = {}
        self._taken: dict[str, _Taken] = {}
        #: the same in the order of their frames, the first of each, and by what they hold
        self._order: list[_Taken] = []
        self._firsts: list[int] = []
        self._held: dict[tuple[int, str], _Taken] = {}
        self._shared: xr.Dataset | None = None
        self._looked = float("-inf")
        self._looks = 0
        self._came = time.monotonic()

    def begin(self, folder: Path, done: Collection[str]) -> None:
        """Read what was taken before; batches of it that have no results come again."""
        self._log = folder / _TAKEN
        self._done = done
        if self._log.exists():
            for line in _whole_lines(self._log):
                self._add(_Taken(**json.loads(line)))
        for taken in self._order:
            self._split(taken, time.time())

    def _add(self, taken: _Taken) -> None:
        self._taken[taken.file] = taken
        self._order.append(taken)
        self._firsts.append(taken.first)
        self._held[taken.size, taken.digest] = taken

    def next(self, patience: float) -> Batch | Aside | None:
        """Give the next frames of a file that was taken, or take another."""
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
        self._looks += 1
        for file, state in sorted(self._listed()):
            taken = self._taken.get(file)
            known = self._aside.get(file) or (taken and (taken.size, taken.time))
            if known == state or any(file == ready for ready, _ in self._ready):
                continue
            before, since = self._seen.get(file, (None, 0.0))
            if before != state:
                self._seen[file] = state, self._looked
                self._came = self._looked
            elif self._looked - since >= self._settle:
                self._ready.append((file, since))

    def _listed(self) -> list[tuple[str, tuple[int, int]]]:
        found = []
        for folder, folders, files in os.walk(self.path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                if not name.endswith(self._suffixes) or name.startswith("."):
                    continue
                if name.endswith(UNFINISHED):
                    continue
                path = Path(folder, name)
                file = str(path.relative_to(self.path))
                if file in self._taken and self._looks % _LOOKS:
                    continue
                with suppress(OSError):  # it went meanwhile
                    state = path.stat()
                    found.append((file, (state.st_size, state.st_mtime_ns)))
        return found

    def _take(self, file: str, since: float) -> Aside | None:
        """Take a file, or set it aside; None too if it should be looked at again."""
        state, _ = self._seen[file]
        path = self.path / file
        waited = time.monotonic() - since
        if file in self._taken:
            return self._refuse(file, state, "changed", "changed after it was taken")
        try:
            digest = _digest(path)
            source = self._open(path)
        except (InputError, OSError) as error:
            if waited > max(_DAMAGED, self._settle):
                return self._refuse(file, state, "damaged", str(error))
            return None  # it may still be written
        if other := self._held.get((state[0], digest)):
            words = f"holds what {other.file} holds"
            return self._refuse(file, state, "repeated", words, source.number)
        if self._shared is None and source.detector is not None:
            self._shared = frame_table(source.detector, {})
        first = self._order[-1].first + self._order[-1].frames if self._order else 0
        taken = _Taken(file, *state, digest, first, source.number)
        self._seen.pop(file)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(vars(taken)) + "\n")
            log.flush()
            os.fsync(log.fileno())
        self._add(taken)
        self._split(taken, time.time() - waited)
        return None

    def _refuse(
        self, file: str, state: tuple[int, int], reason: str, words: str, frames: int = 1
    ) -> Aside:
        self._seen.pop(file)
        self._aside[file] = state
        return Aside(reason, str(self.path / file), frames, words)

    def _split(self, taken: _Taken, arrived: float) -> None:
        """Hand a file out in batches."""
        end = taken.first + taken.frames
        for start in range(taken.first, end, self._batch):
            stop = min(start + self._batch, end)
            name = batch_name(start, stop - 1)
            if name not in self._done:
                self._next.append(
                    Batch(name, stop - start, (arrived, arrived), self._reading(taken, start, stop))
                )

    def _reading(self, taken: _Taken, start: int, stop: int) -> Callable[[], xr.Dataset]:
        return _ReadFile(
            self.path / taken.file,
            taken.time,
            self._open,
            start - taken.first,
            stop - start,
            start,
            self._count,
        )

    def shared(self) -> xr.Dataset | None:
        """Give geometry and mask as the first file had them."""
        if self._shared is None and self._order:
            path = self.path / self._order[0].file
            detector = self._open(path).detector
            self._shared = None if detector is None else frame_table(detector, {})
        return self._shared

    def again(self, name: str) -> Callable[[], xr.Dataset]:
        """Give what reads the frames of a batch."""
        first, last = ids_of(name)
        taken = self._order[bisect_right(self._firsts, first) - 1]
        return self._reading(taken, first, last + 1)

    def waiting(self) -> int:
        """Tell how many frames of the file at hand were not taken; of others nobody knows."""
        return sum(batch.frames for batch in self._next)

    def settled(self, batch: Batch) -> None:
        """Files stay as they are."""

    def close(self) -> None:
        """No file is open."""


def _digest(path: Path) -> str:
    """Digest the ends of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_ENDS))
        file.seek(max(0, path.stat().st_size - _ENDS))
        digest.update(file.read(_ENDS))
    return digest.hexdigest()


def _whole_lines(file: Path) -> list[str]:
    """Read the lines of a log; the last may have been cut off when a process was killed."""
    text = file.read_text(encoding="utf-8")
    whole, _, cut = text.rpartition("\n")
    if cut:
        os.truncate(file, len(whole.encode()) + bool(whole))
    return whole.splitlines()


@dataclass(frozen=True)
class _ReadFile:
    """Reads frames of a file; `first_id` is the id of the first of them."""

    path: Path
    time: int
    open_file: Open
    start: int
    frames: int
    first_id: int
    count: Count | None

    def __call__(self) -> xr.Dataset:
        source = newest("file", (self.path, self.time), partial(self.open_file, self.path))
        rows = slice(self.start, self.start + self.frames)
        columns = {name: np.asarray(values)[rows] for name, values in source.columns.items()}
        block = frame_table(None, columns).assign(
            {
                source.unit: (("frame", "y", "x"), source.read(rows.start, rows.stop)),
                FRAME_ID: ("frame", self.first_id + np.arange(self.frames)),
            }
        )
        return block if self.count is None else self.count(block)
