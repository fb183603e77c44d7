"""What `run.json` says of a run: how it was called, on what, with what, how long, what came out."""

from __future__ import annotations

import math
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import psutil
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, ValidationError

from hpdp_dask.errors import InputError
from hpdp_dask.workflow.fingerprint import Input, fingerprint

RUN_FILE = "run.json"

#: Distributions whose versions a result may depend on, those that are installed.
_PACKAGES = (
    ("hpdp_dask", "hpdp-dask"),
    *((name, name) for name in ("numpy", "scipy", "dask", "distributed", "zarr", "numba")),
    *((name, name) for name in ("torch", "safetensors", "scikit-learn", "umap-learn")),
    *(("cupy", name) for name in ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")),
)


def _plain(value: Any) -> Any:
    """Turn paths, arrays and NumPy's numbers into what JSON holds; NaN and infinity into text."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    # file names may hold bytes that are no text; JSON and HTML must still be written
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


Text = Annotated[str, BeforeValidator(_plain)]
Fields = Annotated[dict[str, Any], BeforeValidator(_plain)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Stage(_Model):
    """How long a stage of a run took, all its times together.

    Attributes
    ----------
    name : str
    times : int
        How often it ran.
    wall_seconds : float
    cpu_seconds : float
        Of this process and of those it started, a local cluster's workers among them; what
        workers on other machines use is not in it.
    images : int
        Images that it worked on; 0 where it does not count.
    """

    name: Text
    times: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    images: int = 0


class Machine(_Model):
    """Where the command itself ran; its workers are described by `RunRecord.cluster`."""

    host: str
    system: str
    processor: str
    cores: int
    memory_bytes: int
    gpus: list[str]


class RunRecord(_Model):
    """The contents of `run.json`.

    Attributes
    ----------
    schema_version : int
        Of this form; a reader refuses others.
    command : list of str
        The words of the command line.
    parameters : dict
        Every choice that the result depends on, defaults included.
    seed : int or None
    inputs : list of Input
    versions : dict of str to str
    git_commit : str or None
        Of the checkout that the program ran from, `-dirty` after it if files were changed.
    machine : Machine
    cluster : dict
        Where the work ran: workers, threads, memory.
    started, ended : datetime
        With time zone; `ended` is None while the run goes on.
    resumed : bool
        Whether the run went on from an earlier one; timings are of the last one alone.
    stages : list of Stage
    results : dict
        The numbers that came out: resolution and the like.
    warnings : list of str
    """

    schema_version: Literal[1] = 1
    command: list[Text]
    parameters: Fields
    seed: int | None
    inputs: list[Input]
    versions: dict[str, str]
    git_commit: str | None
    machine: Machine
    cluster: Fields = {}
    started: AwareDatetime
    ended: AwareDatetime | None = None
    resumed: bool = False
    stages: list[Stage] = []
    results: Fields = {}
    warnings: list[Text] = []


def start_record(
    command: Sequence[str], parameters: Mapping[str, Any], inputs: Sequence[Path], seed: int | None
) -> RunRecord:
    """Make the record of a run that begins now: inputs looked at, machine and versions told.

    Raises
    ------
    InputError
        If an input is not there or cannot be read.
    """
    return RunRecord(
        command=list(command),
        parameters=dict(parameters),
        seed=seed,
        inputs=[fingerprint(Path(path)) for path in inputs],
        versions=_versions(),
        git_commit=_git_commit(),
        machine=_machine(),
        started=datetime.now(UTC),
    )


def read_run(folder: Path) -> RunRecord:
    """Read the `run.json` of a folder.

    Raises
    ------
    InputError
        If it is absent, unreadable or of another form.
    """
    path = Path(folder) / RUN_FILE
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); is {folder} a folder that hpdp made?"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"{path}: {field} is not as this version of hpdp writes it ({first['msg']})."
        ) from None


def write_run(record: RunRecord, folder: Path) -> None:
    """Write `run.json` into a folder, whole or not at all."""
    temporary = folder / f".{RUN_FILE}.partial"
    temporary.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    temporary.replace(folder / RUN_FILE)


def cpu_seconds() -> float:
    """Give the CPU time of this process and of all that it started, living or gone, seconds."""
    process = psutil.Process()
    total = 0.0
    for member in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):  # a process may end while we look
            times = member.cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name, distribution in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(distribution)
    return found


def _git_commit() -> str | None:
    """Give the commit of the checkout that this file is tracked in, None outside of one."""
    package = Path(__file__).resolve().parent
    # the second question alone would also answer for a repository that merely holds the .venv
    if _output_of("git", "-C", str(package), "ls-files", "--error-unmatch", "record.py") is None:
        return None
    describe = ("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    return _output_of("git", "-C", str(package), *describe)


def _machine() -> Machine:
    gpus = _output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return Machine(
        host=socket.gethostname(),
        system=platform.platform(),
        processor=_processor(),
        cores=cores,
        memory_bytes=psutil.virtual_memory().total,
        gpus=gpus.splitlines() if gpus else [],
    )


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _output_of(program: str, *arguments: str) -> str | None:
    """Run a program that may not be there; give what it prints, or None if it fails."""
    if shutil.which(program) is None:
        return None
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout.strip()
    return None
