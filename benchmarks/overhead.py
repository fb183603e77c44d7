"""What the scheduler and messages take, beside the work itself.

    python benchmarks/overhead.py [--workers 64] [--seconds 2]

First 64 chunk groups of 1 s on two local worker processes, through the tree that all sums of
images go through: the time beyond 32 s is the overhead. Then a simulated cluster: as many workers
as asked (threads of a few processes, each a Dask worker with its own address, that talk over TCP),
eight groups each, which sleep; accumulators of 1 and of 10 MB really travel. The sums of the last
groups can be added only when these have ended, so the time of an empty tree of that depth is in
the overhead too.

With 10 MB the figure is that of this machine, whose cores then do the copying and adding of all
the machines that the cluster would have.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from subprocess import DEVNULL, Popen

import common
import dask
import psutil
from cluster_model import Timed, leaves
from distributed import Client, LocalCluster, Worker

from hpdp_dask.cluster import connect
from hpdp_dask.dataflow.running import run_tree

GROUPS = 64
#: Groups for each worker of the simulated cluster, as a pass of a refinement has.
EACH = 8
PROCESSES = 2
MB = 1_000_000


def overhead(client: Client, work: Timed, groups: int, lanes: int) -> tuple[float, float]:
    """Run a tree of leaves; give wall seconds and their share beyond the work itself."""
    parts, images = leaves(groups)
    counted = []
    begin = time.perf_counter()
    total = run_tree(work, parts, images, client, counted.append)
    wall = time.perf_counter() - begin
    assert total == groups, f"{total} groups were added of {groups}"
    assert sum(counted) == sum(images)
    least = work.seconds * groups / lanes
    return wall, wall / least - 1.0


def two_workers(figures: dict[str, object]) -> None:
    """Measure 64 groups of a second on two processes of this machine."""
    with connect("local", workers=2, memory_limit="2GiB") as client:
        run_tree(Timed(0.0, MB), *leaves(4), client, None)  # workers have imported what they need
        scheduler = psutil.Process()
        before = sum(scheduler.cpu_times()[:2])
        wall, share = overhead(client, Timed(1.0, 10 * MB), GROUPS, 2)
        cpu = sum(scheduler.cpu_times()[:2]) - before
    figures[f"2 workers, {GROUPS} groups of 1 s, sums of 10 MB: wall s"] = wall
    figures[f"2 workers, {GROUPS} groups of 1 s: overhead"] = share
    figures["2 workers: CPU s of scheduler and client for each task"] = cpu / (GROUPS * 4 / 3)


def simulated(workers: int, seconds: float, figures: dict[str, object]) -> None:
    """Measure many workers that sleep."""
    # one machine plays all: what workers do while they wait would be counted many times over
    quiet = {
        "distributed.worker.profile.enabled": False,
        "distributed.admin.system-monitor.interval": "10s",
        "distributed.admin.tick.interval": "5s",
    }
    with (
        dask.config.set(quiet),
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        each = workers // PROCESSES
        processes = [
            Popen(
                [sys.executable, __file__, "--host", str(each), cluster.scheduler_address],
                stdout=DEVNULL,
                stderr=DEVNULL,
            )
            for _ in range(PROCESSES)
        ]
        try:
            client.wait_for_workers(workers, timeout=120)
            run_tree(Timed(0.0, MB), *leaves(workers), client, None)
            for size in (1, 10):
                wall, share = overhead(client, Timed(seconds, size * MB), EACH * workers, workers)
                name = f"{workers} workers, {EACH * workers} groups of {seconds:g} s, {size} MB"
                figures[f"{name}: wall s"] = wall
                figures[f"{name}: overhead"] = share
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


async def host(workers: int, scheduler: str) -> None:
    """Be so many workers, until the process is ended."""
    there = [
        Worker(scheduler, nthreads=1, dashboard=False, memory_limit=0, host="127.0.0.1")
        for _ in range(workers)
    ]
    await asyncio.gather(*there)
    await asyncio.gather(*(worker.finished() for worker in there))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a group, simulated")
    parser.add_argument("--host", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host:
        asyncio.run(host(int(options.host[0]), options.host[1]))
        return
    figures: dict[str, object] = {}
    two_workers(figures)
    simulated(options.workers, options.seconds, figures)
    common.record("overhead", figures)


if __name__ == "__main__":
    main()
