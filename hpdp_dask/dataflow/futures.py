"""Tasks that run on a cluster: where they may run, and what becomes of them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from dask.utils import format_bytes, key_split

from hpdp_dask.dataflow.watch import watched
from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

P = ParamSpec("P")
R = TypeVar("R")

#: How often a task is tried again after an error that may pass (a file server that hangs, say).
RETRIES = 3


@dataclass(frozen=True)
class Refusal:
    """What a task returns in place of a result when the user's data are at fault.

    An exception would be tried again as if it could pass.
    """

    message: str


def refusing(task: Callable[P, R]) -> Callable[P, R | Refusal]:
    """Let a task return a `Refusal` where it would raise `InputError`."""

    @functools.wraps(task)
    def wrapped(*args: P.args, **options: P.kwargs) -> R | Refusal:
        try:
            return task(*args, **options)
        except InputError as error:
            return Refusal(str(error))

    return wrapped


def device_resources(client: Client) -> dict[str, float] | None:
    """Give what tasks must ask for: a GPU, where workers have one."""
    workers = workers_of(client).values()
    return {"GPU": 1} if any("GPU" in worker["resources"] for worker in workers) else None


def workers_of(client: Client) -> dict[str, dict[str, Any]]:
    """Give what the scheduler knows of each worker, by its address.

    `Client.scheduler_info` now and then knows of none: every two seconds the client asks for the
    scheduler's figures without those of workers, and may do so between question and answer.
    """
    found: dict[str, dict[str, Any]] = client.sync(client.scheduler.identity, n_workers=-1)
    return found["workers"]


@contextmanager
def connected(client: Client | None, doing: str) -> Iterator[None]:
    """Tell in a sentence that the scheduler was lost.

    Parameters
    ----------
    client : distributed.Client or None
        None: there is none to lose.
    doing : str
        What is done to what.

    Raises
    ------
    InputError
        The scheduler is not there any more.
    """
    if client is None:
        yield
        return
    from distributed import CancelledError
    from distributed.client import ClosedClientError
    from distributed.comm import CommClosedError

    address = client.scheduler.address
    try:
        yield
    except (CancelledError, ClosedClientError, OSError) as error:
        # others may be of files; nobody here cancels futures
        lost = isinstance(error, (CancelledError, CommClosedError))
        if not lost and client.status == "running":
            raise
        # Dask would tell of it again, with a traceback
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        raise InputError(
            f"{doing}: the scheduler at {address} was lost; start the cluster and then this again."
        ) from error


def follow(
    client: Client,
    futures: list[Future],
    done: Callable[[int], None],
    doing: str,
    say: Callable[[str], None] | None = None,
) -> None:
    """Wait for tasks, letting go of the result of each as it ends.

    Whoever still needs a result holds on to its future, or has submitted a task that takes it.
    On an error, or Ctrl-C, what is left is dropped.

    Parameters
    ----------
    client : distributed.Client
    futures : list of Future
        The tasks. The list is emptied.
    done : callable
        Called with the position of each task in the list when it has ended.
    doing : str
        What the tasks do to what, for messages.
    say : callable, optional
        Told in words of workers that are stuck; see `watch.watched`.

    Raises
    ------
    InputError
        A task returned a `Refusal` or raised InputError, the workers died under one, or the
        scheduler was lost.
    """
    from distributed import KilledWorker, as_completed

    limits = [limit for _, limit in memory_limits(client)]
    positions = {future.key: position for position, future in enumerate(futures)}
    pending = {future.key: future for future in futures}
    futures.clear()
    try:
        with connected(client, doing), watched(client, say):
            for future in as_completed(list(pending.values())):
                if future.status in ("error", "cancelled"):
                    future.result()
                if future.type is Refusal:
                    raise InputError(future.result().message)
                done(positions[future.key])
                del pending[future.key], future
    except KilledWorker as error:
        limit = f" of {format_bytes(min(limits))}" if limits else ""
        raise InputError(
            f"{doing}: {error.allowed_failures + 1} worker processes died one after the other in "
            f"the task {key_split(error.task)}; most likely they reached their memory limit"
            f"{limit}: use fewer workers, or give them more memory."
        ) from error
    finally:
        # nobody wants what is left after an error, so the scheduler drops it; to cancel it by
        # force trips over tasks between these (distributed 2026.8, Scheduler.stimulus_cancel)
        for future in pending.values():
            future.release()


def await_worker(client: Client, say: Callable[[str], None] | None) -> None:
    """Wait until there is a worker: all may be on their way back.

    Parameters
    ----------
    client : distributed.Client
    say : callable or None
        Told if there is none for long.
    """
    with watched(client, say):
        client.wait_for_workers(1)


def memory_limits(client: Client) -> list[tuple[int, int]]:
    """Give the threads and the memory limit in bytes of each worker that has a limit."""
    return [
        (worker["nthreads"], worker["memory_limit"])
        for worker in workers_of(client).values()
        if worker["memory_limit"]
    ]
