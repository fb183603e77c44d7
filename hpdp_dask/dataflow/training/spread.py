"""A network applied to all images of a stack by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.futures import RETRIES, Refusal, device_resources, follow, refusing
from hpdp_dask.dataflow.training.apply import apply_network, best_device, enough_memory
from hpdp_dask.dataflow.training.learner import Learner
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    import torch
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


def apply_to_all(
    network: torch.nn.Module,
    learner: Learner,
    stack_path: str | Path,
    folder: Path,
    *,
    precision: str = "float32",
    threads: int = 1,
    client: Client | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, np.ndarray]:
    """Apply a network to all images of a stack, on a cluster a shard to a task.

    Parameters
    ----------
    network : torch.nn.Module
        Made by `learner.build`, of any weights.
    learner : Learner
    stack_path : path
        On a file system that the workers see too.
    folder : Path
        On that file system too; the weights are there while the workers need them.
    precision : str, optional
    threads : int, optional
        That read and prepare images, of each worker.
    client : distributed.Client, optional
        By default this process does it.
    progress : Progress, optional
        Told of images.
    say : callable, optional
        Told in words of workers that are stuck.

    Returns
    -------
    dict of str to (n, ...) ndarray
        What the learner gives; the same, bit by bit, for any number of workers of one kind.

    Raises
    ------
    InputError
        The stack has not what is needed; a shard is missing or damaged; workers died time and
        again; a GPU has not memory enough for one image.
    """
    import torch

    reader = ImageReader(stack_path)
    path, number, step = reader.layout.path, reader.number, reader.images_per_shard
    with shown(f"apply {learner.name}", number, client=client, progress=progress) as advance:
        if client is None:
            return apply_network(
                *(network, learner, path, 0, number),
                precision=precision,
                threads=threads,
                done=advance,
            )
        file = folder.absolute() / f".{uuid4().hex}.pt"
        try:
            torch.save(network.state_dict(), file)
            ranges = [(low, min(low + step, number)) for low in range(0, number, step)]
            futures = [
                client.submit(
                    refusing(_apply),
                    *(learner, path, file, low, high, precision, threads),
                    key=f"apply-{learner.name}-{file.stem}-{low}",
                    retries=RETRIES,
                    resources=device_resources(client),
                )
                for low, high in ranges
            ]
            found: dict[int, dict[str, np.ndarray]] = {}
            results = list(futures)

            def done(position: int) -> None:
                result = results[position].result()
                assert not isinstance(result, Refusal)
                found[position] = result
                advance(ranges[position][1] - ranges[position][0])

            follow(client, futures, done, f"{path}, applying the network", say)
        finally:
            file.unlink(missing_ok=True)
    parts = [found[position] for position in range(len(ranges))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _apply(
    learner: Learner, path: Path, file: Path, low: int, high: int, precision: str, threads: int
) -> dict[str, np.ndarray]:
    """Do one shard, on a worker."""
    import torch
    from distributed import get_worker

    torch.set_num_threads(max(1, get_worker().state.nthreads))
    with enough_memory(path):
        network = _network(learner, file)  # type: ignore[arg-type]  # a learner is hashable
    return apply_network(network, learner, path, low, high, precision=precision, threads=threads)


@lru_cache(maxsize=1)
def _network(learner: Learner, file: Path) -> torch.nn.Module:
    """Read the network that the shards of one stack need, once in a process.

    The threads of a worker share it, so it is where and as it is applied from the beginning.
    """
    import torch

    network = learner.build()
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.to(best_device()).eval()
