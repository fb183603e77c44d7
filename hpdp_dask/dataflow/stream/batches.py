"""What a live stream is made of: batches of frames that a source gives, and what is set aside."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import xarray as xr

#: Names the frames of a batch: numbers that the source gives each of its frames for good.
FRAME_ID = "frame_id"

#: Why frames are set aside, in words.
REASONS = {
    "repeated": "came before",
    "late": "came long after their place in the stream",
    "changed": "a file that changed after it was taken",
    "damaged": "cannot be read, or are not like the frames of the stream",
    "values": "negative, infinite or no whole counts on good pixels",
    "failed": "their task failed again and again",
}


@dataclass(frozen=True)
class Batch:
    """Frames that one task works on.

    Attributes
    ----------
    name : str
        Names the files of its results. The same frames get the same name whenever they come.
    frames : int
    arrived : tuple of float
        When the first and the last of its frames were there, seconds as of `time.time`.
    read : callable
        Gives the frames, in whatever process: `photons` (frame, y, x) in memory, `frame_id`
        (frame,) int64, and what else is known of each frame. Is pickled into the task.
    geometry : int
        Which of the geometries of the source its frames have.
    parts : tuple of Batch
        The same frames, file by file, where they are of several.
    """

    name: str
    frames: int
    arrived: tuple[float, float]
    read: Callable[[], xr.Dataset]
    geometry: int = 0
    parts: tuple[Batch, ...] = ()


def batch_name(first: int, last: int) -> str:
    """Name a batch by the ids of its first and its last frame, so that names sort as these."""
    return f"{first:012d}-{last:012d}"


def ids_of(name: str) -> tuple[int, int]:
    """Give the ids of the first and the last frame of a batch by its name."""
    first, _, last = name.partition("-")
    return int(first), int(last)


@dataclass(frozen=True)
class Aside:
    """Frames that are not worked on.

    Attributes
    ----------
    reason : str
        One of `REASONS`.
    what : str
        The file, message or batch.
    frames : int
        How many; 1 for what cannot be read, of which nobody knows.
    words : str
        What is wrong.
    """

    reason: str
    what: str
    frames: int
    words: str


class Source(Protocol):
    """Where frames come from. Called from one thread, after `begin`.

    A source hands out batches as it is asked for them. When the stream is full it is not asked,
    and says in its documentation what becomes of frames that come meanwhile.

    Attributes
    ----------
    words : str
        The source as the user named it.
    keeps_frames : bool
        Whether frames can be read from it again later, by `again`.
    number : int or None
        How many frames there are in all; None if nobody knows.
    """

    @property
    def words(self) -> str:
        """The source as the user named it."""

    @property
    def keeps_frames(self) -> bool:
        """Whether frames can be read again."""

    @property
    def number(self) -> int | None:
        """How many frames there are in all; None if nobody knows."""

    def begin(self, folder: Path, done: Collection[str]) -> None:
        """Get ready.

        Parameters
        ----------
        folder : Path
            Of the stream; the source may keep files of its own in it.
        done : collection of str
            Names of batches that have results already.

        Raises
        ------
        InputError
            There is nothing at the source that could be a stream.
        """

    def next(self, patience: float) -> Batch | Aside | None:
        """Give what comes next; None if nothing came for so many seconds.

        Raises
        ------
        EndOfStream
            Nothing more will come.
        """

    def shared(self, geometry: int = 0) -> xr.Dataset | None:
        """Give what all frames of a geometry share: it, and the mask, as far as the source knows.

        Asked before `begin`, and if it knows nothing then, after the first batch came.
        """

    def again(self, name: str) -> Callable[[], xr.Dataset]:
        """Give what reads the frames of an earlier batch again, where the source keeps frames."""

    def place_of(self, frame_id: int) -> tuple[str, int]:
        """Give the file or stack that a frame is in, and its number there; for people."""

    def waiting(self) -> int:
        """Tell how many frames are known to be there that were not asked for."""

    def settled(self, batch: Batch) -> None:
        """Hear that the results of a batch are on disk."""

    def close(self) -> None:
        """Let go of files and sockets."""


class EndOfStream(Exception):
    """A source has no more frames, and never will."""
