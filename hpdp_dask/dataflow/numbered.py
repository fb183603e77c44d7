"""Numbered things that tasks make, several to a task, and write: here or on workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.leaves import Leaf, even_leaves
from hpdp_dask.dataflow.running import Done, run_tree

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


class Maker(Protocol):
    """Makes numbered things and writes them, so that nothing large travels.

    It is pickled into each task, so it should be small: paths and numbers.
    """

    def __call__(self, which: Leaf) -> None:
        """Make and write those from `which.start` to before `which.stop`."""


def make_numbered(
    make: Maker,
    number: int,
    per_task: int,
    name: str,
    path: Path,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Leaf]:
    """Have numbered things made and written, several to a task.

    Which ones a task makes together follows from their numbers alone, so they are the same for
    any number of workers. A task of a worker that was lost is done again by another, so what it
    writes should be whole or not there.

    Parameters
    ----------
    make : callable
        See `Maker`. An InputError that it raises ends all.
    number : int
        How many there are, at least one.
    per_task : int
        About how many a task makes: some seconds of work.
    name : str
        What they are, for the dashboard and the bar: *volumes*.
    path : Path
        What they are made of, for messages.
    client : distributed.Client, optional
        Where to make them, on GPUs where workers have some; by default in this process.
    progress : Progress, optional
        Told of how many are made.
    say : callable, optional
        Told in words of workers that are stuck.

    Returns
    -------
    list of Leaf
        What each task made.

    Raises
    ------
    InputError
        A task refused, workers died of it one after the other, or the scheduler was lost.
    """
    parts = even_leaves(number, 1, per_task)
    with shown(name, number, client=client, progress=progress) as done:
        run_tree(
            _Making(path, name, make),
            parts,
            [part.stop - part.start for part in parts],
            client,
            done,
            say,
        )
    return parts


@dataclass(frozen=True)
class _Making:
    """What every task needs to know; see `running.Work`."""

    path: Path
    name: str
    make: Maker
    task: str = "make"
    returns: bool = False

    def fold(self, leaf: Leaf, done: Done) -> None:
        """Make those of a leaf."""
        self.make(leaf)
        done(leaf.stop - leaf.start)

    def add(self, sums: Iterable[None]) -> None:
        """Wait for all."""
        for _ in sums:
            pass

    def end(self, total: None) -> None:
        """All are written."""
