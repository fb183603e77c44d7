import os
import socket
import subprocess
import sys
import types
import urllib.request
from contextlib import suppress
from types import SimpleNamespace

import psutil
import pytest
from distributed import Client

from hpdp_dask.cluster import answer, connect, devices
from hpdp_dask.cluster.devices import DeviceMemory, visible_devices
from hpdp_dask.dataflow.futures import device_resources
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.arrays import has_gpu


def describe(dask_worker):
    import numba

    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX")
    return {
        "threads": dask_worker.state.nthreads,
        "environment": {os.environ.get(name) for name in names},
        "numba": numba.config.NUMBA_NUM_THREADS,
        "preloaded": "xarray" in sys.modules,
        "folder": dask_worker.local_directory,
    }


def test_workers_are_processes_of_one_thread(client):
    found = client.run(describe)
    assert len(found) == 2
    for address, worker in found.items():
        assert address.startswith("tcp://127.0.0.1:")
        assert worker["threads"] == worker["numba"] == 1
        assert worker["environment"] == {"1"}
        assert worker["preloaded"]
    workers = client.scheduler_info()["workers"].values()
    assert {worker["memory_limit"] for worker in workers} == {2**31}
    assert os.environ.get("MALLOC_ARENA_MAX") is None  # only workers are bound


def test_dashboard_is_made_when_somebody_looks(client):
    link = client.dashboard_link
    assert link.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(link) as page:
        assert b"bokeh" in page.read().lower()
    with urllib.request.urlopen(link.replace("/status", "/workers")) as page:
        assert page.status == 200
    with urllib.request.urlopen(link.replace("/status", "/health")) as page:
        assert page.read() == b"ok"


def test_closing_ends_processes_and_removes_files():
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with connect("local", workers=1, memory_limit="500MB") as client:
        [worker] = client.run(describe).values()
        assert os.path.isdir(worker["folder"])
        [pid] = client.run(os.getpid).values()
        assert psutil.pid_exists(pid)
        link = client.dashboard_link
    assert not os.path.exists(worker["folder"])
    assert not psutil.pid_exists(pid)
    left = [
        process.name()
        for process in psutil.Process().children(recursive=True)
        if process.pid not in before and "resource_tracker" not in " ".join(process.cmdline())
    ]
    assert left == []
    with suppress(OSError), urllib.request.urlopen(link, timeout=1) as page:
        pytest.fail(f"{link} still answers: {page.status}")


def test_join_a_scheduler(client):
    with connect(client.scheduler.address) as other:
        assert len(other.scheduler_info()["workers"]) == 2
        with pytest.raises(InputError, match="leave out their number"):
            connect(client.scheduler.address, workers=3)
    assert client.submit(sum, [1, 2]).result() == 3  # closing one leaves the other


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_nothing_answers(monkeypatch, scheme):
    monkeypatch.setattr("hpdp_dask.cluster.ANSWER_TIMEOUT", "0.5s")
    with pytest.raises(InputError, match=rf"{scheme}://127.0.0.1:1: no Dask scheduler answers"):
        connect(f"{scheme}://127.0.0.1:1")


@pytest.mark.parametrize("where", ["slurm", "", "127.0.0.1:8786", "LOCAL"])
def test_unknown_cluster(where):
    with pytest.raises(InputError, match="give local, local-cuda, the address"):
        connect(where)


@pytest.mark.parametrize("limit", ["much", "-1GB", "1MB", 0])
def test_memory_limit_must_be_a_size(limit):
    with pytest.raises(InputError, match="is not a size of at least"):
        connect("local", workers=1, memory_limit=limit)


def test_at_least_one_worker():
    with pytest.raises(InputError, match="0 workers are too few"):
        connect("local", workers=0)


@pytest.mark.skipif(has_gpu(), reason="there is a CUDA device")
def test_no_device():
    with pytest.raises(InputError, match="no CUDA device is found"):
        connect("local-cuda")


@pytest.fixture
def three_devices(monkeypatch):
    """Stands in for CuPy on a machine with three devices; gives what was bound."""
    bound = {}
    plans = SimpleNamespace(
        set_size=lambda number: bound.update(plans=number),
        set_memsize=lambda size: bound.update(plan_bytes=size),
    )
    cupy = types.ModuleType("cupy")
    cupy.cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDeviceCount=lambda: 3),
        Device=lambda: SimpleNamespace(mem_info=(50, 1000)),
    )
    cupy.get_default_memory_pool = lambda: SimpleNamespace(
        set_limit=lambda fraction: bound.update(pool=fraction)
    )
    cupy.fft = SimpleNamespace(config=SimpleNamespace(get_plan_cache=lambda: plans))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    return bound


def test_devices_are_named_as_the_scheduler_named_them(three_devices, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_devices() == ["0", "1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6,GPU-ab")
    assert visible_devices() == ["4", "6", "GPU-ab"]


def test_one_worker_a_device(three_devices, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    with pytest.raises(InputError, match="4 workers of one CUDA device each do not fit the 3"):
        connect("local-cuda", workers=4)
    with monkeypatch.context() as patch:
        # there is no CuPy whose memory could be bound in the workers
        patch.setattr(Client, "register_plugin", lambda _client, plugin: None)
        client = connect("local-cuda", workers=2, memory_limit="1GiB")
    with client:
        seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        assert sorted(seen.values()) == ["4", "6"]
        workers = client.scheduler_info()["workers"].values()
        assert [worker["resources"] for worker in workers] == [{"GPU": 1}, {"GPU": 1}]
        assert client.submit(os.getpid, resources=device_resources(client)).result() > 0


def test_device_memory_is_bound_in_the_thread_of_tasks(three_devices, client):
    used = []
    executor = SimpleNamespace(
        submit=lambda function: SimpleNamespace(result=lambda: used.append(function()))
    )
    DeviceMemory().setup(SimpleNamespace(executors={"default": executor}))
    assert len(used) == 1
    assert three_devices == {"pool": 0.85, "plans": 8, "plan_bytes": 100}


def test_a_scheduler_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(answer, "ANSWER_TIMEOUT", "1s")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(InputError, match="no Dask scheduler answers"):
            connect(address)


def test_batch_clusters_leave_signals_alone_and_need_no_main_thread():
    code = (
        "import signal, threading; before = signal.getsignal(signal.SIGINT); "
        "t = threading.Thread(target=__import__, args=['hpdp_dask.cluster.jobs']); t.start(); "
        "t.join(); import sys; assert 'dask_jobqueue.slurm' in sys.modules; "
        "assert signal.getsignal(signal.SIGINT) is before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
