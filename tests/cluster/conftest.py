"""A SLURM of the tests' own: one node on this machine, real daemons, pretend GPUs."""

from __future__ import annotations

import contextlib
import getpass
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import ended

#: One node that offers 8 cores whatever the machine has. `cpu` and `gpu` run jobs at once; jobs
#: in `closed` are taken, and wait for ever. No control groups, no accounting: any user may run it.
CONFIGURATION = """\
ClusterName=hpdptest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
ReturnToService=2
KillWait=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
PartitionName=closed Nodes={host} MaxTime=INFINITE State=DOWN
"""

#: Two files that exist stand for two GPUs, so that SLURM sets CUDA_VISIBLE_DEVICES for each job.
PRETEND_GPUS = "Name=gpu Count=2 File=/dev/null,/dev/zero\n"

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run SLURM for the tests of this session, with SLURM_CONF set; give its folder."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        pytest.skip(f"no SLURM: {absent[0]} is not found (apt-get install slurm-wlm munge)")
    folder = tmp_path_factory.mktemp("slurm")
    # munged wants nobody but the owner to write to the folders above its socket
    for part in (folder, *folder.parents):
        if part == Path(tempfile.gettempdir()):
            break
        part.chmod(0o755)
    with _configured(folder), contextlib.ExitStack() as stack:
        for number, command in enumerate(_daemons(folder)):
            stack.enter_context(_running(command, folder / f"daemon-{number}.log"))
        stack.callback(_cancel_all)
        _wait_until_idle(folder)
        yield folder


@pytest.fixture
def queue(slurm: Path) -> Callable[[], list[str]]:
    """A function that gives the names of the jobs that SLURM holds, running or waiting."""
    return _queue


@contextlib.contextmanager
def _configured(folder: Path) -> Iterator[None]:
    """Write the configuration and name it to all that asks SLURM."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    controller_port, node_port = _free_ports(2)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            folder=folder,
            user=getpass.getuser(),
            controller_port=controller_port,
            node_port=node_port,
        )
    )
    (folder / "gres.conf").write_text(PRETEND_GPUS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield


def _daemons(folder: Path) -> list[list[str]]:
    munged = ["munged", "--foreground", "--force"]
    for option, name in (
        ("key-file", "munge.key"),
        ("socket", "munge.socket"),
        ("pid-file", "munged.pid"),
        ("log-file", "munged.log"),
        ("seed-file", "munged.seed"),
    ):
        munged.append(f"--{option}={folder / name}")
    return [munged, ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-c"]]


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    """Run a daemon in the foreground of a process of its own."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    with ended(process):
        yield


def _cancel_all() -> None:
    subprocess.run(["scancel", "--user", getpass.getuser()], check=False)
    patience = time.monotonic() + 10
    while _queue() and time.monotonic() < patience:
        time.sleep(0.1)


def _wait_until_idle(folder: Path) -> None:
    patience = time.monotonic() + 60
    while time.monotonic() < patience:
        if _ask("sinfo", "--noheader", "--partition=cpu", "--format=%t").strip() == "idle":
            return
        time.sleep(0.05)
    pytest.fail("SLURM does not start:\n" + (folder / "slurmctld.log").read_text()[-2000:])


def _queue() -> list[str]:
    return _ask("squeue", "--noheader", "--format=%j").split()


def _ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(number):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
        return ports
