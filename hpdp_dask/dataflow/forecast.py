"""How much memory a reduction takes on a worker, found before it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
from dask.utils import format_bytes

from hpdp_dask.dataflow.futures import await_worker, memory_limits, workers_of
from hpdp_dask.dataflow.leaves import block_length
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    from distributed import Client

#: How many sums a task of the tree adds.
BRANCHES = 4

#: Accumulators that a thread holds when they are kept on disk: one that is made, one that is
#: added to it, and what the end makes of the sum of all.
HELD_OF_DURABLE = 3

#: What a worker takes before it has any images.
IDLE_BYTES = 250 * 2**20
#: The share of a worker's memory that may be filled; from 0.6 on Dask puts results on disk.
_FILLED = 0.55

#: The working memory of a fold, in blocks of images.
BLOCKS_AT_WORK = 4


def most_held(leaves: int, lanes: int) -> int:
    """Give the most accumulators that a thread holds while all workers are equally fast.

    Behind a worker that lags more of them wait, at most as many again for each level of the
    tree; Dask puts on disk what the memory does not hold.

    Parameters
    ----------
    leaves : int
    lanes : int
        Threads of all workers.

    Returns
    -------
    int
        One that is folded, one that another worker has yet to fetch, those that a task of the
        tree adds, and a share of the sums that wait on its upper levels.
    """
    levels = 0
    while BRANCHES**levels < leaves:
        levels += 1
    upper = max(0, levels - 1) * (BRANCHES - 1)
    return 2 + min(BRANCHES, leaves) + -(-upper // lanes)


class Shortage(NamedTuple):
    """What a worker lacks: the accumulators that it holds, bytes needed, bytes that it has."""

    held: int
    needed: int
    limit: int


def lacking(
    client: Client, reader: ImageReader, reduction: Any, leaves: int, durable: bool
) -> Shortage | None:
    """Find a worker whose memory will not hold a reduction.

    Parameters
    ----------
    client : distributed.Client
        Workers without a memory limit are not asked.
    reader : ImageReader
        Of the stack.
    reduction : Reduction
    leaves : int
    durable : bool
        Whether accumulators are kept on disk.

    Returns
    -------
    Shortage or None
    """
    workers = memory_limits(client)
    lanes = sum(threads for threads, _ in workers)
    block = _block_bytes(reader)
    for threads, limit in workers:
        held = threads * (HELD_OF_DURABLE if durable else most_held(leaves, lanes))
        needed = IDLE_BYTES + held * reduction.nbytes + threads * BLOCKS_AT_WORK * block
        if needed > limit:
            return Shortage(held, needed, limit)
    return None


def _block_bytes(reader: ImageReader) -> int:
    """Give the size of a block as it is worked on: in float32, however it is kept."""
    rows, columns = reader.image_shape
    return block_length(reader) * rows * columns * 4


def check_memory(
    client: Client, reader: ImageReader, reduction: Any, leaves: int, durable: bool
) -> None:
    """Refuse a reduction that the workers' memory will not hold.

    Parameters are those of `lacking`.

    Raises
    ------
    InputError
        Says what is needed, what there is and what to do.
    """
    shortage = lacking(client, reader, reduction, leaves, durable)
    if shortage is not None:
        raise InputError(
            f"{reader.layout.path}: {reduction.name} needs {format_bytes(shortage.needed)} of "
            f"memory on each worker ({shortage.held} sums of {format_bytes(reduction.nbytes)} and "
            f"the images), and the workers have {format_bytes(shortage.limit)}; use fewer workers "
            "with more memory each, a coarser resolution, or images of a smaller box."
        )


class MemoryPlan(NamedTuple):
    """What the passes of a loop do with the memory of the workers.

    Attributes
    ----------
    room : int
        Bytes for prepared images in each worker process, so that it stays below Dask's threshold
        for putting results on disk.
    on_disk : bool
        Sums go through files, since the workers cannot hold those of a tree.
    words : str
        The need, for a person.
    """

    room: int
    on_disk: bool
    words: str


def plan_memory(
    client: Client | None,
    path: Path,
    expectation: Any,
    leaves: int,
    say: Callable[[str], None] | None = None,
) -> MemoryPlan:
    """Find what a pass over images needs, and how much is left to keep prepared images in.

    Parameters
    ----------
    client : distributed.Client or None
        If it has no workers, one is waited for.
    path : Path
        The stack, for messages.
    expectation : loops.Expectation
        The pass that takes the most.
    leaves : int
    say : callable, optional
        Told if there is no worker for long.

    Returns
    -------
    MemoryPlan

    Raises
    ------
    InputError
        The workers have too little memory even if sums go through files: what is needed, what
        there is and what to do.
    """
    if client is None:
        workers, lanes = [(1, psutil.virtual_memory().available)], 1
    else:
        while not (found := workers_of(client).values()):
            await_worker(client, say)
        total = psutil.virtual_memory().total
        workers = [(each["nthreads"], each["memory_limit"] or total) for each in found]
        lanes = sum(threads for threads, _ in workers)

    reader = ImageReader(path)
    block = BLOCKS_AT_WORK * _block_bytes(reader)  # read and transformed

    def need(threads: int, held: int) -> int:
        each = held * expectation.nbytes + expectation.working_bytes + block
        return IDLE_BYTES + threads * int(each)

    held = most_held(leaves, lanes)
    on_disk = any(need(threads, held) > _FILLED * limit for threads, limit in workers)
    if on_disk:
        held = HELD_OF_DURABLE
    threads, limit = min(workers, key=lambda each: each[1] - need(each[0], held))
    needed = need(threads, held)
    if needed > limit:
        raise InputError(
            f"{path}: {expectation.name} may need {format_bytes(needed)} of memory on each worker "
            f"({held} sums of {format_bytes(expectation.nbytes)} and "
            f"{format_bytes(expectation.working_bytes + block)} for the model and images, a "
            f"thread), and the workers have {format_bytes(limit)}; use fewer workers with more "
            "memory each, or images of a smaller box."
        )
    room = max(0, int(_FILLED * limit) - needed)
    where = ", sums in files" if on_disk else ""
    return MemoryPlan(
        room,
        on_disk,
        f"Memory: up to about {format_bytes(needed)} of {format_bytes(limit)} on each worker"
        f"{where}, and {format_bytes(room)} to keep images in between passes",
    )
