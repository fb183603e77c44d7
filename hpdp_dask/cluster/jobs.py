"""A cluster whose workers are jobs of a batch scheduler, and which heals itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed import Scheduler, Security, SpecCluster
from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.utils import format_dashboard_link
from tornado.ioloop import PeriodicCallback

from hpdp_dask.cluster.batch import BatchJob, job_class, queued
from hpdp_dask.cluster.dashboard import show_at_first_visit
from hpdp_dask.cluster.groups import Held, count_work, job_of, let_go
from hpdp_dask.cluster.job_options import job_options
from hpdp_dask.cluster.local import SETTINGS as QUIET
from hpdp_dask.cluster.site import Site
from hpdp_dask.errors import InputError

log = logging.getLogger(__name__)

#: Seconds between two looks at the jobs.
LOOK_EVERY = 1.0
#: Seconds between two questions to the batch scheduler about jobs that wait.
ASK_AT_LEAST, ASK_AT_MOST = 1.0, 30.0
#: So many jobs of a group are submitted between two looks.
AT_ONCE = 20
#: A job whose worker is lost after fewer seconds counts as one that did not start.
YOUNG = 10.0
#: After so many failures in a row a group is hopeless.
FAILURES = 2
#: Dask's settings while such a cluster is there; what the YAML says goes before.
SETTINGS = {
    # jobs end, and their workers' tasks with them, without any fault of the tasks
    "distributed.scheduler.allowed-failures": 10,
    "distributed.deploy.lost-worker-timeout": "5s",
}


class JobCluster(SpecCluster):
    """Groups of jobs under one Dask scheduler, which is in this process.

    A job that ends is submitted again. While the batch scheduler refuses, or jobs end before
    their workers come, pauses grow up to five minutes. Workers are named *GROUP-NUMBER*, and
    *GROUP-NUMBER-PROCESS* where a job holds several.

    Parameters
    ----------
    site : Site
    security : distributed.Security or None
        Names files that all machines see.
    host, interface : str or None
        Where the scheduler listens; by default what the site says, else everywhere.
    scheduler_port : int or None
        By default what the site says.
    dashboard_address : str or None
        By default what the site says: any port of this machine that is free.
    log_directory : Path
        For the output of jobs; all machines must see it.

    Attributes
    ----------
    held : dict of str to Held
        The groups, by name.
    announces : bool
        Whether failures are logged as warnings when they happen.
    tell_jobs : callable or None
        Told of the numbers of all jobs when these change.
    """

    def __init__(
        self,
        site: Site,
        *,
        log_directory: Path,
        security: Security | None = None,
        host: str | None = None,
        interface: str | None = None,
        scheduler_port: int | None = None,
        dashboard_address: str | None = None,
    ) -> None:
        self.site = site
        self.announces = True
        self.tell_jobs: Callable[[list[str]], None] | None = None
        self._told: list[str] = []
        self._settings = contextlib.ExitStack()
        self._settings.enter_context(dask.config.set(QUIET | SETTINGS | site.dask))
        self._job_class = job_class(site.scheduler)
        self.held = {
            name: Held(
                group,
                job_options(site, group, security=security, log_directory=log_directory),
            )
            for name, group in site.groups.items()
        }
        self._patience = parse_timedelta(dask.config.get("distributed.deploy.lost-worker-timeout"))
        self._asked = 0.0
        self._work = asyncio.Lock()
        try:
            for name in self.held:
                self._check(name)
            super().__init__(
                workers={},
                scheduler={
                    "cls": Scheduler,
                    "options": {
                        "protocol": "tcp://" if security is None else "tls://",
                        "security": security,
                        "host": host or site.host,
                        "interface": None if host or site.host else interface or site.interface,
                        "port": site.port if scheduler_port is None else scheduler_port,
                        "dashboard": False,
                        "dashboard_address": dashboard_address or site.dashboard_address,
                    },
                },
                security=security,
                name=f"hpdp-{site.name}",
                silence_logs=logging.CRITICAL,
            )
        except BaseException:
            self._settings.close()
            raise

    def _check(self, group: str) -> None:
        """Find values that dask-jobqueue cannot make a job of."""
        try:
            self._job(group, "tcp://unknown")
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            raise InputError(
                f"{self.site.path}: no job can be made of the group {group} ({error})."
            ) from error

    def _job(self, group: str, scheduler: str) -> BatchJob:
        return self._job_class(scheduler, name=f"{group}-0", **self.held[group].options)

    async def _start(self) -> None:
        self.periodic_callbacks["heal"] = PeriodicCallback(self.heal, LOOK_EVERY * 1000)
        await super()._start()
        show_at_first_visit(self.scheduler)

    async def _close(self) -> None:
        for held in self.held.values():
            held.jobs, held.between = 0, None
        self.worker_spec.clear()
        try:
            await super()._close()
        finally:
            self._settings.close()

    def _update_worker_status(self, op: str, msg: Any) -> None:
        """Note that a worker came or went; which jobs have ended is found by `heal`."""
        Cluster._update_worker_status(self, op, msg)

    @property
    def dashboard_link(self) -> str:
        """Where the dashboard is, seen from the machine of the scheduler if only it may look."""
        server = self.scheduler.http_server
        host = str(self.site.dashboard_address).rpartition(":")[0]
        if host in ("", "0.0.0.0"):
            return str(super().dashboard_link)
        return str(format_dashboard_link(host, server.port))

    @property
    def refusals(self) -> dict[str, str]:
        """What was last said against the jobs of a group, by its name."""
        return {name: held.words for name, held in self.held.items() if held.words}

    def job_script(self, group: str) -> str:
        """Give what is submitted for a job of a group.

        Parameters
        ----------
        group : str

        Raises
        ------
        InputError
            There is no such group.
        """
        self._find(group)
        return str(
            self._job(group, self.scheduler.contact_address or self.scheduler.address).job_script()
        )

    def jobs(self, group: str) -> dict[str, BatchJob]:
        """Give the jobs of a group, waiting or running, by the name of their workers."""
        return {name: job for name, job in self.workers.items() if group_of(name) == group}

    def is_hopeless(self, group: str) -> bool:
        """Tell whether all jobs of a group were refused, or end at once again and again."""
        held = self.held[group]
        refused = bool(held.words) and not held.ended
        return not self.jobs(group) and (refused or held.failures >= FAILURES)

    def _find(self, group: str) -> Held:
        if group not in self.held:
            raise InputError(
                f"the cluster {self.site.name} has no group {group!r}; it has "
                f"{', '.join(self.held)}."
            )
        return self.held[group]

    def scale_group(self, group: str, workers: int) -> None:
        """Hold a number of workers in a group.

        Parameters
        ----------
        group : str
        workers : int
            Rounded up to whole jobs.

        Raises
        ------
        InputError
            There is no such group or number.
        """
        held = self._find(group)
        if workers < 0:
            raise InputError(f"{workers} workers of the group {group} are too few.")
        held.jobs, held.between = held.jobs_for(workers), None
        self.loop.add_callback(self.heal)

    def adapt_group(self, group: str, minimum: int, maximum: int) -> None:
        """Let the number of workers in a group follow the work.

        Parameters
        ----------
        group : str
        minimum, maximum : int
            Workers, rounded up to whole jobs.

        Raises
        ------
        InputError
            There is no such group, or no such numbers.
        """
        held = self._find(group)
        if not 0 <= minimum <= maximum or maximum == 0:
            raise InputError(
                f"the workers of the group {group} cannot be between {minimum} and {maximum}."
            )
        held.between = held.jobs_for(minimum), held.jobs_for(maximum)
        held.jobs = min(max(held.jobs, held.between[0]), held.between[1])
        self.loop.add_callback(self.heal)

    def scale(self, n: int = 0, memory: Any = None, cores: Any = None) -> None:
        """Hold a number of workers in the first group, as Dask's widget asks."""
        if self.status == Status.running:
            self.scale_group(next(iter(self.held)), n)

    def adapt(self, minimum: int = 0, maximum: int = 1, **options: Any) -> None:
        """Let the number of workers in the first group follow the work."""
        self.adapt_group(next(iter(self.held)), int(minimum), int(maximum))

    async def heal(self) -> None:
        """Bring the jobs to what is wanted: done every second, and when that changes."""
        if self.status != Status.running:
            return
        async with self._work:
            await self._look()
            work = count_work(self.scheduler, [held.group for held in self.held.values()])
            for name, held in self.held.items():
                if held.between is not None:
                    held.follow(work[name])
                await self._bring(name, held)
            await self._correct_state()
            for name in self.held:
                refused = {key: job for key, job in self.jobs(name).items() if job.refusal}
                if refused:
                    self._drop(refused)
                    self._failed(name, str(next(iter(refused.values())).refusal), ended=False)
            await self._correct_state()
            self._tell_jobs()

    def _tell_jobs(self) -> None:
        numbers = sorted(str(job.job_id) for job in self.workers.values() if job.job_id)
        if self.tell_jobs is None or numbers == self._told:
            return
        try:
            self.tell_jobs(numbers)
            self._told = numbers
        except OSError as error:  # a full quota must not cost the workers
            log.warning("The jobs cannot be noted: %s.", error)

    async def _look(self) -> None:
        """Find the jobs that have ended."""
        seen = {job_of(str(worker.name)) for worker in self.scheduler.workers.values()}
        now = time.monotonic()
        waiting: dict[str, BatchJob] = {}
        for name, job in list(self.workers.items()):
            if name in seen:
                job.joined = job.joined or now
                job.since = now
                if not job.proven and now - job.joined > YOUNG:
                    job.proven = True
                    self.held[group_of(name)].worked()
            elif not job.joined:
                waiting[name] = job
            elif now - job.since > self._patience:
                self._drop([name])
                if job.since - job.joined < YOUNG:
                    self._ended(job, "just after its worker came")
        if waiting:
            await self._look_for(waiting, now)

    async def _look_for(self, waiting: dict[str, BatchJob], now: float) -> None:
        """Ask the batch scheduler whether jobs whose workers never came are still there."""
        youngest = min(now - job.since for job in waiting.values())
        if now - self._asked < min(max(youngest / 10, ASK_AT_LEAST), ASK_AT_MOST):
            return
        self._asked = now
        known = await queued(self.site.scheduler)
        if known is None:
            return
        for job in waiting.values():
            job.absent = 0 if job.job_id in known else job.absent + 1
        # a job may be on its way into the list, or its worker on its way here
        ended = {name: job for name, job in waiting.items() if job.absent > 1 and not job.joined}
        self._drop(ended)
        for job in {group_of(name): job for name, job in ended.items()}.values():
            self._ended(job, "before its worker came")

    def _drop(self, names: Iterable[str]) -> None:
        """Let jobs be cancelled, if they are still there, and others take their place."""
        for name in names:
            self.worker_spec.pop(name, None)

    def _ended(self, job: BatchJob, when: str) -> None:
        words = f"the job {job.job_id} ended {when}"
        if written := job.end_of_log():
            words += f"; the end of what it wrote: {written}"
        self._failed(group_of(job.name), words, ended=True)

    def _failed(self, group: str, words: str, ended: bool) -> None:
        held = self.held[group]
        held.failed(words, ended)
        if self.announces:
            log.warning(
                "Workers of the group %s: %s. Trying again in %.0f s.",
                *(group, words.rstrip("."), held.pause),
            )

    async def _bring(self, group: str, held: Held) -> None:
        """Bring the jobs of a group to their number."""
        names = [name for name in self.worker_spec if group_of(name) == group]
        missing = min(held.jobs - len(names), AT_ONCE) if held.pause == 0 else 0
        for _ in range(missing):
            spec: dict[str, Any] = {"cls": self._job_class, "options": held.options}
            if held.group.processes > 1:
                spec["group"] = [f"-{index}" for index in range(held.group.processes)]
            self.worker_spec[f"{group}-{held.submitted}"] = spec
            held.submitted += 1
        if len(names) > held.jobs:
            number, idle_only = len(names) - held.jobs, held.between is not None
            self._drop(await let_go(self.scheduler, names, number, idle_only))


def group_of(worker: str) -> str:
    """Give the group of a worker, or of a job, from its name."""
    return worker.partition("-")[0]
