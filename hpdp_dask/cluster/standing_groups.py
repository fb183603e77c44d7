"""The groups of workers of a standing cluster, seen and set from within its process.

Its scheduler answers three calls of its own, with plain numbers and words: what there is, set the
number of workers of a group, end. Other commands use them through their client, so they need no
file, no signal and no pickled function, and work from any machine that reaches the scheduler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from distributed import Scheduler, SpecCluster
from distributed.scheduler import WorkerState

from hpdp_dask.cluster.connection import END, SCALE, TELL
from hpdp_dask.cluster.jobs import JobCluster, group_of
from hpdp_dask.errors import InputError


class Groups(Protocol):
    """The groups of workers of a cluster."""

    @property
    def scheduler(self) -> str:
        """The batch scheduler that has the jobs."""

    @property
    def names(self) -> list[str]:
        """Their names."""

    def of(self, worker: WorkerState) -> str:
        """Tell the group of a worker."""

    def wanted(self, group: str) -> str:
        """Tell how many workers a group should have: `4`, or `0..8` when it follows the work."""

    def jobs(self, group: str) -> list[str]:
        """Give the batch scheduler's numbers of a group's jobs."""

    def refusal(self, group: str) -> str | None:
        """Give what the batch scheduler last said against a group's jobs."""

    def hopeless(self, group: str) -> bool:
        """Tell whether a group's jobs are refused, or end at once again and again."""

    def scale(self, group: str, minimum: int, maximum: int) -> None:
        """Set the number of workers, or two numbers between which it follows the work."""


class LocalGroups:
    """The workers of a cluster on this machine: one group.

    Parameters
    ----------
    cluster : distributed.SpecCluster
    name : str
        Of the group.
    scales : bool
        Whether all workers are alike, so that there can be more.
    """

    scheduler = "none"

    def __init__(self, cluster: SpecCluster, name: str, scales: bool) -> None:
        self.names = [name]
        self._cluster = cluster
        self._scales = scales
        self._range: tuple[int, int] | None = None
        cluster.new_spec = next(iter(cluster.worker_spec.values()))

    def of(self, worker: WorkerState) -> str:
        """Tell the group of a worker."""
        return self.names[0]

    def wanted(self, group: str) -> str:
        """Tell how many workers the group should have."""
        return _spoken(self._range) if self._range else str(len(self._cluster.worker_spec))

    def jobs(self, group: str) -> list[str]:
        """Give no jobs."""
        return []

    def refusal(self, group: str) -> str | None:
        """Give nothing: the machine does not refuse."""
        return None

    def hopeless(self, group: str) -> bool:
        """Tell that it is not."""
        return False

    def scale(self, group: str, minimum: int, maximum: int) -> None:
        """Set the number of workers."""
        if not self._scales:
            raise InputError(
                "each CUDA device has its worker, whose number stays; stop the cluster and start "
                "it with another --workers."
            )
        with suppress(AttributeError):  # there is none before the first time
            self._cluster._adaptive.stop()
        self._range = None
        if minimum == maximum:
            self._cluster.scale(minimum)
        else:
            self._range = minimum, maximum
            self._cluster.adapt(minimum=minimum, maximum=maximum)


class JobGroups:
    """The groups of a cluster of jobs.

    Parameters
    ----------
    cluster : JobCluster
    """

    def __init__(self, cluster: JobCluster) -> None:
        self.scheduler = cluster.site.scheduler
        self.names = list(cluster.held)
        self._cluster = cluster

    def of(self, worker: WorkerState) -> str:
        """Tell the group of a worker."""
        return group_of(str(worker.name))

    def wanted(self, group: str) -> str:
        """Tell how many workers a group should have."""
        held = self._cluster.held[group]
        if held.between is None:
            return str(held.workers)
        least, most = held.between
        return _spoken((least * held.group.processes, most * held.group.processes))

    def jobs(self, group: str) -> list[str]:
        """Give the batch scheduler's numbers of a group's jobs."""
        jobs = self._cluster.jobs(group).values()
        return sorted(str(job.job_id) for job in jobs if job.job_id is not None)

    def refusal(self, group: str) -> str | None:
        """Give what was last said against a group's jobs."""
        return self._cluster.refusals.get(group)

    def hopeless(self, group: str) -> bool:
        """Tell whether a group's jobs are refused, or end at once again and again."""
        return self._cluster.is_hopeless(group)

    def scale(self, group: str, minimum: int, maximum: int) -> None:
        """Set the number of workers."""
        if minimum == maximum:
            self._cluster.scale_group(group, minimum)
        else:
            self._cluster.adapt_group(group, minimum, maximum)


class Steering:
    """Answers the calls of other commands in the scheduler of a standing cluster.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        In this process.
    groups : Groups
    end : callable
        Asked to end the cluster.
    """

    def __init__(self, scheduler: Scheduler, groups: Groups, end: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._groups = groups
        self._end = end
        scheduler.handlers.update({TELL: self.tell, SCALE: self.scale, END: self.end})

    def tell(self) -> dict[str, Any]:
        """Tell what there is; see `standing.tell`."""
        workers: dict[str, list[WorkerState]] = {name: [] for name in self._groups.names}
        for worker in self._scheduler.workers.values():
            workers.setdefault(self._groups.of(worker), []).append(worker)
        states = Counter(task.state for task in self._scheduler.tasks.values())
        return {
            "scheduler": self._groups.scheduler,
            "groups": [self._group(name, there) for name, there in workers.items()],
            "tasks": {
                "running": sum(len(there.executing) for there in self._scheduler.workers.values()),
                "waiting": states["waiting"] + states["queued"] + states["no-worker"],
                "held": states["memory"],
            },
        }

    def _group(self, name: str, workers: list[WorkerState]) -> dict[str, Any]:
        return {
            "name": name,
            "wanted": self._groups.wanted(name),
            "workers": len(workers),
            "threads": sum(worker.nthreads for worker in workers),
            "memory": sum(worker.memory_limit or 0 for worker in workers),
            "used": sum(worker.metrics.get("memory", 0) for worker in workers),
            "jobs": self._groups.jobs(name),
            "refusal": self._groups.refusal(name),
            "hopeless": self._groups.hopeless(name),
        }

    def scale(self, group: str | None, minimum: int, maximum: int) -> str | None:
        """Set the number of workers of a group; give what is wrong with the wish, if anything."""
        names = self._groups.names
        known = f"the groups of this cluster are {', '.join(names)}"
        if group is None and len(names) > 1:
            return f"{known}; say which is meant, as {names[0]}={maximum}."
        if group is not None and group not in names:
            return f"there is no group {group!r}; {known}."
        try:
            self._groups.scale(group or names[0], minimum, maximum)
        except InputError as error:
            return str(error)
        return None

    def end(self) -> None:
        """End the cluster, after this call has been answered."""
        self._end()


def _spoken(numbers: tuple[int, int]) -> str:
    return "{}..{}".format(*numbers)
