"""Clusters on this machine: processes of one thread each, and one process per CUDA device.

Starting is kept cheap, since short commands start one too. Workers are forked from a server
process that has imported what they need (no thread of Python runs in it, no device is touched),
the pages of the dashboard are made at the first visit, and what Dask's processes do while they
wait is slowed down. To start, to use xarray, Zarr and Numba in each of two workers and to end
costs 2.3 CPU seconds this way and 4.3 with `LocalCluster` as it comes; to wait costs 2 % of a
core and not 11 %.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from multiprocessing import active_children, forkserver
from typing import Any

import dask
from dask.system import CPU_COUNT
from dask.utils import format_bytes, parse_bytes
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.system import MEMORY_LIMIT

from hpdp_dask.cluster.dashboard import show_at_first_visit
from hpdp_dask.cluster.devices import DeviceMemory, visible_devices
from hpdp_dask.errors import InputError

#: The share of the machine's memory that all workers have together.
MEMORY_SHARE = 0.9
#: Less is not enough to import what a worker needs.
LEAST_MEMORY = 200 * 2**20
HOST = "127.0.0.1"
DASHBOARD_PORT = 8787

#: One thread a worker, so one thread in what it calls, and no device, which workers that know
#: nothing of each other would share (each worker of `local-cuda` gets its own). Blocks of images
#: are allocated and freed all the time: by default glibc gives them back to the kernel each time,
#: and a quarter of the time of a fold goes into clearing pages that come back.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
}

#: Dask's own work on the side, slowed down.
SETTINGS = {
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.memory.monitor-interval": "200ms",
    "distributed.worker.profile.interval": "100ms",
}


class LocalClient(Client):
    """A client that owns its cluster, whose scheduler is in this process.

    Attributes
    ----------
    resources : contextlib.ExitStack
        Closed after the client: the cluster, its processes and its files.
    """

    def __init__(self, cluster: SpecCluster, direct_to_workers: bool = True) -> None:
        self.resources = contextlib.ExitStack()
        super().__init__(cluster, direct_to_workers=direct_to_workers)

    def close(self, *args: Any, **options: Any) -> Any:
        """Close the client and end the cluster."""
        closed = super().close(*args, **options)
        self.resources.close()
        return closed


def start_local(workers: int | None, memory_limit: str | int | None) -> Client:
    """Start worker processes of one thread each.

    Parameters
    ----------
    workers : int or None
        By default the cores that this process may use, by affinity and control group.
    memory_limit : str, int or None
        Of each worker.

    Returns
    -------
    distributed.Client

    Raises
    ------
    InputError
        There are no such numbers of workers or of bytes.
    """
    number = CPU_COUNT if workers is None else workers
    if number < 1:
        raise InputError(f"{number} workers are too few; give a number from 1.")
    options = {"memory_limit": _memory_limit(memory_limit, number), "env": ENVIRONMENT}
    return _start([options] * number, "forkserver")


def start_local_cuda(workers: int | None, memory_limit: str | int | None) -> Client:
    """Start one worker process per CUDA device, pinned to it, with the resource GPU.

    Parameters
    ----------
    workers : int or None
        By default as many as there are devices.
    memory_limit : str, int or None
        Of each worker, in the memory of the host.

    Returns
    -------
    distributed.Client

    Raises
    ------
    InputError
        There is no device, or there are fewer than workers.
    """
    devices = visible_devices()
    number = len(devices) if workers is None else workers
    if not 1 <= number <= len(devices):
        raise InputError(
            f"{number} workers of one CUDA device each do not fit the {len(devices)} devices of "
            f"this machine; give a number from 1 to {len(devices)}."
        )
    limit = _memory_limit(memory_limit, number)
    client = _start(
        [
            {
                "memory_limit": limit,
                "env": ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": device},
                "resources": {"GPU": 1},
            }
            for device in devices[:number]
        ],
        # a process that forks must not have touched CUDA, and importing CuPy may
        "spawn",
    )
    try:
        client.register_plugin(DeviceMemory())
    except BaseException:
        client.close()
        raise
    return client


def _start(workers: list[dict[str, Any]], method: str) -> Client:
    """Start a scheduler in this process and a worker process for each of the options."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(
                prefix="hpdp-",
                dir=dask.config.get("temporary-directory", None),
                ignore_cleanup_errors=True,
            )
        )
        if method == "forkserver":
            stack.enter_context(_fork_server())
        common = {
            "host": HOST,
            "protocol": "tcp://",
            "nthreads": 1,
            "dashboard": False,
            "local_directory": folder,
            "silence_logs": logging.CRITICAL,
        }
        # for as long as the cluster is there: a worker that died is started anew in the same way
        stack.enter_context(
            dask.config.set({**SETTINGS, "distributed.worker.multiprocessing-method": method})
        )
        with warnings.catch_warnings():
            # a command that starts in the same moment may take the port first; then it is another
            warnings.filterwarnings("ignore", "Port .* is already in use", UserWarning)
            cluster = SpecCluster(
                name="hpdp",
                scheduler={
                    "cls": Scheduler,
                    "options": {
                        "host": HOST,
                        "protocol": "tcp://",
                        "dashboard": False,
                        "dashboard_address": f"{HOST}:{_free_port(DASHBOARD_PORT)}",
                    },
                },
                workers={
                    index: {"cls": Nanny, "options": common | options}
                    for index, options in enumerate(workers)
                },
                # what `cluster.scale` adds; a worker of a device more has no device
                worker={"cls": Nanny, "options": common | workers[0]}
                if method == "forkserver"
                else None,
                silence_logs=logging.CRITICAL,
            )
        stack.callback(cluster.close)
        show_at_first_visit(cluster.scheduler)
        client = LocalClient(cluster)
        client.resources = stack.pop_all()
        return client


@contextlib.contextmanager
def _fork_server() -> Iterator[None]:
    """Run the process that workers are forked from.

    It is ended and waited for, so that the CPU time of the workers counts as that of this
    process's children. One that runs already, for others, is used as it is and left alone.
    """
    # the standard library has no public way to ask for this process, or to end it
    ours = forkserver._forkserver._forkserver_pid is None  # type: ignore[attr-defined]
    if ours:
        forkserver.set_forkserver_preload(["hpdp_dask.cluster.preload"])
        # Ctrl-C goes to the whole group of processes; it is this process that ends the workers
        with _environment(ENVIRONMENT), _ignored_interrupt():
            forkserver.ensure_running()
    yield
    if ours and not active_children():
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _ignored_interrupt() -> Iterator[None]:
    """Ignore SIGINT for a while, which a process that starts now inherits.

    Only the main thread may; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _memory_limit(limit: str | int | None, workers: int) -> int:
    """Give the bytes that each worker may use."""
    if limit is None:
        return int(MEMORY_SHARE * MEMORY_LIMIT / workers)
    try:
        found = parse_bytes(limit)
    except ValueError:
        found = -1
    if found < LEAST_MEMORY:
        raise InputError(
            f"the memory limit {limit!r} is not a size of at least {format_bytes(LEAST_MEMORY)}; "
            "give one as 4GiB."
        )
    return int(found)


def _free_port(port: int) -> int:
    """Give the port if it is free, else 0, which lets the system choose."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return 0
    return port
