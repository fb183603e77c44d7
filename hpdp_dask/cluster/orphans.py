"""Jobs of processes that were killed: noted while these run, cancelled when the next one starts.

Workers end by themselves when their scheduler is gone; jobs that still wait in the queue do not.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
from pathlib import Path

import psutil
from pydantic import BaseModel, ValidationError

from hpdp_dask.cluster.batch_queue import cancel_jobs
from hpdp_dask.cluster.connection import write_private
from hpdp_dask.errors import InputError

log = logging.getLogger(__name__)

_OWNER_FILE = "owner.json"


class _Owner(BaseModel, extra="forbid"):
    """Who holds the jobs of a folder; a number of a process may come again, its birth does not."""

    host: str
    pid: int
    born: float
    scheduler: str
    jobs: list[str]

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended, as far as this machine can tell."""
        if self.host != socket.gethostname():
            return False
        try:
            return bool(psutil.Process(self.pid).create_time() != self.born)
        except psutil.NoSuchProcess:
            return True


def note_jobs(folder: Path, scheduler: str, jobs: list[str]) -> None:
    """Note the jobs that this process holds.

    Parameters
    ----------
    folder : Path
        Of this process alone, in the shared directory of the site.
    scheduler : str
    jobs : list of str
        Their numbers.
    """
    pid = os.getpid()
    owner = _Owner(
        host=socket.gethostname(),
        pid=pid,
        born=psutil.Process(pid).create_time(),
        scheduler=scheduler,
        jobs=jobs,
    )
    write_private(folder / _OWNER_FILE, owner.model_dump_json())


def cancel_orphans(shared_directory: Path) -> None:
    """Cancel the jobs, and remove the folders, of processes of this machine that were killed.

    Parameters
    ----------
    shared_directory : Path
        Of the site; it may not exist yet.
    """
    for file in shared_directory.glob(f"*/{_OWNER_FILE}"):
        try:
            owner = _Owner.model_validate_json(file.read_bytes())
            if not owner.is_gone:
                continue
            cancel_jobs(owner.scheduler, owner.jobs)
        except (ValidationError, InputError, OSError) as error:
            log.warning("%s: what a killed run left cannot be cleared: %s", file.parent, error)
            continue
        log.warning(
            "A run of before was killed; its jobs were cancelled (%s).",
            ", ".join(owner.jobs) or "none waited",
        )
        shutil.rmtree(file.parent, ignore_errors=True)
