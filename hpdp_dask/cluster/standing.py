"""Clusters that outlive the shell: found by name, joined, asked, scaled, ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from dask.utils import format_bytes
from distributed import Client
from distributed.security import Security

from hpdp_dask.cluster.answer import ANSWER_TIMEOUT, check_answer
from hpdp_dask.cluster.connection import (
    END,
    JOBS_FILE,
    SCALE,
    TELL,
    Connection,
    claimed_name,
    read_connection,
    remove_traces,
)
from hpdp_dask.errors import InputError

#: How long a process may take to end all it holds, seconds.
END_PATIENCE = 60.0
LOOK_EVERY = 0.2


class Group(NamedTuple):
    """A group of workers of a standing cluster.

    Attributes
    ----------
    name : str
    wanted : str
        How many workers it should have: `4`, or `0..8` when it follows the work.
    workers, threads : int
        That are there.
    memory, used : int
        Of these workers, bytes.
    jobs : list of str
        The batch scheduler's numbers of its jobs, waiting or running.
    refusal : str or None
        What the batch scheduler last said against its jobs.
    hopeless : bool
        Its jobs are refused, or end at once again and again.
    """

    name: str
    wanted: str
    workers: int
    threads: int
    memory: int
    used: int
    jobs: list[str]
    refusal: str | None
    hopeless: bool

    @property
    def memory_words(self) -> str:
        """The memory in use and that of all its workers, for people."""
        return f"{format_bytes(self.used)} of {format_bytes(self.memory)}"


class State(NamedTuple):
    """What a standing cluster has and does.

    Attributes
    ----------
    scheduler : str
        The batch scheduler that has the jobs; *none* on this machine.
    groups : list of Group
    running, waiting, held : int
        Tasks that workers run, that wait, and whose results workers hold.
    """

    scheduler: str
    groups: list[Group]
    running: int
    waiting: int
    held: int


def find(name: str) -> Connection | None:
    """Find a standing cluster by its name.

    Returns
    -------
    Connection or None
        None when there is none of that name.

    Raises
    ------
    InputError
        Its file cannot be read.
    """
    return read_connection(name)


def join(connection: Connection) -> Client:
    """Connect to a standing cluster.

    Parameters
    ----------
    connection : Connection

    Returns
    -------
    distributed.Client
        Closing it leaves the cluster as it is.

    Raises
    ------
    InputError
        The cluster has gone, or does not answer: says how to clear its file.
    """
    if connection.gone:
        raise InputError(
            f"the cluster {connection.name} of {connection.started:%Y-%m-%d %H:%M} has gone "
            f"without clearing its file; clear it with hpdp cluster stop {connection.name}."
        )
    security = _security(connection)
    try:
        check_answer(connection.address, security)
        return StandingClient(connection, security)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"the cluster {connection.name} does not answer at {connection.address} on "
            f"{connection.host}; if it has gone, clear its file with hpdp cluster stop "
            f"{connection.name}."
        ) from error


class StandingClient(Client):
    """A client of a standing cluster, which knows where its dashboard listens."""

    def __init__(self, connection: Connection, security: Security | None) -> None:
        self._connection = connection
        super().__init__(connection.address, timeout=ANSWER_TIMEOUT, security=security, name="hpdp")

    @property
    def dashboard_link(self) -> str:
        """On the cluster's own machine."""
        return self._connection.dashboard_link


def _security(connection: Connection) -> Security | None:
    if connection.tls is None:
        return None
    from hpdp_dask.cluster.security import load_security

    return load_security(connection.tls)


def ask(client: Client) -> State:
    """Ask the standing cluster that a client has joined; see `tell`."""
    said = _call(client, TELL)
    groups = [Group(**{**group, "jobs": list(group["jobs"])}) for group in said["groups"]]
    return State(said["scheduler"], groups, **said["tasks"])


def _call(client: Client, name: str, **words: Any) -> Any:
    """Call what only the scheduler of a standing cluster answers."""
    try:
        return client.sync(getattr(client.scheduler, name), **words)
    except OSError as error:
        raise InputError(
            "the cluster's scheduler ended while it was asked; see hpdp cluster status."
        ) from error


def describe_jobs(scheduler: str, group: Group) -> str:
    """Say what the batch scheduler says of a group's jobs: how many wait, and why.

    Parameters
    ----------
    scheduler : str
    group : Group

    Returns
    -------
    str
        As *2 RUNNING, 1 PENDING Resources*; empty where there are none.
    """
    if not group.jobs:
        return ""
    from hpdp_dask.cluster.batch_queue import jobs_in_queue

    said = jobs_in_queue(scheduler) or {}
    words = Counter(said.get(job, "of which it says nothing") for job in group.jobs)
    return ", ".join(f"{number} {what}" for what, number in words.items())


def tell(connection: Connection) -> State:
    """Tell what a standing cluster has and does.

    Raises
    ------
    InputError
        It has gone, or does not answer.
    """
    with join(connection) as client:
        return ask(client)


def scale(connection: Connection, group: str | None, minimum: int, maximum: int) -> None:
    """Set the number of workers of a group of a standing cluster.

    Parameters
    ----------
    connection : Connection
    group : str or None
        None for the only one.
    minimum, maximum : int
        Equal for a fixed number; else the group follows the work between them.

    Raises
    ------
    InputError
        There is no such group, or the cluster does not answer.
    """
    with join(connection) as client:
        wrong = _call(client, SCALE, group=group, minimum=minimum, maximum=maximum)
    if wrong is not None:
        raise InputError(f"{connection.name}: {wrong}")


def stop(connection: Connection) -> bool:
    """End a standing cluster: its workers, its jobs, its process; and remove its file.

    Parameters
    ----------
    connection : Connection

    Returns
    -------
    bool
        False when it had gone already; its file, and jobs that still wait, are taken away.
    """
    here = connection.host == socket.gethostname()
    if connection.gone:
        clear(connection.name, connection.shared)
        return False
    answered = _ask_to_end(connection)
    if here and not answered:
        with contextlib.suppress(ProcessLookupError):
            os.kill(connection.pid, signal.SIGTERM)
    patience = time.monotonic() + (END_PATIENCE if here or answered else 0.0)
    while time.monotonic() < patience:
        there = read_connection(connection.name)
        if (there is None or there.pid != connection.pid) and (not here or connection.gone):
            return True
        time.sleep(LOOK_EVERY)
    if here and not connection.gone:
        with contextlib.suppress(ProcessLookupError):
            os.kill(connection.pid, signal.SIGKILL)
    # a process on another machine ends when it finds its file removed
    clear(connection.name, connection.shared)
    return answered


def _ask_to_end(connection: Connection) -> bool:
    try:
        with join(connection) as client:
            _call(client, END)
    except InputError:
        return False
    return True


def clear(name: str, shared: Path | None) -> None:
    """Take away what a cluster left whose process has ended: its jobs and its files.

    Parameters
    ----------
    name : str
    shared : Path or None
        The folder of its certificates and logs, if that is known.

    Raises
    ------
    InputError
        It has not ended.
    """
    with claimed_name(name) as folder:
        with contextlib.suppress(FileNotFoundError):
            noted = json.loads((folder / JOBS_FILE).read_bytes())
            from hpdp_dask.cluster.batch_queue import cancel_jobs

            cancel_jobs(noted["scheduler"], noted["jobs"])
        if shared is not None:
            shutil.rmtree(shared, ignore_errors=True)
        remove_traces(name)
