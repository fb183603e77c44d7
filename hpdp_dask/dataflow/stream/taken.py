"""Which files of a folder a stream has taken, and the numbers of their frames: a log on disk."""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

#: Bytes at the ends of a file that tell it from others.
_ENDS = 2**20


@dataclass(frozen=True)
class Taken:
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
    geometry : int
        Which of the geometries of the stream it has.
    kind : str
        What its frames are: those of one kind may be in one batch.
    """

    file: str
    size: int
    time: int
    digest: str
    first: int
    frames: int
    geometry: int = 0
    kind: str = ""

    @property
    def end(self) -> int:
        """Give the id after that of its last frame."""
        return self.first + self.frames


class TakenLog:
    """The files that were taken, in the order of their frames.

    Parameters
    ----------
    path : Path
        The log; read if it is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.by_file: dict[str, Taken] = {}
        self.order: list[Taken] = []
        self._firsts: list[int] = []
        self._held: dict[tuple[int, str], Taken] = {}
        if path.exists():
            for line in _whole_lines(path):
                self._put(Taken(**json.loads(line)))

    def add(self, taken: Taken) -> None:
        """Add a file; it is on disk when this returns."""
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(vars(taken)) + "\n")
            log.flush()
            os.fsync(log.fileno())
        self._put(taken)

    def _put(self, taken: Taken) -> None:
        self.by_file[taken.file] = taken
        self.order.append(taken)
        self._firsts.append(taken.first)
        self._held[taken.size, taken.digest] = taken

    @property
    def next_id(self) -> int:
        """Give the id of the next frame that is taken."""
        return self.order[-1].end if self.order else 0

    def holding(self, size: int, digest: str) -> Taken | None:
        """Give a file that holds the same, if there is one."""
        return self._held.get((size, digest))

    def of_frames(self, start: int, stop: int) -> list[Taken]:
        """Give the files that frames from `start` to before `stop` are in."""
        low = bisect_right(self._firsts, start) - 1
        return self.order[low : bisect_right(self._firsts, stop - 1)]


def digest_of(path: Path) -> str:
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
