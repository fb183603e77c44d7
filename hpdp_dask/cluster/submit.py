"""Commands that run as jobs: submitted, followed, cancelled, and gone on with when killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from hpdp_dask.cluster.connection import check_name, read_connection
from hpdp_dask.cluster.submitted import Run, Submitted, all_submitted, read_noted, write_model
from hpdp_dask.errors import InputError

#: What a job needs of the environment in which it was submitted.
_VARIABLES = ("HPDP_", "DASK_", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
LOCAL = "local"


class Standing(NamedTuple):
    """How it stands with a job.

    Attributes
    ----------
    state : str
        `waiting`, `running`, `done`, `failed`, `interrupted` (asked to end), `killed`, or
        `unknown` when the batch scheduler does not answer.
    words : str
        More of it: what the batch scheduler says, the exit code.
    since : datetime
        When it came to this, as far as is known.
    """

    state: str
    words: str
    since: datetime

    @property
    def active(self) -> bool:
        """Whether it may still do something."""
        return self.state in ("waiting", "running", "unknown")

    def __str__(self) -> str:
        """Say it in a few words."""
        return f"{self.state} ({self.words})" if self.words else self.state


def submit(
    where: str,
    words: list[str],
    runner: str,
    *,
    name: str,
    log: Path,
    partial: Path | None,
    walltime: str | None = None,
) -> Submitted:
    """Hand a command to a batch scheduler, or to a process of its own on this machine.

    Parameters
    ----------
    where : str
        local, local-cuda, the name or path of a site's file, or the name of a standing cluster:
        the job then goes where its workers are.
    words : list of str
        The command, without `hpdp`, with its `--cluster`.
    runner : str
        The module that runs it, given the file of what is returned.
    name : str
        Of the job; that of one that has ended is free.
    log : Path
        What it prints is added to this file.
    partial : Path or None
        What an interrupted run of it leaves, for a command that can go on from it.
    walltime : str, optional
        In place of the site's.

    Returns
    -------
    Submitted

    Raises
    ------
    InputError
        The name is taken, or the batch scheduler refuses the job, in its own words; nothing is
        noted then.
    """
    for earlier in all_submitted():
        if earlier.name == check_name(name) and (standing := follow(earlier)).active:
            raise InputError(
                f"a job {name} is there already ({standing.state}); wait for it, cancel it with "
                f"hpdp jobs --cancel {name}, or choose another name with --name."
            )
    site = _site_of(where)
    record = Submitted(
        name=name,
        scheduler=LOCAL if site is None else site.scheduler,
        host=socket.gethostname(),
        words=words,
        folder=Path.cwd(),
        log=log.absolute(),
        partial=partial,
        environment={key: value for key, value in os.environ.items() if key.startswith(_VARIABLES)},
        submitted=datetime.now(UTC),
    )
    for left in (record.run_file, record.said):
        left.unlink(missing_ok=True)
    # the job reads it, and may begin before its number is known here
    write_model(record.file, record)
    module = [runner, str(record.file)]
    try:
        if site is None:
            record.job = _detach(module, record.said)
        else:
            from hpdp_dask.cluster.batch_queue import submit_job
            from hpdp_dask.cluster.batch_script import command_job

            record.job = submit_job(command_job(site, name, module, record.said, walltime))
    except BaseException:
        _forget(record)
        raise
    write_model(record.file, record)
    return record


def _site_of(where: str) -> Any:
    """Give the site whose batch scheduler takes the job; None for a process on this machine."""
    connection = read_connection(where)
    if connection is not None:
        where = connection.where
    if where in ("local", "local-cuda"):
        return None
    if where.startswith(("tcp://", "tls://")):
        raise InputError(
            f"{where}: an address does not tell which batch scheduler takes the job; give a "
            "site's YAML or the name of a cluster of hpdp cluster start."
        )
    from hpdp_dask.cluster.site import load_site

    site = load_site(where)
    return None if site.scheduler in ("local", "local-cuda") else site


def _detach(module: list[str], said: Path) -> str:
    with open(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # should this process live longer, as a notebook does, it must see that other end
    threading.Thread(target=process.wait, daemon=True).start()
    return str(process.pid)


def follow(record: Submitted) -> Standing:
    """Tell how it stands with a submitted command."""
    if (standing := _ended(record)) is not None:
        return standing
    there, words = _in_queue(record)
    # it may have ended while the batch scheduler was asked
    if (standing := _ended(record)) is not None:
        return standing
    run = read_noted(Run, record.run_file)
    since = record.submitted if run is None else run.began
    if there is None:
        return Standing("unknown", words, since)
    if there:
        began = run is not None or record.scheduler == LOCAL
        return Standing("running", "", since) if began else Standing("waiting", words, since)
    return Standing("killed", "" if run else "before it began", since)


def _ended(record: Submitted) -> Standing | None:
    run = read_noted(Run, record.run_file)
    if run is None or run.ended is None:
        return None
    if run.code == 0:
        return Standing("done", "", run.ended)
    # as a shell says of a program that a signal ended: 128 and its number
    state = "interrupted" if run.code in (130, 143) else "failed"
    return Standing(state, f"exit code {run.code}", run.ended)


def _in_queue(record: Submitted) -> tuple[bool | None, str]:
    """Tell whether a job waits or runs; None if that cannot be known; and what is said of it."""
    if record.job is None:
        return False, ""
    if record.scheduler != LOCAL:
        from hpdp_dask.cluster.batch_queue import jobs_in_queue

        jobs = jobs_in_queue(record.scheduler)
        if jobs is None:
            return None, f"{record.scheduler} does not answer"
        return record.job in jobs, jobs.get(record.job, "")
    if record.host != socket.gethostname():
        return None, f"a process on {record.host}"
    return _process(record) is not None, ""


def _process(record: Submitted) -> psutil.Process | None:
    """Find the process of a job on this machine, if it lives."""
    try:
        process = psutil.Process(int(record.job or 0))
        alive = process.status() != psutil.STATUS_ZOMBIE
        return process if alive and str(record.file) in process.cmdline() else None
    except psutil.NoSuchProcess:
        return None


def cancel(record: Submitted) -> None:
    """Ask a job to end: it may still tidy up, and can be gone on with.

    Raises
    ------
    InputError
        It has ended, or is a process on another machine.
    """
    standing = follow(record)
    if not standing.active:
        raise InputError(f"the job {record.name} has ended already ({standing.state}).")
    if record.scheduler != LOCAL:
        from hpdp_dask.cluster.batch_queue import cancel_jobs

        cancel_jobs(record.scheduler, [str(record.job)])
        return
    process = _process(record)
    if process is None:
        raise InputError(f"the job {record.name} is a process on {record.host}; cancel it there.")
    process.terminate()


def forget(record: Submitted) -> None:
    """Remove what is noted of a job; its log stays.

    Raises
    ------
    InputError
        It has not ended.
    """
    if follow(record).active:
        raise InputError(
            f"the job {record.name} has not ended; cancel it first: hpdp jobs --cancel "
            f"{record.name}."
        )
    _forget(record)


def _forget(record: Submitted) -> None:
    for path in (record.file, record.run_file, record.said):
        path.unlink(missing_ok=True)
