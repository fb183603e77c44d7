"""Clusters that outlive the shell: on this machine, and as jobs of a real SLURM."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from hpdp_dask.cluster import connect, standing
from hpdp_dask.cluster import connection as connections
from hpdp_dask.cluster.connection import (
    all_connections,
    claimed_name,
    folder_of,
    state_folder,
)
from hpdp_dask.cluster.standing_start import start
from hpdp_dask.errors import InputError

SITE = """\
hpdp:
  scheduler: slurm
  interface: lo
  shared-directory: {folder}/shared
  groups:
    cpu: {{workers: 1}}
    gpu: {{gpu: true, workers: 0}}
    head: {{}}
jobqueue:
  cpu: {{queue: {queue}, cores: 1, memory: 600MiB, walltime: "00:20:00"}}
  gpu: {{queue: gpu, cores: 1, memory: 600MiB, walltime: "00:20:00",
        job-extra-directives: ["--gres=gpu:1"]}}
  head: {{queue: cpu, cores: 1, memory: 1GiB, walltime: "00:30:00"}}
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of the test's own; clusters that a failed test left are ended."""
    monkeypatch.setenv("HPDP_STATE", str(tmp_path / "state"))
    yield tmp_path / "state"
    for connection in all_connections():
        standing.stop(connection)


def site(tmp_path: Path, queue: str = "cpu") -> str:
    path = tmp_path / f"{queue}.yaml"
    path.write_text(SITE.format(folder=tmp_path, queue=queue))
    return str(path)


def until(condition: Callable[[], bool], patience: float = 60.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.2)


def test_a_cluster_is_started_joined_scaled_and_stopped(state: Path) -> None:
    before = time.time()
    connection = start("local", name="beam", workers=1, memory_limit="500MB")
    assert standing.find("beam") == connection
    file = state / "clusters" / "beam.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder_of("beam").stat().st_mode) == 0o700
    assert connection.address.startswith("tcp://127.0.0.1:")
    assert connection.started.timestamp() >= before - 1
    assert os.getsid(connection.pid) == connection.pid  # a terminal that closes does not end it
    told = standing.tell(connection)
    assert [(group.name, group.wanted, group.workers) for group in told.groups] == [
        ("local", "1", 1)
    ]
    assert told.groups[0].memory == 500_000_000
    assert told.scheduler == "none"

    with connect("beam") as client:
        assert client.submit(sum, [1, 2]).result() == 3

    with pytest.raises(InputError, match=r"a cluster beam runs on .*choose another name"):
        start("local", name="beam")
    with pytest.raises(InputError, match=r"there is no group 'gpu'; the groups .* are local"):
        standing.scale(connection, "gpu", 1, 1)
    standing.scale(connection, None, 2, 2)
    until(lambda: standing.tell(connection).groups[0].workers == 2)
    standing.scale(connection, "local", 0, 1)
    assert standing.tell(connection).groups[0].wanted == "0..1"

    assert standing.stop(connection)
    assert connection.gone
    assert list((state / "clusters").iterdir()) == []


def test_a_cluster_that_was_killed_is_recognised_and_replaced(state: Path) -> None:
    first = start("local", name="beam", workers=1, memory_limit="500MB", wait=0)
    children = psutil.Process(first.pid).children(recursive=True)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: first.gone)
    with pytest.raises(InputError, match="has gone without clearing its file; clear it with hpdp"):
        standing.join(first)
    assert standing.find("beam") == first
    second = start("local", name="beam", workers=1, memory_limit="500MB", wait=0)
    assert second.pid != first.pid
    os.kill(second.pid, signal.SIGTERM)
    until(lambda: second.gone)
    assert list((state / "clusters").iterdir()) == []
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def test_what_cannot_start_says_why_and_leaves_nothing(state: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the memory limit '1kB' is not a size"):
        start("local", name="beam", memory_limit="1kB")
    with pytest.raises(InputError, match="the cluster 'nowhere' is not known"):
        start("nowhere", name="beam")
    assert list((state / "clusters").iterdir()) == []


@pytest.mark.parametrize("name", ["local", "local-cuda", "a/b", "", ".hidden", "-x"])
def test_names(name: str) -> None:
    with pytest.raises(InputError, match="choose another with --name"):
        start("local", name=name)


def test_one_name_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_RELEASE", 0.0)
    with (
        claimed_name("beam"),
        pytest.raises(InputError, match="a cluster beam is there already"),
        claimed_name("beam"),
    ):
        pass


def test_a_file_that_is_no_connection() -> None:
    (state_folder("clusters", make=True) / "beam.json").write_text('{"name": "beam"}')
    with pytest.raises(InputError, match=r"beam.json: is not the file of a running cluster"):
        standing.find("beam")
    (state_folder("clusters") / "beam.json").unlink()


@pytest.mark.slurm
def test_jobs_come_and_go(
    slurm: Path, queue: Callable[[], list[str]], state: Path, tmp_path: Path
) -> None:
    connection = start(site(tmp_path), name="beam", wait=90)
    assert queue() == ["hpdp-cpu"]
    assert connection.address.startswith("tls://")
    assert connection.tls is not None
    assert stat.S_IMODE((connection.tls / "key.pem").stat().st_mode) == 0o600
    with standing.join(connection) as client:
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3
    standing.scale(connection, "cpu", 2, 2)
    until(lambda: sorted(queue()) == ["hpdp-cpu", "hpdp-cpu"])
    cpu, gpu = standing.tell(connection).groups
    assert (cpu.name, cpu.wanted, len(cpu.jobs)) == ("cpu", "2", 2)
    assert (gpu.name, gpu.wanted, gpu.jobs) == ("gpu", "0", [])
    assert "RUNNING" in standing.describe_jobs("slurm", cpu)
    standing.scale(connection, "cpu", 0, 0)
    until(lambda: queue() == [])
    assert standing.stop(connection)
    assert queue() == []
    assert list((state / "clusters").iterdir()) == []
    assert list((tmp_path / "shared").iterdir()) == []


@pytest.mark.slurm
def test_a_queue_that_does_not_run_the_jobs(
    slurm: Path, queue: Callable[[], list[str]], state: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"do not start .*[Ii]nvalid partition"):
        start(site(tmp_path, "nosuch"), name="beam", wait=60)
    with pytest.raises(InputError, match=r"no worker came within 1 s .*PartitionDown"):
        start(site(tmp_path, "closed"), name="beam", wait=1)
    assert queue() == []
    assert list((state / "clusters").iterdir()) == []
    assert list((tmp_path / "shared").iterdir()) == []


@pytest.mark.slurm
def test_jobs_of_a_cluster_that_was_killed_are_cancelled(
    slurm: Path, queue: Callable[[], list[str]], tmp_path: Path
) -> None:
    connection = start(site(tmp_path, "closed"), name="beam", wait=0)
    until(lambda: (folder_of("beam") / "jobs.json").exists())
    os.kill(connection.pid, signal.SIGKILL)
    until(lambda: connection.gone)
    assert queue() == ["hpdp-cpu"]
    assert standing.stop(connection) is False
    until(lambda: queue() == [])
