"""Folders of processes that hold jobs, and what is done of those that were killed.

Jobs are noted while their process runs, and cancelled when the next one starts. Workers end by
themselves when their scheduler is gone; jobs that still wait in the queue do not.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from pathlib import Path

import psutil
from pydantic import BaseModel, ValidationError

from hpdp_dask.cluster.batch_queue import cancel_jobs
from hpdp_dask.cluster.connection import write_private
from hpdp_dask.cluster.site import Site
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


def shared_folder(site: Site, name: str) -> Path:
    """Make a folder of the owner's alone that all machines see, for certificates and logs.

    Parameters
    ----------
    site : Site
    name : str
        What the folder's name begins with.

    Raises
    ------
    InputError
        The site's shared directory cannot be written.
    """
    try:
        site.shared_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=site.shared_directory))
    except OSError as error:
        raise InputError(
            f"{site.shared_directory}: cannot be written ({error.strerror}); set shared-directory "
            f"in {site.path} to a folder that all machines see."
        ) from error


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
