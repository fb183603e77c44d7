"""Workers as jobs of a real SLURM: they come, are replaced, follow the work, and leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from distributed import Client, get_worker

from hpdp_dask.cluster import connect, jobs
from hpdp_dask.cryoem.simulate import phantom, simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images

pytestmark = pytest.mark.slurm

CLUSTERS = Path(__file__).parents[2] / "clusters"
HPDP = [sys.executable, "-c", "from hpdp_dask.cli.main import main; main()"]
Queue = Callable[[], list[str]]


def job(**options: Any) -> dict[str, Any]:
    """Give a small job for the node of the tests."""
    small = {
        **{"cores": 1, "processes": 1, "memory": "800MiB", "walltime": "00:20:00"},
        **{"queue": "cpu", "interface": "lo", "python": sys.executable, "death-timeout": 30},
    }
    return small | {key.replace("_", "-"): value for key, value in options.items()}


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., str]:
    """A function that derives a YAML from one of the package's and gives its path."""

    def derive(
        name: str = "slurm-cpu", groups: dict[str, Any] | None = None, **sections: Any
    ) -> str:
        said = yaml.safe_load((CLUSTERS / f"{name}.yaml").read_text())
        said["hpdp"] |= {
            **{"interface": "lo", "shared-directory": str(tmp_path / "shared")},
            "groups": groups or {name: {"workers": 1} for name in sections},
        }
        said["jobqueue"] = sections
        said["distributed"]["deploy"] = {"lost-worker-timeout": "1s"}
        path = tmp_path / "site.yaml"
        path.write_text(yaml.safe_dump(said))
        return str(path)

    return derive


def slow() -> Callable[[int], int]:
    """Give a task; jobs cannot import this file, so it must be a function within one."""

    def task(number: int) -> int:
        time.sleep(0.05)
        return number

    return task


def until(true: Callable[[], Any], patience: float = 60.0) -> None:
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.1)


