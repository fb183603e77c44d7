"""Checks of the jobs of a site: would its batch scheduler take them, and could they work."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
from dask.utils import parse_bytes

from hpdp_dask import __version__
from hpdp_dask.cluster.batch import BatchJob, job_class
from hpdp_dask.cluster.batch_queue import ask_queue
from hpdp_dask.cluster.batch_script import command_job
from hpdp_dask.cluster.doctor import Finding, check_memory
from hpdp_dask.cluster.job_options import job_options, walltime_seconds
from hpdp_dask.cluster.site import Group, Site

#: What each batch scheduler is spoken to with: to submit, cancel and ask.
_COMMANDS = {
    "slurm": ("sbatch", "scancel", "squeue"),
    "pbs": ("qsub", "qdel", "qstat"),
    "lsf": ("bsub", "bkill", "bjobs"),
    "sge": ("qsub", "qdel", "qstat"),
    "htcondor": ("condor_submit", "condor_rm", "condor_q"),
}
#: What asks whether a script would be taken, without submitting it.
_TESTS = {
    "slurm": ["sbatch", "--test-only"],
    "sge": ["qsub", "-w", "v"],
    "htcondor": ["condor_submit", "-dry-run", os.devnull],
}
#: Where there is no such thing: what asks whether a queue is there.
_QUEUES = {"pbs": ["qstat", "-Q"], "lsf": ["bqueues"]}
#: Folders that other machines have another of.
_OWN = ("/tmp", "/var/tmp", "/dev/shm", "/run", tempfile.gettempdir())
#: How directives ask for devices.
_DEVICES = re.compile(r"gpu|gres|cuda|nvidia", re.IGNORECASE)


def examine_jobs(site: Site) -> Iterator[Finding]:
    """Check the jobs of a site.

    Parameters
    ----------
    site : Site
        Of a batch scheduler.

    Yields
    ------
    Finding
    """
    yield _shared("shared folder", site.shared_directory, "hpdp.shared-directory")
    absent = [name for name in _COMMANDS[site.scheduler] if shutil.which(name) is None]
    if absent:
        yield Finding(
            "fail",
            "commands",
            f"{', '.join(absent)} not found",
            f"call hpdp where jobs of {site.scheduler} can be submitted, a login node",
        )
    else:
        yield Finding("ok", "commands", f"{', '.join(_COMMANDS[site.scheduler])} are there")
    for group in site.groups.values():
        yield from _group(site, group, asks=not absent)
    try:
        job = command_job(site, "hpdp-doctor", ["platform"], Path(os.devnull), None)
    except (ValueError, TypeError, KeyError, OSError) as error:
        yield Finding("fail", "hpdp submit", f"no job can be made ({error})")
        return
    if not absent:
        yield _taken(site, "hpdp submit", job, site.head)


def _group(site: Site, group: Group, asks: bool) -> Iterator[Finding]:
    topic = f"group {group.name}"
    try:
        # a folder that dask-jobqueue finds there already, lest it makes one
        options = job_options(site, group, security=None, log_directory=Path(os.devnull).parent)
        options["log_directory"] = str(Path(os.devnull).parent)
        job = job_class(site.scheduler)("tcp://127.0.0.1:1", name=f"{group.name}-0", **options)
        job.job_script()
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        yield Finding("fail", topic, f"no job can be made of it ({error})", "see jobqueue above")
        return
    if asks:
        yield _taken(site, topic, job, group)
    limit = parse_bytes(group.jobqueue["memory"]) // group.processes
    threads = 1 if group.gpu else group.jobqueue["cores"] // group.processes
    advice = "raise memory, or lower processes"
    yield check_memory(f"{topic}, memory", int(limit), max(1, threads), advice)
    yield from _devices(group, topic)
    yield from _walltime(site, group, topic)
    interface = group.jobqueue.get("interface")
    if interface and interface not in psutil.net_if_addrs():
        yield Finding(
            "warn",
            f"{topic}, network",
            f"this machine has no interface {interface!r}",
            "see that the compute nodes have it; hpdp.interface is that of this machine",
        )
    if group.jobqueue.get("log_directory"):
        folder = Path(group.jobqueue["log_directory"]).expanduser()
        yield _shared(f"{topic}, logs", folder, "log-directory")
    if group.jobqueue.get("python") not in (None, sys.executable):
        yield _python(group.jobqueue["python"], topic)


def _taken(site: Site, topic: str, job: BatchJob, group: Group | None) -> Finding:
    """Ask whether the batch scheduler would take a job."""
    test = _TESTS.get(site.scheduler)
    if test is None:
        queue = group.jobqueue.get("queue") if group else None
        if not queue:
            return Finding(
                "ok", topic, f"{site.scheduler} tells of a job only once it is submitted"
            )
        right, said = ask_queue([*_QUEUES[site.scheduler], queue])
        if right:
            return Finding("ok", topic, f"the queue {queue} is there")
        return Finding("fail", topic, f"the queue {queue}: {said}", "correct queue")
    with job.job_file() as script:
        right, said = ask_queue([*test, script])
    if right:
        return Finding("ok", topic, f"would be taken: {said}" if said else "would be taken")
    return Finding("fail", topic, f"would be refused: {said}", "correct what it names")


def _devices(group: Group, topic: str) -> Iterator[Finding]:
    """See whether the directives ask for devices; the name of a queue says nothing of it."""
    directives = group.jobqueue.get("job_extra_directives") or []
    if isinstance(directives, dict):
        directives = [f"{key} = {value}" for key, value in directives.items()]
    said = [*directives, group.jobqueue.get("resource_spec") or ""]
    asked = ", ".join(line for line in said if _DEVICES.search(line))
    topic = f"{topic}, GPU"
    if group.gpu and not asked:
        yield Finding(
            "fail",
            topic,
            "no directive asks for one",
            "add it to job-extra-directives, as --gres=gpu:1 of SLURM",
        )
    elif group.gpu:
        yield Finding("ok", topic, f"asked for by {asked}")
    elif asked:
        yield Finding(
            "warn",
            topic,
            f"asked for by {asked}, but its workers do not use it",
            f"write gpu: true in hpdp.groups.{group.name}",
        )


def _walltime(site: Site, group: Group, topic: str) -> Iterator[Finding]:
    walltime = group.jobqueue.get("walltime")
    topic = f"{topic}, walltime"
    if not walltime:
        return
    seconds = walltime_seconds(walltime, site.scheduler)
    if seconds is None:
        yield Finding(
            "warn",
            topic,
            f"{walltime!r} cannot be read, so workers do not hand over before they are ended",
            'write it as "HH:MM:SS" (LSF: "HH:MM")',
        )
    elif seconds < 600:
        yield Finding(
            "warn", topic, f"{walltime}: workers spend much of it on starting", "give them an hour"
        )
    else:
        yield Finding("ok", topic, f"{walltime}; workers hand over before it")


def _shared(topic: str, folder: Path, key: str) -> Finding:
    """Check a folder that all machines must see."""
    there = next(part for part in (folder, *folder.parents) if part.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding("fail", topic, f"{folder}: cannot be written", f"set {key} to another")
    if any(folder.absolute().is_relative_to(own) for own in _OWN):
        return Finding(
            "warn",
            topic,
            f"{folder}: other machines have a folder of their own there",
            f"set {key} to one that all machines see, unless there is only this one",
        )
    return Finding("ok", topic, f"{folder}: can be written; compute nodes must see it too")


def _python(python: str, topic: str) -> Finding:
    """Ask the Python of the workers for its version of this package."""
    code = "import hpdp_dask; print(hpdp_dask.__version__)"
    right, said = ask_queue([*python.split(), "-c", code])
    topic = f"{topic}, python"
    if not right:
        return Finding(
            "warn", topic, f"{python} does not run hpdp_dask here: {said}", "try it in a job"
        )
    if said != __version__:
        return Finding(
            "fail",
            topic,
            f"{python} has hpdp_dask {said}, this is {__version__}",
            "make them equal",
        )
    return Finding("ok", topic, f"{python} has the same hpdp_dask")
