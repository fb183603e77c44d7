"""A tree of tasks, run in this process or on workers: leaves are folded, sums added, one end.

How images are grouped, and in which order sums are added, follows from the leaves alone, so the
result is the same, bit by bit, whatever runs it: this process, one worker or many, with or
without workers that die.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import uuid4
from weakref import WeakKeyDictionary

from hpdp_dask.dataflow.forecast import BRANCHES
from hpdp_dask.dataflow.futures import (
    RETRIES,
    Refusal,
    device_resources,
    follow,
    refusing,
    workers_of,
)
from hpdp_dask.dataflow.leaves import Leaf
from hpdp_dask.dataflow.notes import Voice, heard, noting, once
from hpdp_dask.numerics.arrays import to_host

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
Done = Callable[[int], None]

#: Sums are added as soon as they are there, before more are made.
_PRIORITY = 10

#: The workers of each client in the order of their leaves when these were given out last.
_orders: WeakKeyDictionary[Client, list[str]] = WeakKeyDictionary()


class Work(Protocol):
    """What the tasks of a tree do. It is pickled into each, so it should be small.

    Attributes
    ----------
    name : str
        One word for the dashboard.
    task : str
        What a leaf's task is called on the dashboard: *fold*, *expect*.
    path : Path
        The stack, for messages.
    returns : bool
        Whether leaves gain by coming to the worker that had them in the tree before.
    """

    @property
    def name(self) -> str:
        """One word for the dashboard."""

    @property
    def task(self) -> str:
        """What a leaf's task is called."""

    @property
    def path(self) -> Path:
        """The stack, for messages."""

    @property
    def returns(self) -> bool:
        """Whether a leaf should come to the worker that had it before."""

    def fold(self, leaf: Leaf, done: Done) -> Any:
        """Make the sum of a leaf, on the host, telling of images that are done."""

    def add(self, sums: Iterable[Any]) -> Any:
        """Add sums in their order, changing none of them."""

    def end(self, total: Any) -> Any:
        """Make the result of the sum of all."""


def on_host(accumulator: Any) -> Any:
    """Move what is on a device to the host: between tasks nothing stays on a device."""
    if isinstance(accumulator, tuple):
        return tuple(map(to_host, accumulator))
    return to_host(accumulator)


def run_tree(
    work: Work,
    leaves: list[Leaf],
    images: list[int],
    client: Client | None,
    done: Done | None,
    say: Callable[[str], None] | None = None,
) -> Any:
    """Run a tree of tasks.

    Parameters
    ----------
    work : Work
    leaves : list of Leaf
        At least one.
    images : list of int
        How many images each leaf tells of.
    client : distributed.Client or None
        Where to run; None for this process.
    done : callable or None
        Told of images that are done; negative numbers for some that must be done again.
    say : callable, optional
        Told in words what tasks `note`, each thing once, and of workers that are stuck.

    Returns
    -------
    object
        Of `work.end`.

    Raises
    ------
    InputError
        A task refused its images, workers died of it one after the other, or the scheduler was
        lost.
    """
    if client is None:
        with noting(once(say or _silent)):
            return _run_here(work, leaves, done or _silent)
    return _run_on_cluster(client, work, leaves, images, done, say)


def _silent(_words: object) -> None:
    pass


def _groups(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[first : first + BRANCHES] for first in range(0, len(items), BRANCHES)]


def _run_here(work: Work, leaves: list[Leaf], done: Done) -> Any:
    """Run in this process, holding one accumulator for each level of the tree."""

    def total(node: Any) -> Any:
        return work.fold(node, done) if isinstance(node, Leaf) else work.add(map(total, node))

    nodes: list[Any] = list(leaves)
    while len(nodes) > 1:
        nodes = [group if len(group) > 1 else group[0] for group in _groups(nodes)]
    return work.end(total(nodes[0]))


def _run_on_cluster(
    client: Client,
    work: Work,
    leaves: list[Leaf],
    images: list[int],
    done: Done | None,
    say: Callable[[str], None] | None,
) -> Any:
    token = f"{_spelled(work.name)}-{uuid4().hex}"
    counted = _Counts(done or _silent, leaves, images)
    note = once(say or _silent)

    def hear(words: dict[str, Any]) -> None:
        if "note" in words:
            note(words["note"])
        else:
            counted.set(words["leaf"], words["images"])

    with heard(client, token, hear) as voice:
        futures = _submit(client, work, leaves, voice, counts=done is not None)
        result = futures[-1]
        follow(client, futures, counted.complete, f"{work.path}, {work.name}", say)
        return result.result()


