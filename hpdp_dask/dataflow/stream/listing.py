"""Which files of a folder are new or have changed, looked at again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: Endings of names of files that are still being written.
UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".swp", "~")

#: Only at each so many looks is it looked whether files changed that were taken.
_LOOKS = 20

#: A folder whose time of change is younger may change again without a newer time, seconds.
_COARSE = 3.0


@dataclass(frozen=True)
class State:
    """What tells whether a file has changed: bytes, and nanoseconds of its last change."""

    size: int
    time: int


@dataclass
class _Folder:
    """Files and folders in a folder when its time of change was `time`, all below the first."""

    time: int
    files: list[str]
    folders: list[str]


class Listing:
    """The files of a folder and of those below it that have one of some endings.

    Names that begin with a dot or end as those of unfinished files do not count. A folder that
    has not changed is not read again, so a hundred thousand files that were taken cost nothing.

    Parameters
    ----------
    path : Path
    suffixes : tuple of str
    but : tuple of str
        Endings of others.
    """

    def __init__(self, path: Path, suffixes: tuple[str, ...], but: tuple[str, ...]) -> None:
        self._path = path
        self._suffixes = suffixes
        self._but = (*UNFINISHED, *but)
        self._known: dict[str, _Folder] = {}
        self._looks = 0
        #: Not looked into: the folder of the stream may lie in that which it watches.
        self.without: Path | None = None

    def look(self, taken: Container[str]) -> list[tuple[str, State]]:
        """Give files and their states, sorted by name.

        Parameters
        ----------
        taken : container of str
            Files that need not be looked at each time, since they should not change.

        Returns
        -------
        list of (str, State)
            Paths below the folder.
        """
        self._looks += 1
        every = not self._looks % _LOOKS
        found = []
        for file in sorted(file for file in self._files("") if every or file not in taken):
            with suppress(OSError):  # it went meanwhile
                state = (self._path / file).stat()
                found.append((file, State(state.st_size, state.st_mtime_ns)))
        return found

    def _files(self, below: str) -> Iterator[str]:
        """Give the files in a folder and below; none if it went."""
        with suppress(OSError):
            folder = self._read(below)
            yield from folder.files
            for inner in folder.folders:
                yield from self._files(inner)

    def _read(self, below: str) -> _Folder:
        """Read a folder, if it has changed."""
        path = self._path / below
        changed = path.stat().st_mtime_ns
        known = self._known.get(below)
        if known is not None and known.time == changed:
            return known
        found = _Folder(changed, [], [])
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if path / entry.name != self.without:
                        found.folders.append(os.path.join(below, entry.name))
                elif self._counts(entry.name):
                    found.files.append(os.path.join(below, entry.name))
        if time.time() - changed / 1e9 > _COARSE:
            self._known[below] = found
        return found

    def _counts(self, name: str) -> bool:
        name = name.lower()
        return name.endswith(self._suffixes) and not name.endswith(self._but)
