"""Starts a cluster that outlives the shell: one process that holds it, and its first worker."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from typing import IO

from hpdp_dask.cluster.connection import (
    DAEMON,
    LOG,
    Connection,
    check_name,
    folder_of,
    read_connection,
)
from hpdp_dask.cluster.standing import (
    END_PATIENCE,
    LOOK_EVERY,
    ask,
    clear,
    describe_jobs,
    join,
    stop,
)
from hpdp_dask.errors import InputError

#: How long a process may take to start its scheduler, seconds.
_START_PATIENCE = 120.0


def start(
    where: str,
    *,
    name: str,
    workers: int | None = None,
    memory_limit: str | None = None,
    wait: float = 300.0,
) -> Connection:
    """Start a cluster that outlives this process, and wait for its first worker.

    Parameters
    ----------
    where : str
        local, local-cuda, or the name or path of a site's file.
    name : str
        What to call it.
    workers : int, optional
        By default as many as the cores, the devices, or what the site's file says of each group.
    memory_limit : str, optional
        Of each worker of a cluster on this machine.
    wait : float, optional
        How long the first worker may take, seconds; 0 does not wait for one.

    Returns
    -------
    Connection

    Raises
    ------
    InputError
        The name is taken, no such cluster can be started, the batch scheduler refuses all jobs,
        or no worker came in time. Nothing is left running then.
    """
    if wait < 0:
        raise InputError(f"{wait:g} seconds are too short to wait for a worker.")
    earlier = read_connection(check_name(name))
    if earlier is not None:
        if not earlier.gone:
            raise InputError(
                f"a cluster {name} runs on {earlier.host} since "
                f"{earlier.started:%Y-%m-%d %H:%M}; join it with --cluster {name}, stop it with "
                f"hpdp cluster stop {name}, or choose another name with --name."
            )
        stop(earlier)
    options = [f"--workers={workers}"] if workers is not None else []
    options += [f"--memory-limit={memory_limit}"] if memory_limit is not None else []
    with open(folder_of(name) / LOG, "a+b") as log:
        from_here = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", DAEMON, name, where, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            connection = _wait_for_scheduler(process, name, log, from_here)
            if wait:
                _wait_for_worker(connection, process, log, from_here, wait)
        except BaseException:
            _end_process(process)
            # it takes away what it made, unless it was killed or failed in a way of its own
            left = read_connection(name)
            if left is None or left.pid == process.pid:
                with contextlib.suppress(InputError):
                    clear(name, left.shared if left is not None else None)
            raise
    # should this process live longer, as a notebook does, it must see that other end
    threading.Thread(target=process.wait, daemon=True).start()
    return connection


def _wait_for_scheduler(
    process: subprocess.Popen[bytes], name: str, log: IO[bytes], from_here: int
) -> Connection:
    patience = time.monotonic() + _START_PATIENCE
    while time.monotonic() < patience:
        ended = process.poll() is not None
        connection = read_connection(name)
        if connection is not None and connection.pid == process.pid:
            return connection
        if ended:
            raise _failure(log, from_here)
        time.sleep(LOOK_EVERY)
    raise InputError(
        f"the cluster {name} did not start in {_START_PATIENCE:.0f} s; is this machine overloaded?"
    )


def _wait_for_worker(
    connection: Connection,
    process: subprocess.Popen[bytes],
    log: IO[bytes],
    from_here: int,
    wait: float,
) -> None:
    patience = time.monotonic() + wait
    with join(connection) as client:
        while True:
            try:
                scheduler, groups, *_ = ask(client)
            except InputError:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(END_PATIENCE)
                raise _failure(log, from_here) from None
            if any(group.workers for group in groups):
                return
            wanting = [group for group in groups if group.wanted[0] != "0"]
            if not wanting:
                return
            if all(group.hopeless for group in wanting):
                said = "; ".join(f"{group.name}: {group.refusal}" for group in wanting)
                raise InputError(
                    f"{connection.where}: the workers do not start ({said.rstrip('.')})."
                )
            if time.monotonic() > patience:
                jobs = "; ".join(
                    f"{group.name}: {group.refusal or describe_jobs(scheduler, group)}"
                    for group in wanting
                )
                raise InputError(
                    f"{connection.where}: no worker came within {wait:g} s ({jobs}); wait longer "
                    f"with --wait, or see what hpdp cluster doctor {connection.where} says."
                )
            time.sleep(LOOK_EVERY)


def _failure(log: IO[bytes], from_here: int) -> InputError:
    """Make the error of a process that ended from what it said."""
    log.seek(from_here)
    said = log.read().decode(errors="replace").strip()
    sentence = said.rpartition("hpdp: ")[2]
    return InputError(
        sentence if sentence != said else f"the cluster's process ended; it said:\n{said}"
    )


def _end_process(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, with all it holds."""
    process.terminate()
    try:
        process.wait(END_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
