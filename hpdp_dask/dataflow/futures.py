"""Tasks that run on a cluster: where they may run, and what becomes of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from dask.utils import format_bytes, key_split

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
    workers = client.scheduler_info()["workers"].values()
    return {"GPU": 1} if any("GPU" in worker["resources"] for worker in workers) else None


def follow(client: Client, futures: list[Future], done: Callable[[int], None], doing: str) -> None:
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

    Raises
    ------
    InputError
        A task returned a `Refusal` or raised InputError, or the workers died under one.
    """
    from distributed import CancelledError, KilledWorker, as_completed

    limits = [limit for _, limit in memory_limits(client)]
    positions = {future.key: position for position, future in enumerate(futures)}
    pending = {future.key: future for future in futures}
    futures.clear()
    try:
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
    except CancelledError as error:
        raise RuntimeError(f"{doing}: the connection to the cluster was lost.") from error
    finally:
        # nobody wants what is left after an error, so the scheduler drops it; to cancel it by
        # force trips over tasks between these (distributed 2026.8, Scheduler.stimulus_cancel)
        for future in pending.values():
            future.release()


def memory_limits(client: Client) -> list[tuple[int, int]]:
    """Give the threads and the memory limit in bytes of each worker that has a limit."""
    workers: list[dict[str, Any]] = list(client.scheduler_info()["workers"].values())
    return [
        (worker["nthreads"], worker["memory_limit"]) for worker in workers if worker["memory_limit"]
    ]
