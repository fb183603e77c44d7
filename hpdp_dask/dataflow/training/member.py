"""What one worker of a cluster does in a training: join the group, train, and count."""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

from hpdp_dask.dataflow.training.loop import Job, run_rank
from hpdp_dask.dataflow.training.step import TooLarge

#: How long to wait for another that is silent; how often to write and to look, seconds.
_PATIENCE, _EVERY = 600.0, 0.5

_DONE, _STOP = "images.json", "stop"


def clean(folder: Path) -> None:
    """Remove what workers and client told each other in an earlier attempt."""
    for name in (_DONE, _STOP):
        (folder / name).unlink(missing_ok=True)


def ask_to_stop(folder: Path) -> None:
    """Ask the group to stop, for others to join."""
    (folder / _STOP).touch()


def meeting_point() -> str:
    """Give an address on this machine where the processes of a group may meet."""
    from distributed import get_worker

    host = get_worker().address.rpartition("://")[2].rpartition(":")[0].strip("[]")
    with socket.create_server((host, 0)) as server:
        return f"tcp://{host}:{server.getsockname()[1]}"


def join_and_train(job: Job, rank: int, ranks: int, meeting: str) -> bool | TooLarge:
    """Join the group and train."""
    import torch
    from distributed import get_worker

    torch.set_num_threads(max(1, get_worker().state.nthreads))
    if ranks > 1:
        torch.distributed.init_process_group(
            "nccl" if torch.cuda.is_available() else "gloo",
            init_method=meeting,
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=_PATIENCE),
        )
    count = _Counting(job.folder) if rank == 0 else None
    try:
        return run_rank(job, rank, ranks, count, _Asked(job.folder))
    except Exception as error:
        # The group must be the last to go: where what averages gradients outlives it, torch ends it
        # with that, holding Python's lock, and waits for a thread that may want the lock.
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, TooLarge):
            return error.with_traceback(None)
        raise
    finally:
        if ranks > 1:
            torch.distributed.destroy_process_group()


class _Asked:
    """Tells whether the client asks to stop."""

    def __init__(self, folder: Path) -> None:
        self._file, self._looked = folder / _STOP, 0.0

    def __call__(self) -> bool:
        if time.monotonic() - self._looked < _EVERY:
            return False
        self._looked = time.monotonic()
        return self._file.exists()


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


def images_done(folder: Path) -> int:
    try:
        found: Any = json.loads((folder / _DONE).read_text())
    except (FileNotFoundError, ValueError):
        return 0
    return int(found)
