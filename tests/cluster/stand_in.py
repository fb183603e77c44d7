"""Stands for the commands of a batch scheduler: runs each job at once, in the background.

    python stand_in.py SCHEDULER COMMAND [ARGUMENT ...]

The number of a job is that of its process, so nothing is kept.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil

COMMANDS = {
    "pbs": ("qsub", "qdel", "qstat"),
    "sge": ("qsub", "qdel", "qstat"),
    "lsf": ("bsub", "bkill", "bjobs"),
    "htcondor": ("condor_submit", "condor_rm", "condor_q"),
}
SAYS = {
    "pbs": "{}.server",
    "sge": 'Your job {} ("hpdp") has been submitted',
    "lsf": "Job <{}> is submitted to queue <normal>.",
    "htcondor": "Submitting job(s).\n1 job(s) submitted to cluster {}.",
}
LINE = {
    "pbs": "{}.server user workq hpdp-cpu 1 1 16 64gb 04:00 R 00:01",
    "sge": "  {} 0.5 hpdp-cpu user r 11/21/2026 17:00:00 all.q@host 1",
    "lsf": "{} user RUN normal host host hpdp-cpu Nov 21 17:00",
    "htcondor": "{} 0 2 undefined",
}
#: How the processes of jobs are known.
MARK = "HPDP_STAND_IN"


def submit(scheduler: str, script: str) -> None:
    if "refused" in script:
        sys.exit("qsub: Unknown queue")
    if scheduler == "htcondor":
        said = dict(re.findall(r"^(\w+) = (.*)$", script, re.M))
        words = re.findall(r"'((?:[^']|'')*)'|(\S+)", said["Arguments"][1:-1].replace('""', '"'))
        command = [said["Executable"], *(a.replace("''", "'") or b for a, b in words)]
        folder = Path(said["LogDirectory"])
    else:
        command = ["bash", "-c", script]
        [folder] = {Path(found).parent for found in re.findall(r"-o (\S+/)", script)}
    folder = folder if folder.is_dir() else folder.parent
    log = folder / f"log-{os.getpid()}"
    with log.open("wb") as output:
        job = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {MARK: scheduler},
        )
    log.rename(folder / f"worker-{job.pid}.log")
    print(SAYS[scheduler].format(job.pid))


def jobs(scheduler: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            leads = os.getsid(process.pid) == process.pid
            if leads and process.environ().get(MARK) == scheduler:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def main() -> None:
    scheduler, command, *arguments = sys.argv[1:]
    submits, cancels, _ = COMMANDS[scheduler]
    if command == submits:
        submit(scheduler, Path(arguments[-1]).read_text() if arguments else sys.stdin.read())
    elif command == cancels:
        number = int(arguments[-1].removesuffix(".0"))
        if number not in jobs(scheduler):
            sys.exit(f"{command}: no such job")
        os.killpg(number, signal.SIGTERM)
    else:
        for number in jobs(scheduler):
            print(LINE[scheduler].format(number))


if __name__ == "__main__":
    main()
