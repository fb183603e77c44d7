"""Looks after the workers while somebody waits: says who is stuck, and has its tasks done anew.

Dask itself gives up a worker that is not heard of for `distributed.scheduler.worker-ttl`, after
minutes and in silence, and never a task that does not end. Tasks here may run twice: what they
write goes to files of one name, by rename.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from hpdp_dask.dataflow.notes import once

if TYPE_CHECKING:
    from distributed import Client, Scheduler

#: How often to look, seconds.
EVERY = 10.0
#: Without a word for so long, a worker is told of; then it is given up, seconds.
SILENT, LOST = 30.0, 60.0
#: A task is stuck when it takes so many times longer than its like, and longer than this, seconds.
TIMES, LEAST = 10.0, 60.0
#: So many of its like must have ended to know how long they take.
LIKE = 3


class At(NamedTuple):
    """What a worker is at.

    Attributes
    ----------
    address, name, host : str
        Of the worker.
    silent : float
        Seconds since it was heard of.
    key : object
        The task that it has been at for longest, among those that are waited for.
    task : str
        Its name on the dashboard.
    seconds : float
        Since when.
    usual : float
        How long its like take on average; infinite if that is not known.
    """

    address: str
    name: str
    host: str
    silent: float
    key: Any
    task: str
    seconds: float
    usual: float


@contextmanager
def watched(client: Client, say: Callable[[str], None] | None) -> Iterator[None]:
    """Look after the workers of a cluster for a while.

    Parameters
    ----------
    client : distributed.Client
    say : callable or None
        Told in words of a worker that is stuck, and that there is none; by default they are
        written to the standard error.
    """
    ended = threading.Event()
    watch = _Watch(client, once(say or partial(print, file=sys.stderr)))
    thread = threading.Thread(target=watch.run, args=(ended,), name="hpdp-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


class _Watch:
    def __init__(self, client: Client, say: Callable[[str], None]) -> None:
        self._client = client
        self._say = say
        self._silent: set[str] = set()
        self._restarted: set[Any] = set()
        self._alone: float | None = None

    def run(self, ended: threading.Event) -> None:
        """Look every now and then, until the client has gone or nobody waits any more."""
        last = time.time()
        while not ended.wait(EVERY):
            # a machine that slept would take the workers for lost, and so would one that is so
            # busy that this thread hardly runs
            asleep, last = time.time() - last > 3 * EVERY, time.time()
            if asleep:
                continue
            try:
                found = self._client.run_on_scheduler(look, self._client.id)
                if not ended.is_set():
                    self._judge(found)
            except Exception:
                # A client that is closed meanwhile fails in many ways, and whoever waits is told of
                # it. With any other fault to look is tried again: it must not fail the work.
                if self._client.status != "running":
                    return

    def _judge(self, found: list[At] | None) -> None:
        if found is None:
            self._alone = self._alone or time.time()
            if time.time() - self._alone > SILENT:
                self._say("there is no worker; waiting until one comes")
            return
        self._alone = None
        for at in found:
            who = f"worker {at.name} on {at.host}"
            if at.silent > LOST and at.address in self._silent:
                self._say(f"{who} is given up; its tasks go to others")
                self._restart(at)
            elif at.silent > SILENT:
                if at.address not in self._silent:
                    self._silent.add(at.address)
                    silent = f"has not been heard of for {_words(at.silent)}"
                    self._say(f"{who} {silent} (task {at.task})")
            elif at.seconds > max(TIMES * at.usual, LEAST):
                long = f"{who} has been at the task {at.task} for {_words(at.seconds)}"
                usual = f"others take {_words(at.usual)}"
                if at.key in self._restarted:
                    self._say(f"{long} where {usual}, and so was one before it; waiting for it")
                else:
                    self._restarted.add(at.key)
                    self._say(f"{long} where {usual}; the task goes to another")
                    self._restart(at)

    def _restart(self, at: At) -> None:
        self._silent.discard(at.address)
        self._client.run_on_scheduler(restart, at.address)


def look(client: str, dask_scheduler: Scheduler) -> list[At] | None:
    """Find what the workers are at that a client waits for; runs on the scheduler.

    Parameters
    ----------
    client : str
        Its name.
    dask_scheduler : distributed.Scheduler
        Given by Dask.

    Returns
    -------
    list of At or None
        Of each worker that has such a task; None if there is no worker at all.
    """
    if not dask_scheduler.workers:
        return None
    _let_run_elsewhere(dask_scheduler)
    now = time.time()
    longest: dict[str, At] = {}
    for task in _awaited(dask_scheduler, client):
        worker = task.processing_on
        if worker is None:
            continue
        silent = now - worker.last_seen
        begun = task in worker.executing
        at = At(
            worker.address,
            str(worker.name),
            worker.host,
            silent,
            task.key,
            task.prefix.name,
            # as the worker said when it was heard of last
            worker.executing[task] + silent if begun else 0.0,
            _usual(task),
        )
        if worker.address not in longest or at.seconds > longest[worker.address].seconds:
            longest[worker.address] = at
    return list(longest.values())


def _let_run_elsewhere(scheduler: Scheduler) -> None:
    """Let tasks run whose workers have gone all at once.

    Those that should run on a worker, but may on any, would wait for that one for ever: Dask
    overlooks that they may when the next workers come
    (`SchedulerState.bulk_schedule_unrunnable_after_adding_worker`, distributed 2026.8).
    """
    stranded = {task.key: "processing" for task in scheduler.unrunnable if task.loose_restrictions}
    if stranded:
        scheduler.transitions(stranded, stimulus_id=f"stranded-{time.time()}")


def _awaited(scheduler: Scheduler, client: str) -> set[Any]:
    """Find the tasks that a client waits for, with those that they wait for."""
    found: set[Any] = set()
    left = list(scheduler.clients[client].wants_what) if client in scheduler.clients else []
    while left:
        task = left.pop()
        if task not in found:
            found.add(task)
            left.extend(task.waiting_on or ())
    return found


def _usual(task: Any) -> float:
    """Give the mean time that tasks of one group have taken, seconds; infinite if not known."""
    states = task.group.states
    ended = states["memory"] + states["released"] + states["forgotten"]
    return task.group.all_durations["compute"] / ended if ended >= LIKE else float("inf")


async def restart(address: str, dask_scheduler: Scheduler) -> None:
    """Start a worker process anew, or let it go if it cannot be; runs on the scheduler.

    Parameters
    ----------
    address : str
        Of the worker.
    dask_scheduler : distributed.Scheduler
        Given by Dask.
    """
    await dask_scheduler.restart_workers(
        [address], wait_for_workers=False, on_error="return", stimulus_id=f"stuck-{time.time()}"
    )


def _words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