def names(client: Client) -> set[str]:
    return {worker["name"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}


def test_a_small_computation(site: Callable[..., str], queue: Queue, tmp_path: Path) -> None:
    import dask.array as da

    where = site(groups={"cpu": {"workers": 2}}, cpu=job(cores=2, processes=2))
    with connect(where, wait=60) as client:
        until(lambda: len(names(client)) == 2)
        assert names(client) == {"cpu-0-0", "cpu-0-1"}
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        assert queue() == ["hpdp-cpu"]
        ones = da.ones((400, 400), chunks=200)
        assert client.compute((ones @ ones.T).sum()).result() == 400**3
        environment = client.run(lambda: dict(os.environ))
        for variables in environment.values():
            assert variables["OMP_NUM_THREADS"] == variables["NUMBA_NUM_THREADS"] == "1"
            assert variables["CUDA_VISIBLE_DEVICES"] == ""
            assert variables["MALLOC_ARENA_MAX"] == "1"
    until(lambda: queue() == [], 10)
    assert list((tmp_path / "shared").iterdir()) == []


def test_a_job_that_ended_is_replaced(site: Callable[..., str], queue: Queue) -> None:
    with connect(site(cpu=job()), wait=60) as client:
        [job_id] = [it.job_id for it in client.cluster.jobs("cpu").values()]
        tasks = client.map(slow(), range(40), pure=False)
        until(lambda: any(task.status == "finished" for task in tasks))
        subprocess.run(["scancel", job_id], check=True)
        assert client.gather(tasks) == list(range(40))
        assert names(client) == {"cpu-1"}
        [other] = [it.job_id for it in client.cluster.jobs("cpu").values()]
        assert other != job_id
        client.cluster.scale_group("cpu", 0)
        until(lambda: names(client) == set() and queue() == [])


def test_a_queue_that_refuses_for_a_while(
    site: Callable[..., str], queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(jobs.log, "warning", lambda text, *words: said.append(text % words))
    with connect(site(cpu=job()), wait=60) as client:
        held = client.cluster.held["cpu"]
        held.options["queue"] = "nowhere"
        subprocess.run(["scancel", "--name=hpdp-cpu"], check=True)
        until(lambda: held.failures == 3)
        assert 2 < held.pause <= 4
        assert "invalid partition specified: nowhere" in client.cluster.refusals["cpu"]
        assert sum("Workers of the group cpu: sbatch: error" in line for line in said) == 2
        held.options["queue"] = "cpu"
        assert client.submit(sum, [1, 2]).result(60) == 3
    until(lambda: queue() == [], 20)


def test_the_number_of_workers_follows_the_work(site: Callable[..., str], queue: Queue) -> None:
    where = site(groups={"cpu": {"minimum": 1, "maximum": 3}}, cpu=job())
    with connect(where, wait=60) as client:
        assert queue() == ["hpdp-cpu"]
        kept = client.submit(list, [1, 2, 3])
        assert kept.result() == [1, 2, 3]
        tasks = client.map(slow(), range(150), pure=False)
        until(lambda: len(queue()) == 3 and len(names(client)) == 3)
        assert client.gather(tasks) == list(range(150))
        del tasks
        until(lambda: len(queue()) == 1)
        assert kept.result() == [1, 2, 3]  # handed over, if its worker left


BOUND = {"pool": 0.85, "plans": 8, "plan_bytes": 100}
#: Stands for CuPy where a job has a pretend GPU: devices by number, nothing on them.
CUPY = """
import os
from types import SimpleNamespace

def is_available():
    return bool(os.environ.get("CUDA_VISIBLE_DEVICES"))

cuda = SimpleNamespace(
    runtime=SimpleNamespace(getDeviceCount=lambda: 1),
    Device=lambda: SimpleNamespace(mem_info=(50, 1000)),
)
bound = {}
def get_default_memory_pool():
    return SimpleNamespace(set_limit=lambda fraction: bound.update(pool=fraction))
plans = SimpleNamespace(
    set_size=lambda number: bound.update(plans=number),
    set_memsize=lambda size: bound.update(plan_bytes=size),
)
fft = SimpleNamespace(config=SimpleNamespace(get_plan_cache=lambda: plans))
"""


def found() -> Callable[[], tuple[str, str | None, dict[str, float]]]:
    """Give a task that tells of its worker: name, device, bounds of the device's memory."""

    def task() -> tuple[str, str | None, dict[str, float]]:
        time.sleep(0.1)
        bound = vars(sys.modules["cupy"])["bound"] if "cupy" in sys.modules else {}
        return str(get_worker().name), os.environ.get("CUDA_VISIBLE_DEVICES"), bound

    return task


def test_tasks_that_ask_for_a_gpu_run_on_gpu_workers_alone(
    site: Callable[..., str], queue: Queue, tmp_path: Path
) -> None:
    (tmp_path / "cupy.py").write_text(CUPY)
    where = site(
        groups={"cpu": {"workers": 1}, "gpu": {"workers": 2, "gpu": True}},
        cpu=job(),
        gpu=job(
            queue="gpu",
            job_extra_directives=["--gres=gpu:1"],
            job_script_prologue=[f"export PYTHONPATH={tmp_path}"],
        ),
    )
    with connect(where, wait=60) as client:
        until(lambda: names(client) == {"cpu-0", "gpu-0", "gpu-1"})
        assert sorted(queue()) == ["hpdp-cpu", "hpdp-gpu", "hpdp-gpu"]
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        assert {it["name"]: (it["resources"], it["nthreads"]) for it in workers} == {
            "cpu-0": ({"CPU": 1}, 1),
            "gpu-0": ({"GPU": 1}, 1),
            "gpu-1": ({"GPU": 1}, 1),
        }
        asked = [client.submit(found(), resources={"GPU": 1}, pure=False) for _ in range(12)]
        others = [client.submit(found(), resources={"CPU": 1}, pure=False) for _ in range(4)]
        answers = client.gather(asked)
        assert {name for name, _, _ in answers} == {"gpu-0", "gpu-1"}
        assert sorted({str(device) for _, device, _ in answers}) == ["0", "1"]
        assert all(bound == BOUND for _, _, bound in answers)
        assert {answer[:2] for answer in client.gather(others)} == {("cpu-0", "")}


def test_a_gpu_group_without_a_gpu(site: Callable[..., str], queue: Queue) -> None:
    where = site(groups={"gpu": {"gpu": True}}, gpu=job())
    with pytest.raises(InputError, match="no CUDA device is found") as raised:
        connect(where, wait=100)
    assert "ended before its worker came" in str(raised.value)
    until(lambda: queue() == [], 20)


def test_a_queue_that_refuses(site: Callable[..., str], queue: Queue, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match="invalid partition specified: nowhere"):
        connect(site(cpu=job(queue="nowhere")), wait=100)
    assert time.monotonic() - began < 20
    until(lambda: queue() == [], 20)
    assert list((tmp_path / "shared").iterdir()) == []


def test_no_worker_in_time(site: Callable[..., str], queue: Queue) -> None:
    with pytest.raises(InputError, match=r"no worker came within 3 s \(cpu: job \d+ PENDING"):
        connect(site(cpu=job(queue="closed")), wait=3)
    until(lambda: queue() == [], 20)


def test_jobs_that_end_at_once(site: Callable[..., str], queue: Queue, tmp_path: Path) -> None:
    where = site(cpu=job(python="/nowhere/python"))
    with pytest.raises(InputError, match="No such file or directory") as raised:
        connect(where, wait=100)
    logs = Path(str(raised.value).split("what the jobs wrote is in ")[1].rstrip("."))
    assert logs.is_dir()
    assert not (logs.parent / "tls").exists()
    until(lambda: queue() == [], 20)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack") / "particles.zarr"
    table, images = simulate_particles(phantom(), 240, 16, pixel_size=12.0, snr=1.0)
    new_stack(path, to_dataset(table, 0), 240, 16, images_per_shard=60)
    write_images(path, 0, np.asarray(images))
    return path


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGHUP])
def test_a_command_that_waits_is_ended(
    site: Callable[..., str], stack: Path, queue: Queue, tmp_path: Path, ending: signal.Signals
) -> None:
    words = ["cryoem", "classify2d", stack, "-o", tmp_path / "classes"]
    words += ["--cluster", site(cpu=job(queue="closed"))]
    with subprocess.Popen(
        [*HPDP, *map(str, words)],
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell lets what it runs in the background ignore Ctrl-C, and so these tests maybe
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        until(lambda: queue() == ["hpdp-cpu"])
        # as a terminal does: to all of the command's processes
        os.killpg(process.pid, ending)
        try:
            _, said = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler tells where each thread is
            raise AssertionError(process.communicate()[1]) from None
    assert process.returncode == (130 if ending == signal.SIGINT else 143)
    assert "hpdp: interrupted" in said
    until(lambda: queue() == [], 20)
    assert list((tmp_path / "shared").iterdir()) == []


def test_waiting_jobs_of_a_killed_command_are_cancelled_by_the_next(
    site: Callable[..., str], stack: Path, queue: Queue, tmp_path: Path
) -> None:
    words = ["cryoem", "classify2d", stack, "-o", tmp_path / "classes"]
    words += ["--cluster", site(cpu=job(queue="closed"))]
    with subprocess.Popen([*HPDP, *map(str, words)]) as process:
        until(lambda: queue() == ["hpdp-cpu"] and list(tmp_path.glob("shared/*/owner.json")))
        [owner] = tmp_path.glob("shared/*/owner.json")
        until(lambda: json.loads(owner.read_text())["jobs"])
        process.kill()
    assert queue() == ["hpdp-cpu"]
    with connect(site(cpu=job()), wait=60):
        assert not owner.exists()
        until(lambda: queue() == ["hpdp-cpu"], 20)
    until(lambda: queue() == [], 20)
    assert list((tmp_path / "shared").iterdir()) == []


def test_two_commands_run_on_jobs_at_a_time(
    site: Callable[..., str], stack: Path, queue: Queue, tmp_path: Path, client: Client
) -> None:
    where = ["--cluster", site(groups={"cpu": {"workers": 2}}, cpu=job(cores=2, processes=2))]
    words = ["reconstruct", stack, "-o", tmp_path / "map", *where]
    more = ["classify2d", stack, "-o", tmp_path / "classes", "--classes", 3, *where]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(hpdp, *words), pool.submit(hpdp, *more)
        until(lambda: queue() == ["hpdp-cpu", "hpdp-cpu"] or first.done())
        assert not first.done()
        assert "Dashboard: http://127.0.0.1:" in first.result()
        assert "Iteration" in second.result()
    until(lambda: queue() == [], 20)
    hpdp("reconstruct", stack, "-o", tmp_path / "same", "--cluster", client.scheduler.address)
    found, same = (read_map(tmp_path / name / "map.mrc")[0] for name in ("map", "same"))
    np.testing.assert_array_equal(found, same)
    assert (tmp_path / "classes" / "classes.mrcs").is_file()


def hpdp(*words: object) -> str:
    """Run `hpdp cryoem` in a process of its own."""
    command = [*HPDP, "cryoem", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_command_that_is_ended_cancels_its_jobs(
    site: Callable[..., str], stack: Path, queue: Queue, tmp_path: Path
) -> None:
    words = ["classify2d", stack, "-o", tmp_path / "classes", "--classes", 20]
    command = [*HPDP, "cryoem", *words]
    command += ["--cluster", site(cpu=job()), "--wait", "100"]
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Iteration" in line:
                break
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 143
    until(lambda: queue() == [], 20)
    assert list((tmp_path / "shared").iterdir()) == []
