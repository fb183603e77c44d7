"""Jobs of batch schedulers: dask-jobqueue's, with what the scheduler says of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import pwd
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from hpdp_dask.cluster.jobqueue import HTCondorJob, LSFJob, PBSJob, SGEJob, SLURMJob

#: Seconds that a command of the batch scheduler may take.
PATIENCE = 120
#: So many commands of the batch scheduler run at a time.
_AT_A_TIME = 8
#: Lines of a job's log that are told, and what is read of it to find them.
_LOG_LINES = 3
_LOG_BYTES = 8192

_CLASSES = {
    "slurm": SLURMJob,
    "pbs": PBSJob,
    "lsf": LSFJob,
    "sge": SGEJob,
    "htcondor": HTCondorJob,
}


class BatchJob(ProcessInterface):
    """What is added to each of dask-jobqueue's jobs.

    Attributes
    ----------
    refusal : str or None
        Why the batch scheduler did not take the job, in its own words.
    since : float
        When the job was submitted, or its workers were last seen; a monotonic clock.
    joined : float
        When a worker of the job was first seen; 0 before.
    proven : bool
        Whether its workers have been there for a while.
    absent : int
        How often in a row the batch scheduler did not know the job.
    """

    refusal: str | None = None
    since: float = 0.0
    joined: float = 0.0
    proven: bool = False
    absent: int = 0
    name: str
    job_id: str | None
    log_directory: str

    async def start(self) -> None:
        """Submit the job; a refusal is noted and not raised."""
        try:
            async with _turn(asyncio.get_running_loop()):
                await super().start()
        except (RuntimeError, ValueError, OSError) as error:
            self.refusal = " ".join(str(error).split())
            self.status = Status.running
        self.since = time.monotonic()

    async def close(self) -> None:
        """Cancel the job."""
        with contextlib.suppress(OSError):
            async with _turn(asyncio.get_running_loop()):
                await super().close()
        self.status = Status.closed

    @staticmethod
    async def _call(command: list[str], *, shell: bool = False, **options: Any) -> str:
        """Run a command of the batch scheduler, as dask-jobqueue does, but raise its words."""
        return await ask(command, **options)

    def end_of_log(self) -> str:
        """Give the last lines that the job wrote, in one; empty if there are none."""
        if self.job_id is None:
            return ""
        number = self.job_id.removesuffix(".0")
        logs = sorted(Path(self.log_directory).glob(f"*{number}*"), key=_changed)[::-1]
        for path in logs:
            # not that of a job whose number is longer
            if not re.search(rf"(?<!\d){re.escape(number)}(?!\d)", path.name):
                continue
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _LOG_BYTES))
                lines = file.read().decode(errors="replace").split("\n")
            if written := [line.strip() for line in lines if line.strip()]:
                return " / ".join(written[-_LOG_LINES:])
        return ""


class _LSFBatchJob(BatchJob, LSFJob):
    """Reads what `bsub` says, which dask-jobqueue throws away."""

    async def _submit_job(self, script_filename: str) -> str:
        if not self.use_stdin:
            return await ask([*self.submit_command.split(), script_filename])
        with open(script_filename) as script:
            return await ask(self.submit_command.split(), stdin=script)


@functools.cache
def job_class(scheduler: str) -> type[BatchJob]:
    """Give the class of a batch scheduler's jobs.

    Parameters
    ----------
    scheduler : str
        *slurm*, *pbs*, *lsf*, *sge* or *htcondor*.
    """
    if scheduler == "lsf":
        return _LSFBatchJob
    base = _CLASSES[scheduler]
    return type(f"Batch{base.__name__}", (BatchJob, base), {})


@functools.lru_cache(maxsize=1)
def _turn(loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    """Give what bounds the commands that run at a time in a loop."""
    return asyncio.Semaphore(_AT_A_TIME)


def _changed(path: Path) -> float:
    return path.stat().st_mtime


async def ask(command: list[str], **options: Any) -> str:
    """Run a command of the batch scheduler.

    Parameters
    ----------
    command : list of str
    **options
        Of `asyncio.create_subprocess_exec`.

    Returns
    -------
    str
        What it printed.

    Raises
    ------
    RuntimeError
        It failed, is not there, or does not answer; the message is what it said.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Ctrl-C goes to the whole group of processes: a job would be taken whose number nobody
            # read, or one would not be cancelled
            start_new_session=True,
            **options,
        )
    except OSError as error:
        raise RuntimeError(
            f"{command[0]} cannot be run here ({error.strerror}): start from a machine that may "
            "submit jobs"
        ) from error
    try:
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise RuntimeError(f"{command[0]} did not answer in {PATIENCE} s") from None
    if process.returncode:
        said = errors.decode(errors="replace").strip() or output.decode(errors="replace").strip()
        raise RuntimeError(said or f"{command[0]} ended with the code {process.returncode}")
    return output.decode(errors="replace")


async def queued(scheduler: str) -> dict[str, str] | None:
    """Ask the batch scheduler for the user's jobs.

    Parameters
    ----------
    scheduler : str
        *slurm*, *pbs*, *lsf*, *sge* or *htcondor*.

    Returns
    -------
    dict of str to str, or None
        What it says of each job that waits or runs, by the job's number. None if it does not say.
    """
    command, read = _QUERIES[scheduler]
    user = pwd.getpwuid(os.getuid()).pw_name
    # what the person likes to see of the queue is not for here
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")
    }
    try:
        answer = await ask([word.format(user=user) for word in command], env=environment)
    except RuntimeError:
        return None
    return dict(filter(None, (read(line.split()) for line in answer.splitlines())))


_Told = tuple[str, str] | None


def _slurm(words: list[str]) -> _Told:
    return (words[0], " ".join(words[1:]))


def _pbs(words: list[str]) -> _Told:
    """Read a line of `qstat -u`: number and server, ..., state, time."""
    if len(words) < 6 or not words[0][0].isdigit() or words[-2] in ("C", "F"):
        return None
    number = words[0].partition(".")[0]
    return number, f"state {words[-2]}"


def _sge(words: list[str]) -> _Told:
    """Read a line of `qstat`: number, priority, name, user, state."""
    if len(words) < 5 or not words[0].isdigit():
        return None
    return words[0], f"state {words[4]}"


def _lsf(words: list[str]) -> _Told:
    """Read a line of `bjobs -noheader`: number, user, state."""
    if len(words) < 3 or not words[0].isdigit() or words[2] in ("DONE", "EXIT"):
        return None
    return words[0], words[2]


def _htcondor(words: list[str]) -> _Told:
    """Read cluster, process, state and why it is held."""
    states = {"1": "idle", "2": "running", "5": "held", "6": "transferring", "7": "suspended"}
    if len(words) < 3 or words[2] not in states:
        return None
    held = " ".join(words[3:]).removeprefix("undefined")
    return f"{words[0]}.{words[1]}", f"{states[words[2]]} {held}".strip()


_QUERIES: dict[str, tuple[list[str], Callable[[list[str]], _Told]]] = {
    "slurm": (["squeue", "--noheader", "--user={user}", "--format=%i %T %r"], _slurm),
    "pbs": (["qstat", "-u", "{user}"], _pbs),
    "sge": (["qstat", "-u", "{user}"], _sge),
    "lsf": (["bjobs", "-noheader", "-w", "-u", "{user}"], _lsf),
    "htcondor": (
        ["condor_q", "-autoformat", "ClusterId", "ProcId", "JobStatus", "HoldReason"],
        _htcondor,
    ),
}
