"""Whatever breaks in a refinement on SLURM, its result is that of the unbroken one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import pytest
import yaml
from distributed import Client

from hpdp_dask.cluster import connect
from hpdp_dask.cryoem.refine.stage import refine
from hpdp_dask.cryoem.simulate import phantom, potential_map, simulate_particles
from hpdp_dask.dataflow.futures import workers_of
from hpdp_dask.formats import mrc
from hpdp_dask.formats.star import read_table
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images

pytestmark = pytest.mark.slurm
# workers in jobs cannot import this file
cloudpickle.register_pickle_by_value(sys.modules[__name__])

NUMBER, PER_SHARD, BOX = 240, 30, 32
PIXEL_SIZE, DIAMETER, RESOLUTION = 6.5, 175.0, 40.0
Queue = Callable[[], list[str]]


class Input(NamedTuple):
    stack: Path
    truth: Path


class Outcome(NamedTuple):
    euler_angles: np.ndarray
    shifts: np.ndarray
    volume: np.ndarray


@pytest.fixture(scope="module")
def particles(tmp_path_factory: pytest.TempPathFactory) -> Input:
    folder = tmp_path_factory.mktemp("faults")
    table, images = simulate_particles(
        phantom(), NUMBER, BOX, pixel_size=PIXEL_SIZE, snr=0.2, shift_sigma=5.0, seed=2
    )
    new_stack(
        folder / "particles.zarr", to_dataset(table, 0), NUMBER, BOX, images_per_shard=PER_SHARD
    )
    for start in range(0, NUMBER, PER_SHARD):
        write_images(folder / "particles.zarr", start, images[start : start + PER_SHARD])
    volume = potential_map(phantom().at(), BOX, PIXEL_SIZE)
    mrc.write_map(folder / "truth.mrc", volume, PIXEL_SIZE)
    return Input(folder / "particles.zarr", folder / "truth.mrc")


def run(
    particles: Input, folder: Path, client: Client, amid: Callable[[], None] | None = None
) -> Outcome:
    """Refine; something happens amid the second pass, while both workers are at it."""
    (folder / "scratch").mkdir(parents=True)
    happening = []

    def tell(state: Any) -> None:
        if state.iteration == 1 and amid is not None:
            pool = ThreadPoolExecutor(1)
            happening.append(pool.submit(amid))
            pool.shutdown(wait=False)

    result = refine(
        particles.stack,
        folder,
        folder / "scratch",
        reference=particles.truth,
        symmetry="D3",
        initial_resolution=RESOLUTION,
        mask_diameter=DIAMETER,
        client=client,
        tell=tell,
    )
    for each in happening:
        each.result(60)
    volume, _ = mrc.read_map(folder / "map.mrc")
    return Outcome(result.euler_angles, result.shifts, volume)


@pytest.fixture(scope="module")
def unbroken(client: Client, particles: Input, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(particles, tmp_path_factory.mktemp("unbroken") / "out", client)


def same(found: Outcome, unbroken: Outcome) -> None:
    """Equal poses; maps to 1e-4, which is what is promised of any number of workers."""
    np.testing.assert_array_equal(found.euler_angles, unbroken.euler_angles)
    np.testing.assert_array_equal(found.shifts, unbroken.shifts)
    np.testing.assert_allclose(
        found.volume, unbroken.volume, atol=1e-4 * np.abs(unbroken.volume).max()
    )


@pytest.fixture(scope="module")
def site(slurm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Workers that stay, and some that retire soon."""
    folder = tmp_path_factory.mktemp("site")
    job = {
        **{"cores": 1, "processes": 1, "memory": "800MiB", "walltime": "00:20:00"},
        **{"queue": "cpu", "interface": "lo", "python": sys.executable, "death-timeout": 30},
    }
    said = {
        "hpdp": {
            "scheduler": "slurm",
            "interface": "lo",
            "shared-directory": str(folder / "shared"),
            "groups": {"cpu": {"workers": 2}, "brief": {"workers": 0}},
        },
        "jobqueue": {"cpu": job, "brief": job | {"worker-extra-args": ["--lifetime", "7s"]}},
        "distributed": {"deploy": {"lost-worker-timeout": "1s"}},
    }
    path = folder / "faults.yaml"
    path.write_text(yaml.safe_dump(said))
    return path


