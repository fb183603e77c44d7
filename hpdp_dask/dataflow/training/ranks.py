"""Training by all workers of a cluster together, one process of a group on each."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdp_dask.dataflow.futures import (
    Refusal,
    await_worker,
    connected,
    device_resources,
    refusing,
    workers_of,
)
from hpdp_dask.dataflow.training.checkpoints import last_checkpoint
from hpdp_dask.dataflow.training.loop import Job, run_rank
from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

#: How often workers may die before the training gives up, and how long the others wait for one
#: that is silent, seconds.
_ATTEMPTS, _PATIENCE = 5, 600.0
#: How long after a failure it may take until the scheduler knows that a worker is gone, seconds.
_NOTICE = 30.0
#: How often to look how far they are, seconds.
_EVERY = 0.5

_DONE = "images.json"


def run_ranks(
    job: Job,
    client: Client,
    images: int,
    advance: Callable[[int], None],
    look: Callable[[], None],
    say: Callable[[str], None] | None = None,
) -> None:
    """Train on all workers of a cluster, again from the last checkpoint when one dies.

    Parameters
    ----------
    job : Job
    client : distributed.Client
    images : int
        Shown in an epoch.
    advance : callable
        Told of images that are done; negative for those that must be shown again.
    look : callable
        Called now and then.
    say : callable, optional
        Told of workers that died.

    Raises
    ------
    InputError
        As `loop.run_rank`; or workers died time and again.
    """

    def reached() -> int:
        found = last_checkpoint(job.folder, tensors=False)
        return found.epoch if found else 0

    first = reached()
    shown = 0
    with connected(client, f"{job.stack}, training"):
        for _ in range(_ATTEMPTS):
            begun = reached() - first
            advance(begun * images - shown)
            shown = begun * images

            def follow(number: int, begun: int = begun) -> None:
                nonlocal shown
                now = begun * images + number
                advance(now - shown)
                shown = now
                look()

            lost = _attempt(job, client, follow)
            if not lost:
                return
            if say is not None:
                say(
                    f"{lost} of the workers died; the training goes on from epoch {reached()} "
                    "with those that are there."
                )
    raise InputError(
        f"{job.stack}: workers died {_ATTEMPTS} times in the training; give them more memory, or "
        f"use fewer. The last checkpoint is kept in {job.folder}."
    )


def _attempt(job: Job, client: Client, follow: Callable[[int], None]) -> int:
    """Run one process on each worker; tell how many workers died under it, 0 when all is done."""
    await_worker(client, None)
    addresses = sorted(workers_of(client))[: job.settings.batch]
    (job.folder / _DONE).unlink(missing_ok=True)
    resources = device_resources(client)
    meeting = client.submit(
        _meeting_point, workers=addresses[:1], allow_other_workers=False, pure=False
    ).result()
    futures = {
        address: client.submit(
            refusing(_run),
            job,
            rank,
            len(addresses),
            meeting,
            workers=[address],
            allow_other_workers=False,
            resources=resources,
            retries=0,
            pure=False,
            key=f"train-{job.learner.name}-{meeting}-{rank}",
        )
        for rank, address in enumerate(addresses)
    }
    try:
        while True:
            time.sleep(_EVERY)
            follow(_images_done(job.folder))
            gone = len(set(addresses) - set(workers_of(client)))
            failed = [future for future in futures.values() if future.status == "error"]
            for future in futures.values():
                if future.status == "finished" and isinstance(refusal := future.result(), Refusal):
                    raise InputError(refusal.message)
            if failed and not gone:
                gone = _notice(client, addresses)
                if not gone:
                    failed[0].result()
            if gone:
                _settle(client, futures)
                return gone
            if all(future.status == "finished" for future in futures.values()):
                follow(_images_done(job.folder))
                return 0
    finally:
        for future in futures.values():
            future.release()


def _notice(client: Client, addresses: list[str]) -> int:
    """Wait until the scheduler knows of a worker that is gone; 0 if all stay."""
    until = time.monotonic() + _NOTICE
    while time.monotonic() < until:
        gone = len(set(addresses) - set(workers_of(client)))
        if gone:
            return gone
        time.sleep(_EVERY)
    return 0


def _settle(client: Client, futures: Mapping[str, Future]) -> None:
    """Wait until the processes on the workers that are left have noticed too."""
    until = time.monotonic() + _NOTICE
    while time.monotonic() < until:
        there = set(workers_of(client))
        if not any(futures[address].status == "pending" for address in there & set(futures)):
            return
        time.sleep(_EVERY)


def _meeting_point() -> str:
    """Give an address on this machine where the processes of a group may meet."""
    from distributed import get_worker

    host = get_worker().address.rpartition("://")[2].rpartition(":")[0].strip("[]")
    with socket.create_server((host, 0)) as server:
        return f"tcp://{host}:{server.getsockname()[1]}"


def _run(job: Job, rank: int, ranks: int, meeting: str) -> None:
    """Join the group and train."""
    import torch
    from distributed import get_worker

    torch.set_num_threads(max(1, get_worker().state.nthreads))
    if ranks == 1:
        run_rank(job, 0, 1, _Counting(job.folder))
        return
    torch.distributed.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        init_method=meeting,
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=_PATIENCE),
    )
    try:
        run_rank(job, rank, ranks, _Counting(job.folder) if rank == 0 else None)
    finally:
        torch.distributed.destroy_process_group()


class _Counting:
    """Writes down how many images are done, for the client to read."""

    def __init__(self, folder: Path) -> None:
        self._file, self._number, self._written = folder / _DONE, 0, 0.0

    def __call__(self, images: int) -> None:
        self._number += images
        if time.monotonic() - self._written > _EVERY:
            self._written = time.monotonic()
            hidden = self._file.with_name(f".{_DONE}.{os.getpid()}")
            hidden.write_text(json.dumps(self._number))
            os.replace(hidden, self._file)


def _images_done(folder: Path) -> int:
    try:
        found: Any = json.loads((folder / _DONE).read_text())
    except (FileNotFoundError, ValueError):
        return 0
    return int(found)
