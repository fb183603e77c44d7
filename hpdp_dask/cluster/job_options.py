"""What the job of a group runs: a worker with its environment, resources and lifetime."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

from distributed import Security

from hpdp_dask.cluster.local import ENVIRONMENT, SETTINGS
from hpdp_dask.cluster.site import Group, Site

#: Workers leave so many seconds before the walltime, or a tenth of it, to hand over what they hold;
#: up to two tenths earlier still, so that they do not all leave together.
_MARGIN = 300
_SHARE = 0.1

#: Dask's settings that workers do not read.
_NOT_FOR_WORKERS = ("distributed.scheduler.", "distributed.deploy.", "distributed.dashboard.")


def job_options(
    site: Site, group: Group, *, security: Security | None, log_directory: Path
) -> dict[str, Any]:
    """Give the options of dask-jobqueue's job.

    Parameters
    ----------
    site : Site
    group : Group
    security : distributed.Security or None
        Names files that all machines see.
    log_directory : Path
        For the output of jobs where the YAML names no other.

    Returns
    -------
    dict of str to object
    """
    options = dict(group.jobqueue)
    python = options["python"] or sys.executable
    options["job_script_prologue"] = [
        *(f"export {name}={shlex.quote(value)}" for name, value in _environment(site, group)),
        *options["job_script_prologue"],
        # a job without its device ends at once, and says why
        *([f"{python} -m hpdp_dask.cluster.devices || exit 1"] if group.gpu else []),
    ]
    options["worker_extra_args"] = [
        *_arguments(site.scheduler, group),
        *options["worker_extra_args"],
    ]
    options["log_directory"] = str(
        Path(options["log_directory"]).expanduser() if options["log_directory"] else log_directory
    )
    return options | {
        "python": python,
        "interface": options["interface"] or site.interface,
        "local_directory": options["local_directory"] or "${TMPDIR:-/tmp}",
        "security": security,
        "protocol": "tcp://" if security is None else "tls://",
    }


def _environment(site: Site, group: Group) -> list[tuple[str, str]]:
    """Give what workers on one machine have too, and Dask's settings of the site."""
    variables = dict(ENVIRONMENT)
    if group.gpu:
        del variables["CUDA_VISIBLE_DEVICES"]  # the batch scheduler names the job's device
    for key, value in (SETTINGS | site.dask).items():
        if not key.startswith(_NOT_FOR_WORKERS):
            name = key.replace(".", "__").replace("-", "_").upper()
            variables[f"DASK_{name}"] = str(value)
    return list(variables.items())


def _arguments(scheduler: str, group: Group) -> list[str]:
    """Give what the command of a worker gets before what the YAML adds."""
    if group.gpu:
        arguments = [
            "--resources GPU=1",
            "--nthreads 1",
            "--preload hpdp_dask.cluster.devices",
        ]
    else:
        arguments = [f"--resources CPU={group.jobqueue['cores'] // group.processes}"]
    arguments.append("--no-dashboard --dashboard-address 127.0.0.1:0")
    walltime = group.jobqueue.get("walltime")
    said = " ".join(group.jobqueue["worker_extra_args"])
    seconds = walltime_seconds(walltime, scheduler) if walltime else None
    if seconds is not None and "--lifetime" not in said:
        stagger = _SHARE * seconds
        lifetime = seconds - min(_MARGIN, _SHARE * seconds) - stagger
        arguments.append(f"--lifetime {lifetime:.0f}s --lifetime-stagger {stagger:.0f}s")
    return arguments


def walltime_seconds(walltime: str, scheduler: str) -> float | None:
    """Read a walltime as its batch scheduler does.

    Parameters
    ----------
    walltime : str
        As *HH:MM:SS*, and as *D-HH*, *D-HH:MM* or *D-HH:MM:SS* of SLURM. One number is minutes to
        SLURM and LSF and seconds to others; two are *HH:MM* to LSF and *MM:SS* to others.
    scheduler : str

    Returns
    -------
    float or None
        Seconds; None where it cannot be told.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+(?::\d+){0,2})", walltime)
    if found is None:
        return None
    parts = [float(part) for part in found[2].split(":")]
    if found[1] is not None:
        parts = [float(found[1]) * 24 + parts[0], *parts[1:]] + [0.0] * (3 - len(parts))
    elif scheduler == "lsf" and len(parts) < 3:
        parts = [0.0] * (2 - len(parts)) + parts + [0.0]
    elif scheduler == "slurm" and len(parts) == 1:
        parts = [0.0, *parts, 0.0]
    parts = [0.0] * (3 - len(parts)) + parts
    return (parts[0] * 60 + parts[1]) * 60 + parts[2]
