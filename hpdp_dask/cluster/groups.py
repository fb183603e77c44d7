"""How many jobs a group of workers should have now, and which of them leave."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from distributed import Scheduler
from distributed.scheduler import TaskState, WorkerState

from hpdp_dask.cluster.site import Group

#: After a job that was refused, or ended before its worker came, so many seconds pass; twice as
#: many each time it happens again.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
#: So many seconds the work must need fewer workers before some leave.
IDLE = 5.0


@dataclass
class Held:
    """The jobs of a group that are wanted, and what happened to them.

    Attributes
    ----------
    group : Group
    options : dict
        Of the class of the jobs.
    jobs : int
        How many are wanted.
    between : tuple of int or None
        The least and the most jobs of a group that follows the work.
    submitted : int
        Jobs so far, which gives the next its name.
    failures : int
        In a row.
    words : str
        What was said of the last failure.
    ended : bool
        Whether the last failure was a job that ended, and not one that was refused.
    """

    group: Group
    options: dict[str, Any]
    jobs: int = 0
    between: tuple[int, int] | None = None
    submitted: int = 0
    failures: int = 0
    words: str = ""
    ended: bool = False
    _pause_until: float = 0.0
    _needed_since: float = field(default_factory=time.monotonic)

    def jobs_for(self, workers: int) -> int:
        """Give the jobs that hold at least so many workers."""
        return math.ceil(workers / self.group.processes)

    @property
    def workers(self) -> int:
        """The worker processes in the jobs that are wanted."""
        return self.jobs * self.group.processes

    def failed(self, words: str, ended: bool) -> None:
        """Note that a job was refused, or ended without a worker: the next waits longer."""
        pause = min(FIRST_PAUSE * 2**self.failures, LONGEST_PAUSE)
        self.failures += 1
        self.words, self.ended = words, ended
        self._pause_until = time.monotonic() + pause

    def worked(self) -> None:
        """Note that a worker came."""
        self.failures, self.words, self._pause_until = 0, "", 0.0

    @property
    def pause(self) -> float:
        """Seconds until the next job may be submitted."""
        return max(0.0, self._pause_until - time.monotonic())

    def follow(self, tasks: int) -> None:
        """Want as many jobs as there is work for; fewer only after a while.

        Parameters
        ----------
        tasks : int
            That run or wait for these workers.
        """
        assert self.between is not None
        least, most = self.between
        needed = min(max(self.jobs_for(tasks), least), most)
        now = time.monotonic()
        if needed >= self.jobs:
            self._needed_since = now
            self.jobs = needed
        elif now - self._needed_since > IDLE:
            self.jobs = needed


def count_work(scheduler: Scheduler, groups: list[Group]) -> dict[str, int]:
    """Count the tasks that run or wait, by the group whose workers they are for.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        In this process and its event loop.
    groups : list of Group

    Returns
    -------
    dict of str to int
        Tasks that ask for a GPU are for the first group that has one; all others are for the
        first that has none, or for the first where all have.
    """
    count = dict.fromkeys((group.name for group in groups), 0)
    for_gpu = next((group.name for group in groups if group.gpu), None)
    others = next((group.name for group in groups if not group.gpu), groups[0].name)

    def add(tasks: Any) -> None:
        for task in tasks:
            assert isinstance(task, TaskState)
            name = for_gpu if "GPU" in (task.resource_restrictions or {}) else others
            if name is not None:
                count[name] += 1

    add(scheduler.queued)
    add(scheduler.unrunnable)
    for worker in scheduler.workers.values():
        add(worker.processing)
    return count


async def let_go(scheduler: Scheduler, names: list[str], number: int, idle_only: bool) -> list[str]:
    """Choose jobs that should end, and let their workers hand over what they hold.

    First those whose workers have not come yet, then the youngest.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        In this process and its event loop.
    names : list of str
        Of the jobs of a group, the oldest first.
    number : int
        How many should end.
    idle_only : bool
        Whether only workers with nothing to do may leave, and only if others can take what they
        hold.

    Returns
    -------
    list of str
        The names of the jobs to end.
    """
    workers: dict[str, list[WorkerState]] = {name: [] for name in names}
    for worker in scheduler.workers.values():
        workers.get(job_of(str(worker.name)), []).append(worker)
    to_come = [name for name in names if not workers[name]][::-1][:number]
    there = [name for name in names[::-1] if workers[name]]
    if idle_only:
        there = [name for name in there if not any(it.processing for it in workers[name])]
    leaving = there[: number - len(to_come)]
    asked = [worker.address for name in leaving for worker in workers[name]]
    if asked:
        retired = await scheduler.retire_workers(workers=asked, close_workers=True)
        if idle_only:
            leaving = [
                name
                for name in leaving
                if all(worker.address in retired for worker in workers[name])
            ]
    return to_come + leaving


def job_of(worker: str) -> str:
    """Give the name of a worker's job: workers of one job have a number of their own."""
    return "-".join(worker.split("-")[:2])