@pytest.fixture(scope="module")
def everyone(site: Path) -> Iterator[Client]:
    with connect(str(site), wait=60) as client:
        yield client


@pytest.fixture
def jobs(everyone: Client) -> Client:
    """A cluster of two jobs, each a worker, whatever the last test left."""
    everyone.cluster.scale_group("cpu", 2)
    everyone.cluster.scale_group("brief", 0)
    until(lambda: len(names(everyone)) == 2 and "brief" not in str(names(everyone)))
    return everyone


def until(true: Callable[[], Any], patience: float = 60.0) -> Any:
    end = time.monotonic() + patience
    while not (found := true()):
        assert time.monotonic() < end, "in vain"
        time.sleep(0.02)
    return found


def names(client: Client) -> set[str]:
    return {worker["name"] for worker in workers_of(client).values()}


def folding(client: Client) -> list[str]:
    """Name the workers that are at a fold, once all are."""

    def busy() -> list[str]:
        at = [
            worker
            for worker, keys in client.processing().items()
            if any("expect" in str(key) for key in keys)
        ]
        return at if len(at) == len(names(client)) else []

    found = until(busy)
    time.sleep(0.1)  # amid the fold
    return list(found)


def test_a_worker_killed_in_a_fold(
    jobs: Client, particles: Input, unbroken: Outcome, tmp_path: Path
) -> None:
    pids = jobs.run(os.getpid)
    found = run(
        particles,
        tmp_path / "out",
        jobs,
        lambda: os.kill(pids[folding(jobs)[0]], signal.SIGKILL),
    )
    same(found, unbroken)
    assert set(jobs.run(os.getpid).values()) != set(pids.values())


def test_a_job_that_is_cancelled(
    jobs: Client, particles: Input, unbroken: Outcome, tmp_path: Path
) -> None:
    name, job = next(iter(jobs.cluster.jobs("cpu").items()))

    def cancel() -> None:
        folding(jobs)
        subprocess.run(["scancel", job.job_id], check=True)

    same(run(particles, tmp_path / "out", jobs, cancel), unbroken)
    until(lambda: name not in names(jobs) and len(names(jobs)) == 2)  # another took its place


def test_a_worker_that_retires(
    jobs: Client, particles: Input, unbroken: Outcome, tmp_path: Path
) -> None:
    jobs.cluster.scale_group("cpu", 1)
    jobs.cluster.scale_group("brief", 1)
    [name] = until(lambda: [name for name in names(jobs) if name.startswith("brief")])
    found = run(particles, tmp_path / "out", jobs, lambda: until(lambda: name not in names(jobs)))
    same(found, unbroken)


def test_a_worker_that_joins_late(
    jobs: Client, particles: Input, unbroken: Outcome, tmp_path: Path
) -> None:
    jobs.cluster.scale_group("cpu", 1)
    until(lambda: len(names(jobs)) == 1)
    before = names(jobs)

    def join() -> None:
        jobs.cluster.scale_group("cpu", 2)
        until(lambda: len(names(jobs)) == 2)
        [late] = names(jobs) - before
        folding(jobs)  # both are
        assert late in names(jobs)

    same(run(particles, tmp_path / "out", jobs, join), unbroken)