def _spelled(name: str) -> str:
    """Spell a name so that the dashboard shows all of it.

    Dask takes words of eight letters that begin with one of a to f, as *classify*, for hashes,
    unless they begin with a capital (`dask.utils.key_split`).
    """
    return re.sub(r"\b[a-f][a-z]{7}\b", lambda word: word[0].capitalize(), name)


def _submit(
    client: Client, work: Work, leaves: list[Leaf], voice: Voice, counts: bool
) -> list[Future]:
    """Submit one task a leaf, one for each sum of the tree, one for the end.

    Only the first and the last are returned: a sum in between lives until it is added.
    """
    token, resources = voice.run, device_resources(client)
    submit = partial(
        client.map, resources=resources, retries=RETRIES, pure=False, work=work, voice=voice
    )
    folded: list[Future] = []
    for worker, first, stop in _places(client, len(leaves), work.returns and resources is None):
        folded += submit(
            _fold_task,
            leaves[first:stop],
            key=[(f"{work.task}-{token}", index) for index in range(first, stop)],
            counts=counts,
            workers=worker,
            allow_other_workers=worker is not None,
        )
    nodes, level = folded, 0
    while len(nodes) > 1:
        groups = _groups(nodes)
        several = [group for group in groups if len(group) > 1]
        keys = [(f"tree-sum-{token}-{level}", index) for index in range(len(several))]
        sums = iter(submit(_add_task, several, key=keys, priority=_PRIORITY))
        nodes = [next(sums) if len(group) > 1 else group[0] for group in groups]
        level += 1
    return folded + submit(_end_task, nodes, key=[(f"finish-{token}", 0)], priority=_PRIORITY)


def _places(client: Client, number: int, returns: bool) -> list[tuple[str | None, int, int]]:
    """Say which leaves, from one to before another, each worker should have if it is free.

    Others take leaves from it when they have nothing else to do, those that came later too. Not
    for tasks that ask for a device: Dask would take a worker that has none for such another.
    """
    workers = list(workers_of(client)) if returns else []
    if not workers:
        return [(None, 0, number)]
    order = _orders[client] = _same_order(_orders.get(client, []), workers)
    bounds = [number * index // len(order) for index in range(len(order) + 1)]
    return [
        (worker, first, stop)
        for worker, first, stop in zip(order, bounds[:-1], bounds[1:], strict=True)
        if stop > first
    ]


def _same_order(before: list[str], workers: list[str]) -> list[str]:
    """Put workers in the order they had; new ones take the places of those that have gone."""
    new = [worker for worker in workers if worker not in before]
    order = [
        worker if worker in workers else new.pop(0) for worker in before if worker in workers or new
    ]
    return order + new


class _Counts:
    """Adds up the images of all leaves: what workers tell of, and leaves that are complete."""

    def __init__(self, done: Done, leaves: list[Leaf], images: list[int]) -> None:
        self._done = done
        self._leaves = leaves
        self._images = images
        self._folded = {leaf.start: 0 for leaf in leaves}

    def complete(self, position: int) -> None:
        """Count a leaf that has ended; the last of all tasks is none."""
        if position < len(self._leaves):
            self.set(self._leaves[position].start, self._images[position])

    def set(self, leaf: int, images: int) -> None:
        """Take what is done of a leaf; one that begins again counts from 0 again."""
        before, self._folded[leaf] = self._folded[leaf], images
        if images != before:
            self._done(images - before)


@refusing
def _fold_task(leaf: Leaf, *, work: Work, voice: Voice, counts: bool) -> Any:
    images = 0

    def done(more: int) -> None:
        nonlocal images
        images += more
        if counts:
            voice.tell(leaf=leaf.start, images=images)

    with noting(voice.note):
        return work.fold(leaf, done)


@refusing
def _add_task(sums: Sequence[Any], *, work: Work, voice: Voice) -> Any:
    with noting(voice.note):
        return _first_refusal(sums) or work.add(sums)


@refusing
def _end_task(total: Any, *, work: Work, voice: Voice) -> Any:
    with noting(voice.note):
        return _first_refusal([total]) or work.end(total)


def _first_refusal(sums: Sequence[Any]) -> Refusal | None:
    return next((part for part in sums if isinstance(part, Refusal)), None)
