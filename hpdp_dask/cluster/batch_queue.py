"""What a batch scheduler is told and asked by commands that hold no cluster."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from hpdp_dask.cluster.batch import PATIENCE, BatchJob, ask, job_class, queued
from hpdp_dask.errors import InputError

T = TypeVar("T")


def _run(question: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; in a notebook this thread has an event loop that runs already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, question).result()


def submit_job(job: BatchJob) -> str:
    """Hand a job to its batch scheduler.

    Parameters
    ----------
    job : BatchJob

    Returns
    -------
    str
        Its number.

    Raises
    ------
    InputError
        The scheduler refuses it, in its own words.
    """

    async def submit() -> None:
        await job.start()

    _run(submit())
    if job.refusal is not None or job.job_id is None:
        raise InputError(
            f"the batch scheduler refuses the job: {(job.refusal or 'no number').rstrip('.')}."
        )
    return job.job_id


def jobs_in_queue(scheduler: str) -> dict[str, str] | None:
    """Give what a batch scheduler says of each job of the user that waits or runs.

    Parameters
    ----------
    scheduler : str
        slurm, pbs, lsf, sge or htcondor.

    Returns
    -------
    dict of str to str, or None
        By the job's number. None if the scheduler does not answer.
    """
    jobs = _run(queued(scheduler))
    return jobs and {job: words.removesuffix(" None") for job, words in jobs.items()}


def cancel_jobs(scheduler: str, jobs: Sequence[str]) -> None:
    """Cancel jobs; those that have ended already are no mistake.

    Parameters
    ----------
    scheduler : str
    jobs : list of str
        Their numbers.

    Raises
    ------
    InputError
        The scheduler refuses, in its own words, and a job is still there.
    """
    command = shlex.split(job_class(scheduler).cancel_command)

    async def cancel() -> str | None:
        refused = None
        for job in jobs:
            try:
                await ask([*command, job])
            except RuntimeError as error:
                if job in (await queued(scheduler) or {}):
                    refused = f"{command[0]} {job}: {error}"
        return refused

    if (refused := _run(cancel())) is not None:
        raise InputError(f"a job is still in the queue ({refused.rstrip('.')}).")


def ask_queue(command: list[str]) -> tuple[bool, str]:
    """Run a command of the batch scheduler.

    Parameters
    ----------
    command : list of str

    Returns
    -------
    right : bool
        Whether it succeeded.
    said : str
        What it printed, errors too, in one line.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, " ".join(str(error).split())
    lines = (line.strip() for line in done.stdout.splitlines())
    return done.returncode == 0, "; ".join(filter(None, lines))
