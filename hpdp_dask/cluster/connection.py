"""The file that says where a standing cluster is, and the lock that keeps its name for one.

For each cluster the state folder holds `clusters/NAME.json`, which other commands of the user
read, and the folder `clusters/NAME` with the log and the numbers of its jobs. All are for the
user's eyes only: who can join a cluster can run programs as the user.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

import psutil
from pydantic import BaseModel, ValidationError

from hpdp_dask.errors import InputError

#: The module that a cluster's process runs; its command line tells it from others of its number.
DAEMON = "hpdp_dask.cluster.serve"
#: The calls that its scheduler answers.
TELL, SCALE, END = "hpdp_tell", "hpdp_scale", "hpdp_end"
LOG = "cluster.log"
#: The numbers of a cluster's jobs, for who finds it dead.
JOBS_FILE = "jobs.json"
_LOCK = "lock"
#: Seconds until a process that was killed has let its lock go.
_RELEASE = 3.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: What `--cluster` takes already.
_RESERVED = ("local", "local-cuda")


class Connection(BaseModel, extra="forbid"):
    """Where a standing cluster is.

    Attributes
    ----------
    name : str
    address : str
        Of its scheduler.
    pid : int
        Of the process that holds the scheduler.
    host : str
        The machine of that process.
    where : str
        What the cluster was started from: local, local-cuda, or a site's name or file.
    shared : Path or None
        The folder of its certificates and of the logs of its jobs, which all machines see.
    tls : Path or None
        The folder of its certificates, if it has any.
    dashboard : int
        The port of the dashboard, on the loopback of `host`.
    started : datetime
    version : str
        Of hpdp_dask.
    """

    name: str
    address: str
    pid: int
    host: str
    where: str
    shared: Path | None
    tls: Path | None
    dashboard: int
    started: datetime
    version: str

    @property
    def gone(self) -> bool:
        """Whether its process has surely ended: it was on this machine and is not there."""
        return self.host == socket.gethostname() and not _runs(self.pid, self.name)

    @property
    def dashboard_link(self) -> str:
        """The address of the dashboard, for a browser on its machine or behind a tunnel."""
        return f"http://127.0.0.1:{self.dashboard}/status"

    @property
    def tunnel(self) -> str:
        """What to type on one's own machine to see the dashboard there."""
        return f"ssh -N -L {self.dashboard}:127.0.0.1:{self.dashboard} {self.host}"


def _runs(pid: int, name: str) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and {DAEMON, name} <= {*process.cmdline()}
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def state_folder(kind: str, make: bool = False) -> Path:
    """Give the folder where clusters and jobs of the user are noted.

    Parameters
    ----------
    kind : str
        `clusters` or `submitted`.
    make : bool, optional
        Make it if it is not there; nobody else may look into it.

    Returns
    -------
    Path
        Below `$HPDP_STATE`, by default `~/.local/state/hpdp`.

    Raises
    ------
    InputError
        It cannot be made.
    """
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    state = Path(os.environ.get("HPDP_STATE") or Path(home) / "hpdp").expanduser()
    folder = state.absolute() / kind
    if make:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder}: cannot be made ({error.strerror}); set HPDP_STATE to a folder where "
                "clusters and jobs can be noted."
            ) from error
    return folder


def check_name(name: str) -> str:
    """Give the name of a cluster or job if it can be one.

    Raises
    ------
    InputError
        It has other signs than those of a file's name, or means something else to `--cluster`.
    """
    if name in _RESERVED:
        raise InputError(
            f"the name {name!r} is taken: --cluster {name} starts workers for one command; choose "
            "another with --name."
        )
    if not _NAME.fullmatch(name) or name.endswith(".json"):
        raise InputError(
            f"{name!r} is no name: expected letters, digits, '.', '_' and '-', the first a letter "
            "or digit, and not .json at the end; choose another with --name."
        )
    return name


def folder_of(name: str) -> Path:
    """Give the folder of a cluster's log and of the numbers of its jobs, made if need be."""
    folder = state_folder("clusters", make=True) / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _file(name: str) -> Path:
    return state_folder("clusters") / f"{name}.json"


def read_connection(name: str) -> Connection | None:
    """Read the file of a standing cluster.

    Returns
    -------
    Connection or None
        None when there is no cluster of that name.

    Raises
    ------
    InputError
        The file holds something else.
    """
    if not _NAME.fullmatch(name):
        return None
    path = _file(name)
    try:
        return Connection.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InputError(
            f"{path}: is not the file of a running cluster as this version of hpdp writes it; "
            "remove it, if no cluster of that name runs."
        ) from error


def all_connections() -> list[Connection]:
    """Read the files of all standing clusters of the user, in the order of their names."""
    names = sorted(path.stem for path in state_folder("clusters").glob("*.json"))
    return [connection for name in names if (connection := read_connection(name)) is not None]


def write_private(path: Path, text: str) -> None:
    """Write a file whole, readable by the user alone.

    Parameters
    ----------
    path : Path
    text : str
    """
    hidden = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def write_connection(connection: Connection) -> None:
    """Write the file that other commands find the cluster by."""
    write_private(_file(connection.name), connection.model_dump_json(indent=2) + "\n")


@contextmanager
def claimed_name(name: str) -> Iterator[Path]:
    """Hold a cluster's name, so that two of one name cannot be.

    The claim goes with the process, however that ends.

    Parameters
    ----------
    name : str

    Yields
    ------
    Path
        The folder of the cluster.

    Raises
    ------
    InputError
        Another process holds the name.
    """
    folder = folder_of(name)
    with open(folder / _LOCK, "ab") as lock:
        taken = InputError(
            f"a cluster {name} is there already; join it with --cluster {name}, stop it with "
            f"hpdp cluster stop {name}, or choose another name with --name."
        )
        patience = time.monotonic() + _RELEASE
        while not _locked(lock):
            if time.monotonic() > patience:
                raise taken
            time.sleep(0.1)
        # the one before may have ended, and removed its folder, just before the lock was had
        if not (folder / _LOCK).exists() or not os.path.samestat(
            os.fstat(lock.fileno()), (folder / _LOCK).stat()
        ):
            raise taken
        yield folder


def _locked(file: IO[bytes]) -> bool:
    """Lock a file, unless another process has locked it."""
    with suppress(OSError):  # some network file systems know no locks
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def remove_connection(name: str) -> None:
    """Remove the file that other commands find a cluster by; the caller holds its name."""
    _file(name).unlink(missing_ok=True)


def remove_traces(name: str) -> None:
    """Remove the file and the folder of a cluster whose name the caller holds."""
    remove_connection(name)
    shutil.rmtree(state_folder("clusters") / name, ignore_errors=True)