def test_a_worker_out_of_memory(
    jobs: Client, particles: Input, unbroken: Outcome, tmp_path: Path
) -> None:
    pids = jobs.run(os.getpid)

    def fill() -> None:
        jobs.run(_fill_memory, workers=folding(jobs)[:1], on_error="ignore")

    same(run(particles, tmp_path / "out", jobs, fill), unbroken)
    until(lambda: len(names(jobs)) == 2)
    assert len(set(jobs.run(os.getpid).values()) & set(pids.values())) == 1


def _fill_memory() -> None:
    held = []
    for _ in range(40):  # GiB, in a few seconds; the nanny ends it long before
        held.append(bytearray(os.urandom(1)) * (32 << 20))
        time.sleep(0.05)


def command(particles: Input, output: Path, *words: str | Path) -> list[str]:
    hpdp = Path(sys.executable).with_name("hpdp")
    asked = [hpdp, "cryoem", "refine", particles.stack, "-o", output, "--symmetry", "D3"]
    asked += ["--reference", particles.truth, "--initial-resolution", RESOLUTION]
    return [str(word) for word in [*asked, "--mask-diameter", DIAMETER, *words]]


def start(words: list[str]) -> subprocess.Popen[str]:
    """Start a command and wait until it tells of its second iteration."""
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    timer = threading.Timer(100, process.kill)
    timer.start()
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Iteration 2"):
            timer.cancel()
            return process
    raise AssertionError("".join(said) + process.stderr.read())


def resume(particles: Input, output: Path) -> Outcome:
    words = command(particles, output, "--workers", "2", "--memory-limit", "1GiB", "--resume")
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Iteration 1 " not in done.stdout  # not again
    table = read_table(output / "particles.star", "particles")
    angles = np.stack([table[f"rlnAngle{name}"] for name in ("Rot", "Tilt", "Psi")], axis=1)
    shifts = np.stack([table[f"rlnOrigin{name}Angst"] for name in "XY"], axis=1)
    volume, _ = mrc.read_map(output / "map.mrc")
    return Outcome(angles.astype(float), shifts.astype(float), volume)


def nearly_same(found: Outcome, unbroken: Outcome) -> None:
    """As `same`, to the digits of a star file."""
    np.testing.assert_allclose(found.euler_angles, unbroken.euler_angles, atol=1e-4)
    np.testing.assert_allclose(found.shifts, unbroken.shifts, atol=1e-4)
    np.testing.assert_allclose(
        found.volume, unbroken.volume, atol=1e-4 * np.abs(unbroken.volume).max()
    )


def test_a_command_killed_and_resumed(
    particles: Input, unbroken: Outcome, site: Path, queue: Queue, tmp_path: Path
) -> None:
    before = len(queue())
    process = start(command(particles, tmp_path / "out", "--cluster", site))
    assert len(queue()) == before + 2
    process.kill()
    process.communicate()
    nearly_same(resume(particles, tmp_path / "out"), unbroken)
    until(lambda: len(queue()) == before)  # workers without a scheduler end, and so their jobs


def test_a_scheduler_that_is_lost(particles: Input, unbroken: Outcome, tmp_path: Path) -> None:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m"]
    where = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", tmp_path / "scheduler"]
    scheduler = subprocess.Popen([*dask, "distributed.cli.dask_scheduler", *where], **quiet)
    worker = subprocess.Popen(
        [*dask, "distributed.cli.dask_worker", *where, "--nworkers", "2", "--nthreads", "1"],
        **quiet,
    )
    try:
        until((tmp_path / "scheduler").exists)
        address = yaml.safe_load((tmp_path / "scheduler").read_text())["address"]
        process = start(command(particles, tmp_path / "out", "--cluster", address))
        scheduler.kill()
        began = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - began < 20
    finally:
        for each in (scheduler, worker):
            each.kill()
            each.wait()
    assert process.returncode == 2
    assert f"the scheduler at {address} was lost; start the cluster and then this again." in errors
    assert "--resume goes on from it" in errors
    assert "Traceback" not in errors
    nearly_same(resume(particles, tmp_path / "out"), unbroken)
