"""One task for each shard of a stack that is being written, here or on workers."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.futures import RETRIES, follow, refusing
from hpdp_dask.stacks.layout import read_layout

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

T = TypeVar("T")


def run_shards(
    task: Callable[[Path, int], T],
    stack: Path,
    name: str,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
) -> list[T]:
    """Run a task for each shard of a stack.

    Parameters
    ----------
    task : callable
        Given the stack and the number of the shard. It is pickled into each task, so what it
        holds should be small. It returns what is wrong as an `InputError` is raised.
    stack : Path
        With its array of images laid out.
    name : str
        One word for the dashboard and the bar.
    client : distributed.Client, optional
        By default they run in this process, one after the other.
    progress : Progress, optional
        Told of the images of each shard that is done.

    Returns
    -------
    list
        What the tasks gave, in the order of the shards.

    Raises
    ------
    InputError
        A task refused its shard.
    """
    layout = read_layout(stack)
    shards = range(layout.shards)
    with shown(name, layout.number, client=client, progress=progress) as advance:

        def done(shard: int) -> None:
            start, stop = layout.shard_range(shard)
            advance(stop - start)

        if client is None:
            results = []
            for shard in shards:
                results.append(task(stack, shard))
                done(shard)
            return results
        run = secrets.token_hex(4)
        futures = client.map(
            refusing(partial(task, stack)),
            shards,
            key=[f"{name}-{run}-{shard}" for shard in shards],
            retries=RETRIES,
            pure=False,
        )
        held = list(futures)
        follow(client, futures, done, f"{stack}: {name}")
        return client.gather(held)
