"""The process of a standing cluster: `python -m hpdp_dask.cluster.serve NAME WHERE`.

It holds the scheduler and the jobs of workers until it is asked to end, by a call of
`hpdp cluster stop` or by a signal, and then takes everything away: jobs, processes, files.
What it prints is the cluster's log.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import dask
from distributed import SpecCluster, Status

from hpdp_dask import __version__
from hpdp_dask.cluster import connect
from hpdp_dask.cluster.connection import (
    JOBS_FILE,
    Connection,
    claimed_name,
    read_connection,
    remove_connection,
    remove_traces,
    write_connection,
    write_private,
)
from hpdp_dask.cluster.jobs import JobCluster
from hpdp_dask.cluster.local import SETTINGS
from hpdp_dask.cluster.orphans import shared_folder
from hpdp_dask.cluster.security import make_security
from hpdp_dask.cluster.site import Site, known_sites, load_site
from hpdp_dask.cluster.standing_groups import Groups, JobGroups, LocalGroups, Steering
from hpdp_dask.errors import InputError

_LOCAL = ("local", "local-cuda")
#: Certificates, in the folder that all machines see.
TLS = "tls"
#: How often jobs are noted and the scheduler is looked at, seconds.
_LOOK_EVERY = 1.0


class _Asked(BaseException):
    """A signal asked the process to end."""


def _ask(_signal: int, _frame: FrameType | None) -> None:
    for ignored in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ignored, _say_again)
    raise _Asked


def _say_again(_signal: int, _frame: FrameType | None) -> None:
    """Once is enough: an end that is interrupted would leave jobs behind."""
    _say("is ending")


def _say(line: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", flush=True)


def serve(name: str, where: str, workers: int | None, memory_limit: str | None) -> None:
    """Hold a cluster until it is asked to end.

    Parameters
    ----------
    name : str
        What it is called.
    where : str
        local, local-cuda, or the name or path of a site's file.
    workers : int or None
        By default as many as the cores, the devices, or what the site's file says of each group.
    memory_limit : str or None
        Of each worker of a cluster on this machine.

    Raises
    ------
    InputError
        The name is taken, or no such cluster can be started.
    """
    asked = threading.Event()
    with claimed_name(name) as folder:
        try:
            with _opened(name, where, workers, memory_limit) as (cluster, groups, shared):
                Steering(cluster.scheduler, groups, asked.set)
                connection = Connection(
                    name=name,
                    address=cluster.scheduler_address,
                    pid=os.getpid(),
                    host=socket.gethostname(),
                    where=where if where in {*_LOCAL, *known_sites()} else os.path.abspath(where),
                    shared=shared,
                    tls=shared / TLS if shared is not None and (shared / TLS).is_dir() else None,
                    dashboard=cluster.scheduler.http_server.port,
                    started=datetime.now(UTC),
                    version=__version__,
                )
                write_connection(connection)
                _say(f"{name} is at {connection.address}")
                _watch(name, cluster, groups, folder, asked)
                _say("ends")
        except _Asked:
            _say("ended, as a signal asked")
        except InputError:
            remove_traces(name)
            raise
        except BaseException:
            remove_connection(name)  # the log stays, to be read
            raise
        remove_traces(name)


@contextlib.contextmanager
def _opened(
    name: str, where: str, workers: int | None, memory_limit: str | None
) -> Iterator[tuple[SpecCluster, Groups, Path | None]]:
    """Start a cluster; give it with its groups and the folder that all machines see."""
    site = None if where in _LOCAL else load_site(where)
    if site is None or site.scheduler in _LOCAL:
        kind = where if site is None else site.scheduler
        # workers that come later are forked as the first ones are
        method = {"local": "forkserver", "local-cuda": "spawn"}[kind]
        dask.config.set({**SETTINGS, "distributed.worker.multiprocessing-method": method})
        given = where if site is None else str(site.path.absolute())
        with connect(given, workers=workers, memory_limit=memory_limit) as client:
            yield client.cluster, LocalGroups(client.cluster, kind, kind == "local"), None
        return
    if memory_limit is not None:
        raise InputError(f"{site.path}: says how much memory the workers have; change it there.")
    with _job_cluster(name, site, workers) as (cluster, shared):
        yield cluster, JobGroups(cluster), shared


@contextlib.contextmanager
def _job_cluster(name: str, site: Site, workers: int | None) -> Iterator[tuple[JobCluster, Path]]:
    """Start a cluster of jobs, with a folder that all machines see while it is there."""
    if workers is not None and len(site.groups) > 1:
        raise InputError(
            f"{site.path}: has the groups {', '.join(site.groups)}; start it without --workers, "
            f"then set the number of each with hpdp cluster scale {name} GROUP=N."
        )
    with contextlib.ExitStack() as stack:
        folder = shared_folder(site, name)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = JobCluster(
            site,
            log_directory=folder / "logs",
            security=make_security(folder / TLS) if site.tls else None,
        )
        stack.callback(cluster.close)
        for key, group in site.groups.items():
            if workers is not None:
                cluster.scale_group(key, workers)
            elif group.maximum is not None:
                cluster.adapt_group(key, group.minimum or 0, group.maximum)
            else:
                cluster.scale_group(key, group.workers or 0)
        yield cluster, folder


def _watch(
    name: str, cluster: SpecCluster, groups: Groups, folder: Path, asked: threading.Event
) -> None:
    """Wait until the cluster is asked to end, noting its jobs.

    Raises
    ------
    RuntimeError
        Its scheduler ended by itself.
    """
    noted: list[str] = []
    fault = ""
    while not asked.wait(_LOOK_EVERY):
        if cluster.scheduler.status != Status.running:
            raise RuntimeError(f"the scheduler is {cluster.scheduler.status.name}")
        jobs = sorted(job for group in groups.names for job in groups.jobs(group))
        try:
            written = read_connection(name)
            if written is None or written.pid != os.getpid():
                _say("was told to end: its file was removed")
                return
            if jobs != noted:
                noted_now = {"scheduler": groups.scheduler, "jobs": jobs}
                write_private(folder / JOBS_FILE, json.dumps(noted_now))
                noted = jobs
            fault = ""
        except (InputError, OSError) as error:
            # a full quota, or a file server that hangs, must not cost the workers
            if str(error) != fault:
                fault = str(error)
                _say(f"goes on, though: {fault}")


def main() -> None:
    """Read the command line and hold the cluster: a user's mistake is one sentence, code 2."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("where")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--memory-limit")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _ask)
    signal.signal(signal.SIGINT, _ask)
    try:
        serve(given.name, given.where, given.workers, given.memory_limit)
    except InputError as error:
        print(f"hpdp: {error}", flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
