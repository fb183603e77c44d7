"""Sums over all images of a stack: leaves fold groups of shards, a tree adds the leaves.

How images are grouped, and in which order sums are added, follows from the stack and the
reduction alone, so the result is the same, bit by bit, whatever runs it: this process, one
worker or many, with or without workers that die. Accumulators travel as results of tasks and
never stay on a worker as its state, which a worker that leaves would take with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import uuid4

import xarray as xr

from hpdp_dask.dataflow.forecast import BRANCHES, check_memory, lacking
from hpdp_dask.dataflow.futures import (
    RETRIES,
    Refusal,
    device_resources,
    follow,
    refusing,
)
from hpdp_dask.dataflow.leaves import (
    Leaf,
    group_shards,
    is_kept,
    load_leaf,
    own_folder,
    read_blocks,
    save_leaf,
)
from hpdp_dask.dataflow.progress import Progress
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.arrays import to_host
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    from distributed import Client, Future

A = TypeVar("A")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

#: So many leaves take minutes.
_LONG_LEAVES = 16

#: Sums are added as soon as they are there, before more are made.
_PRIORITY = 10


class Reduction(Protocol[A, R_co]):
    """Many images in, one result out. Pure: it knows no files and no Dask.

    An accumulator is an array, or a tuple of arrays. `start` may make it on a device, where
    `fold` then adds to it; when a leaf is complete it moves to the host, and `merge` and `finish`
    get NumPy arrays. A reduction is pickled into each task, so it should be small: numbers and
    names.

    Attributes
    ----------
    name : str
        One word, which the dashboard and the progress bar show.
    nbytes : int
        Size of an accumulator.
    images_per_leaf : int
        How many images a task folds into an accumulator, at least. Chosen by the reduction
        alone, such that folding them takes much longer than adding an accumulator.
    """

    @property
    def name(self) -> str:
        """One word for the dashboard."""

    @property
    def nbytes(self) -> int:
        """Size of an accumulator."""

    @property
    def images_per_leaf(self) -> int:
        """How many images a leaf has at least."""

    def start(self) -> A:
        """Make an empty accumulator."""

    def fold(self, accumulator: A, block: xr.Dataset) -> A:
        """Add the images of a block, as `leaves.read_blocks` gives it.

        May change and return the accumulator that it is given.
        """

    def merge(self, accumulator: A, other: A) -> A:
        """Add another accumulator.

        May change and return the first; the other may be read-only and stays as it is.
        """

    def finish(self, accumulator: A) -> R_co:
        """Make the result. Leaves the accumulator as it is."""


@dataclass(frozen=True)
class _Work:
    """What every task of a reduction needs to know."""

    path: Path
    reduction: Reduction[Any, Any]
    finish: Callable[[Any], Any]
    folder: Path | None

    def fold(self, leaf: Leaf, done: Callable[[int], None]) -> Any:
        """Fold a leaf: its accumulator, or the name of the file that keeps it."""
        if self.folder is not None and is_kept(leaf, self.folder):
            done(leaf.stop - leaf.start)
            return str(self.folder / leaf.file_name)
        accumulator = self.reduction.start()
        for block in read_blocks(self.path, leaf):
            accumulator = self.reduction.fold(accumulator, block)
            done(block.sizes["particle"])
        accumulator = _to_host(accumulator)
        return accumulator if self.folder is None else self._keep(leaf, accumulator)

    def add(self, sums: Iterable[Any]) -> Any:
        """Add sums in their order; those that are kept on disk make way for theirs."""
        if self.folder is None:
            return self._sum(sums)
        files = list(sums)
        span = Leaf(Leaf.of_file(files[0]).start, Leaf.of_file(files[-1]).stop)
        if not is_kept(span, self.folder):
            self._keep(span, self._sum(files))
        for file in files:
            Path(file).unlink(missing_ok=True)
        return str(self.folder / span.file_name)

    def _keep(self, span: Leaf, accumulator: Any) -> str:
        assert self.folder is not None
        file = self.folder / span.file_name
        save_leaf(file, accumulator)
        return str(file)

    def _sum(self, sums: Iterable[Any]) -> Any:
        """Add to a copy of the first: Dask may need them again."""
        parts = map(self._accumulator, sums)
        total = deepcopy(next(parts))
        for part in parts:
            total = self.reduction.merge(total, part)
        return total

    def end(self, total: Any) -> Any:
        """Make the result of the sum of all."""
        return self.finish(self._accumulator(total))

    def _accumulator(self, total: Any) -> Any:
        return total if self.folder is None or not isinstance(total, str) else load_leaf(total)


def reduce_images(
    stack_path: str | Path,
    reduction: Reduction[A, Any],
    *,
    client: Client | None = None,
    finish: Callable[[A], Any] | None = None,
    durable: Path | None = None,
    progress: Progress | None = None,
) -> Any:
    """Reduce all images of a stack to one result.

    Parameters
    ----------
    stack_path : str or Path
        The stack, on a file system that the workers see too.
    reduction : Reduction
        What to do.
    client : distributed.Client, optional
        Where to; by default in this process.
    finish : callable, optional
        Makes the result of the sum, in place of `reduction.finish`. Runs on a worker.
    durable : Path, optional
        A folder to keep accumulators in, for reductions whose accumulator is a single array;
        then a worker holds few of them. Whatever is lost, what is there is not done again: not
        when all workers died, nor when this is called again. The sum of all stays in the folder.
    progress : Progress, optional
        Told of each block of images.

    Returns
    -------
    object
        What `finish` made.

    Raises
    ------
    InputError
        There is no such stack or it has no images, a shard is damaged, the reduction refused
        the images, the folder holds leaves of other work, or the workers have too little memory
        (which is found before the start, by a forecast).
    """
    reader = ImageReader(stack_path)
    path = reader.layout.path
    leaves = group_shards(reader.number, reader.images_per_shard, reduction.images_per_leaf)
    if not leaves:
        raise InputError(f"{path}: the stack has no images.")
    if durable is not None:
        durable = durable.absolute()
        own_folder(durable, path, reduction)
    work = _Work(path, reduction, finish or reduction.finish, durable)
    done = progress.track(reduction.name, reader.number).advance if progress else _silent
    if client is None:
        return _reduce_here(work, leaves, done)
    check_memory(client, reader, reduction, len(leaves), durable is not None)
    return _reduce_on_cluster(client, work, leaves, done)


def worth_keeping(
    stack_path: str | Path, reduction: Reduction[Any, Any], client: Client | None
) -> bool:
    """Tell whether a reduction should be durable.

    Parameters
    ----------
    stack_path : str or Path
        The stack.
    reduction : Reduction
    client : distributed.Client or None
        Where it will run.

    Returns
    -------
    bool
        It takes minutes, so that a part of it is worth saving, or the workers cannot hold the
        sums of its tree in memory.
    """
    reader = ImageReader(stack_path)
    leaves = len(group_shards(reader.number, reader.images_per_shard, reduction.images_per_leaf))
    if leaves >= _LONG_LEAVES:
        return True
    return client is not None and lacking(client, reader, reduction, leaves, False) is not None


def _to_host(accumulator: Any) -> Any:
    """Move what is on a device to the host: between tasks nothing stays on a device."""
    if isinstance(accumulator, tuple):
        return tuple(map(to_host, accumulator))
    return to_host(accumulator)


def _silent(_images: int) -> None:
    pass


def _groups(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[first : first + BRANCHES] for first in range(0, len(items), BRANCHES)]


def _reduce_here(work: _Work, leaves: list[Leaf], done: Callable[[int], None]) -> Any:
    """Reduce in this process, holding one accumulator for each level of the tree."""

    def total(node: Any) -> Any:
        return work.fold(node, done) if isinstance(node, Leaf) else work.add(map(total, node))

    nodes: list[Any] = list(leaves)
    while len(nodes) > 1:
        nodes = [group if len(group) > 1 else group[0] for group in _groups(nodes)]
    return work.end(total(nodes[0]))


def _reduce_on_cluster(
    client: Client, work: _Work, leaves: list[Leaf], done: Callable[[int], None]
) -> Any:
    """Reduce on workers."""
    token = f"{work.reduction.name}-{uuid4().hex}"
    counted = _Counts(done, leaves)
    topic = None if done is _silent else token
    if topic is not None:
        client.subscribe_topic(topic, counted.hear)
    try:
        futures = _submit(client, work, leaves, token, topic)
        result = futures[-1]
        follow(client, futures, counted.complete, f"{work.path}, {work.reduction.name}")
        return result.result()
    finally:
        if topic is not None:
            client.unsubscribe_topic(topic)


def _submit(
    client: Client, work: _Work, leaves: list[Leaf], token: str, topic: str | None
) -> list[Future]:
    """Submit one task a leaf, one for each sum of the tree, one for the end.

    Only the first and the last are returned: a sum in between lives until it is added.
    """
    submit = partial(
        client.map, resources=device_resources(client), retries=RETRIES, pure=False, work=work
    )
    folded: list[Future] = submit(
        _fold_task,
        leaves,
        key=[(f"fold-{token}", index) for index in range(len(leaves))],
        topic=topic,
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


class _Counts:
    """Adds up the images of all leaves: what workers tell of, and leaves that are complete."""

    def __init__(self, done: Callable[[int], None], leaves: list[Leaf]) -> None:
        self._done = done
        self._leaves = leaves
        self._folded = {leaf.start: 0 for leaf in leaves}

    def hear(self, event: tuple[float, dict[str, int]]) -> None:
        """Take the message of a worker; a leaf that begins again counts from 0 again."""
        _, message = event
        self._set(message["leaf"], message["images"])

    def complete(self, position: int) -> None:
        """Count a leaf that has ended; the last of all tasks is none."""
        if position < len(self._leaves):
            leaf = self._leaves[position]
            self._set(leaf.start, leaf.stop - leaf.start)

    def _set(self, leaf: int, images: int) -> None:
        before, self._folded[leaf] = self._folded[leaf], images
        if images != before:
            self._done(images - before)


@refusing
def _fold_task(leaf: Leaf, *, work: _Work, topic: str | None) -> Any:
    if topic is None:
        return work.fold(leaf, _silent)
    from distributed import get_worker

    worker, images = get_worker(), 0

    def done(more: int) -> None:
        nonlocal images
        images += more
        worker.log_event(topic, {"leaf": leaf.start, "images": images})

    return work.fold(leaf, done)


@refusing
def _add_task(sums: Sequence[Any], *, work: _Work) -> Any:
    return _first_refusal(sums) or work.add(sums)


@refusing
def _end_task(total: Any, *, work: _Work) -> Any:
    return _first_refusal([total]) or work.end(total)


def _first_refusal(sums: Sequence[Any]) -> Refusal | None:
    return next((part for part in sums if isinstance(part, Refusal)), None)
