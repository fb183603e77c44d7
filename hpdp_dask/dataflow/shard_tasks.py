"""One task for each shard of a stack that is being written, here or on workers."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.futures import RETRIES, device_resources, follow, refusing
from hpdp_dask.stacks.layout import read_layout

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

T = TypeVar("T")


def run_shards(
    task: Callable[..., T],
    stack: Path,
    name: str,
    *columns: np.ndarray,
    on_device: bool = False,
    client: Client | None = None,
    progress: Progress | None = None,
) -> list[T]:
    """Run a task for each shard of a stack.

    Parameters
    ----------
    task : callable
        `task(stack, shard, *rows)`, with the number of the shard and the rows of its images in
        each column. It is pickled into each task, so what it holds should be small.
    stack : Path
        With its array of images laid out.
    name : str
        One word for the dashboard and the bar.
    *columns : (number,) ndarray
        What is known of each image.
    on_device : bool, optional
        The tasks use a GPU where workers have one.
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
    ranges = [layout.shard_range(shard) for shard in shards]
    rows = [[column[start:stop] for start, stop in ranges] for column in columns]
    with shown(name, layout.number, client=client, progress=progress) as advance:

        def done(shard: int) -> None:
            advance(ranges[shard][1] - ranges[shard][0])

        if client is None:
            results = []
            for shard in shards:
                results.append(task(stack, shard, *(parts[shard] for parts in rows)))
                done(shard)
            return results
        run = secrets.token_hex(4)
        futures = client.map(
            refusing(partial(task, stack)),
            shards,
            *rows,
            key=[f"{name}-{run}-{shard}" for shard in shards],
            resources=device_resources(client) if on_device else None,
            retries=RETRIES,
            pure=False,
        )
        held = list(futures)
        follow(client, futures, done, f"{stack}: {name}")
        return client.gather(held)
