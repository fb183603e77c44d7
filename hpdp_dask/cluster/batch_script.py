"""The script of a job that runs a whole command, made from what a site says of its workers."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from hpdp_dask.cluster.batch import BatchJob, job_class
from hpdp_dask.cluster.job_options import walltime_seconds
from hpdp_dask.cluster.site import Site
from hpdp_dask.errors import InputError

#: What a command takes beside its workers, where the site does not say.
_CORES, _MEMORY = 2, "4GiB"

#: What such a job has in common with the workers of the site: who pays, where, and with what.
_COMMON = {
    *("queue", "account", "project", "walltime", "python", "shebang", "job_script_prologue"),
    *("job_directives_skip", "disk", "use_stdin", "lsf_units"),
    *("submit_command_extra", "cancel_command_extra"),
}
#: Seconds before the walltime at which a command is asked to end, at most a tenth of it.
_NOTICE, _SHARE = 120, 0.1


def command_job(
    site: Site, name: str, module: list[str], said: Path, walltime: str | None
) -> BatchJob:
    """Make the job that runs a Python module on one node.

    Parameters
    ----------
    site : Site
        Of a batch scheduler. A group `head` gives all options; else queue, account, walltime and
        environment are those of its workers (of those without a GPU, where there are such), with
        2 cores and 4 GiB.
    name : str
        Of the job.
    module : list of str
        The module and its words.
    said : Path
        For what the batch scheduler and the shell say.
    walltime : str or None
        In place of the site's.

    Returns
    -------
    BatchJob
        Not submitted yet.

    Raises
    ------
    InputError
        The batch scheduler knows no walltime.
    """
    options = _options(site)
    if walltime is not None:
        if site.scheduler == "htcondor":
            raise InputError(
                f"{site.path}: jobs of htcondor have no walltime; leave out --walltime."
            )
        options["walltime"] = walltime
    python = options["python"] or sys.executable
    more = _directives(site.scheduler, said, options.get("walltime"))
    options |= {
        "python": python,
        "job_name": name,
        "job_extra_directives": _joined(options.get("job_extra_directives"), more),
        "log_directory": None,
        "processes": 1,
    }
    job = job_class(site.scheduler)(scheduler="", name=name, **options)
    # the process takes the shell's place, so that the signals of the batch scheduler reach it
    words = f"exec {python} -m {shlex.join(module)}"
    if site.scheduler == "htcondor":
        words = "; ".join([*options["job_script_prologue"], words])
    job._command_template = words
    return job


def _options(site: Site) -> dict[str, Any]:
    if site.head is not None:
        return dict(site.head.jobqueue)
    groups = sorted(site.groups.values(), key=lambda group: group.gpu)
    common = {key: value for key, value in groups[0].jobqueue.items() if key in _COMMON}
    return {"cores": _CORES, "memory": _MEMORY} | common


def _joined(given: Any, more: Any) -> Any:
    """Add directives, which HTCondor names and others list."""
    return {**(given or {}), **more} if isinstance(more, dict) else [*(given or []), *more]


def _directives(scheduler: str, said: Path, walltime: str | None) -> Any:
    """Give where output goes, and that a signal comes before the walltime."""
    seconds = walltime_seconds(walltime, scheduler) if walltime else None
    notice = round(min(_NOTICE, _SHARE * seconds)) if seconds else _NOTICE
    return {
        "slurm": [f"--output={said}", "--open-mode=append", f"--signal=B:TERM@{notice}"],
        "pbs": ["-j oe", f"-o {said}"],
        "lsf": [f"-o {said}", f"-wt {max(1, round(notice / 60))}", "-wa TERM"],
        "sge": [f"-o {said}", "-notify"],
        "htcondor": {
            "Output": said,
            "Error": said,
            "Stream_Output": True,
            "Stream_Error": True,
            "Kill_Sig": "SIGTERM",
        },
    }[scheduler]
