"""Start a cluster of jobs for as long as its client is there."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from distributed import Client

from hpdp_dask.cluster.batch import queued
from hpdp_dask.cluster.jobs import JobCluster, group_of
from hpdp_dask.cluster.local import LocalClient
from hpdp_dask.cluster.orphans import cancel_orphans, note_jobs, shared_folder
from hpdp_dask.cluster.security import make_security
from hpdp_dask.cluster.site import Site
from hpdp_dask.errors import InputError

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.1


def start_jobs(site: Site, *, workers: int | None = None, wait: float = 300.0) -> Client:
    """Submit jobs that hold workers, and wait for the first of each group.

    Parameters
    ----------
    site : Site
    workers : int or None
        Worker processes, where the site has one group; by default what its YAML says.
    wait : float
        Seconds. Goes on after these if some group has a worker.

    Returns
    -------
    distributed.Client
        Closing it ends the cluster and cancels its jobs.

    Raises
    ------
    InputError
        There is no such number, or no worker came; nothing is left in the queue.
    """
    if wait <= 0:
        raise InputError(f"{wait:g} seconds are too short to wait for a worker.")
    if workers is not None and (len(site.groups) > 1 or workers < 1):
        raise InputError(
            f"{workers} workers are too few; give a number from 1."
            if workers < 1
            else f"{site.path}: has the groups {', '.join(site.groups)}, each with its number of "
            "workers; change them there."
        )
    cancel_orphans(site.shared_directory)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_folder(site))
        cluster = JobCluster(
            site,
            log_directory=folder / "logs",
            security=make_security(folder / "tls") if site.tls else None,
        )
        stack.callback(cluster.close)
        cluster.announces = False
        cluster.tell_jobs = partial(note_jobs, folder, site.scheduler)
        for name, group in site.groups.items():
            first = max(group.workers or 0, group.minimum or 0, 1 if group.maximum else 0)
            cluster.scale_group(name, first if workers is None else workers)
        for words in _wait(cluster, wait):
            log.warning("No worker of a group came within %g s (%s); going on.", wait, words)
        for name, group in site.groups.items():
            if group.maximum is not None and workers is None:
                cluster.adapt_group(name, group.minimum or 0, group.maximum)
        cluster.announces = True
        client = LocalClient(cluster, direct_to_workers=False)
        client.resources = stack.pop_all()
        return client


@contextlib.contextmanager
def _folder(site: Site) -> Iterator[Path]:
    """Make a folder that all machines see; after a failure the logs stay, if there are any."""
    folder = shared_folder(site, site.name)
    try:
        yield folder
    except InputError as error:
        shutil.rmtree(folder / "tls", ignore_errors=True)
        logs = folder / "logs"
        if not logs.is_dir() or not any(path.stat().st_size for path in logs.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        raise InputError(f"{str(error).rstrip('.')}; what the jobs wrote is in {logs}.") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _wait(cluster: JobCluster, wait: float) -> list[str]:
    """Wait for a worker of each group; some group must have one in the end.

    Gives what is known of the jobs of those that have none.
    """
    patience = time.monotonic() + wait
    while True:
        # asked in the event loop, where these change
        there, hopeless = cluster.sync(_look, cluster)
        awaited = {name for name, held in cluster.held.items() if held.jobs} - there
        if not awaited:
            return []
        if not there and awaited <= hopeless:
            said = "; ".join(f"{name}: {cluster.refusals[name]}" for name in sorted(awaited))
            raise InputError(f"{cluster.site.path}: the workers do not start ({said.rstrip('.')}).")
        if time.monotonic() > patience:
            known = cluster.sync(_ask, cluster)
            if there:
                return [known[name] for name in sorted(awaited)]
            said = "; ".join(known[name] for name in sorted(awaited))
            raise InputError(
                f"{cluster.site.path}: no worker came within {wait:g} s ({said.rstrip('.')}); wait "
                "longer with --wait, or ask for less."
            )
        time.sleep(_LOOK_EVERY)


async def _look(cluster: JobCluster) -> tuple[set[str], set[str]]:
    """Tell which groups have workers, and which have none to hope for."""
    there = {group_of(str(worker.name)) for worker in cluster.scheduler.workers.values()}
    return there, {name for name in cluster.held if cluster.is_hopeless(name)}


async def _ask(cluster: JobCluster) -> dict[str, str]:
    """Tell what is known of the jobs of each group, in the batch scheduler's words."""
    said = await queued(cluster.site.scheduler) or {}
    known = {}
    for name in cluster.held:
        numbers = [str(job.job_id) for job in cluster.jobs(name).values()][:3]
        jobs = ", ".join(f"job {number} {said.get(number, '')}" for number in numbers) or "no job"
        known[name] = f"{name}: {cluster.refusals.get(name, jobs)}"
    return known
