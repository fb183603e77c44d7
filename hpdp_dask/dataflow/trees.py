"""Sums over all images of a stack: leaves fold groups of shards, a tree adds the leaves.

How images are grouped follows from the stack and the reduction alone, so the result does not
depend on what runs it (`running`). Accumulators travel as results of tasks and never stay on a
worker as its state, which a worker that leaves would take with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import xarray as xr

from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.forecast import check_memory, lacking
from hpdp_dask.dataflow.leaves import (
    Leaf,
    group_shards,
    images_in,
    is_kept,
    load_leaf,
    own_folder,
    read_blocks,
    save_leaf,
)
from hpdp_dask.dataflow.progress import Progress
from hpdp_dask.dataflow.running import Done, on_host, run_tree
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    from distributed import Client

A = TypeVar("A")
R_co = TypeVar("R_co", covariant=True)

#: So many leaves take minutes.
_LONG_LEAVES = 16


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
    task: str = "fold"
    returns: bool = False

    @property
    def name(self) -> str:
        """Give the name of the reduction."""
        return self.reduction.name

    def fold(self, leaf: Leaf, done: Done) -> Any:
        """Fold a leaf: its accumulator, or the name of the file that keeps it."""
        if self.folder is not None and is_kept(leaf, self.folder):
            done(leaf.stop - leaf.start)
            return str(self.folder / leaf.file_name)
        accumulator = self.reduction.start()
        for block in read_blocks(self.path, leaf):
            accumulator = self.reduction.fold(accumulator, block)
            done(images_in(block))
        accumulator = on_host(accumulator)
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
    if client is not None:
        check_memory(client, reader, reduction, len(leaves), durable is not None)
    images = [leaf.stop - leaf.start for leaf in leaves]
    with shown(reduction.name, reader.number, client=client, progress=progress) as done:
        return run_tree(work, leaves, images, client, done)


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
