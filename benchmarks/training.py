"""Training of networks: workers together, stacks larger than memory, and what a step costs.

    python benchmarks/training.py [--part workers|memory|step] [--folder DIR]

`workers`: one worker and two (gloo), one thread of torch each and each kept to a core of its own,
learn from 1,000 simulated particles of 64 x 64 with the default settings of `hpdp cryoem
heterogeneity train` and z = 4, in batches of the same images. Prints the losses and how much faster
two are: by the clock, and by the CPU seconds of the busier worker, for machines that do other
things meanwhile.

`memory`: a process that may use 768 MiB (a memory control group, as root; the system's copies of
files count) learns from a raw stack of four times as much, and then without a limit from the same
stack, all of it in memory: once a network that costs next to nothing, for one epoch, so that the
disk is what is measured; and the default one for 40 steps. Speeds are by the clock, and by CPU
seconds and waiting, each the best of three. Where no group can be made, the
stack is dropped from memory instead, so that each image comes from the disk.

`step`: seconds of a step of the default network on one core, in float32, bfloat16 and compiled by
`torch.compile`, and what preparing a batch takes beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import common
import numpy as np

from hpdp_dask.cluster import connect
from hpdp_dask.cryoem.heterogeneity import stage
from hpdp_dask.cryoem.heterogeneity.stage import HeterogeneitySettings, learn_conformations
from hpdp_dask.cryoem.simulate import phantom, potential_map, simulate_particles
from hpdp_dask.dataflow.training import Learner, TrainingSettings, train_network
from hpdp_dask.dataflow.training.apply import read_rows
from hpdp_dask.dataflow.training.feed import Feed, host_tensors
from hpdp_dask.dataflow.training.loop import Job, plan_order
from hpdp_dask.dataflow.training.step import Stepper
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images

BOX, PIXEL_SIZE, PARTICLES = 64, 3.5, 1_000
MIB = 2**20
LIMIT, TIMES, REPEATS = 768 * MIB, 4, 3
CORES = sorted(os.sched_getaffinity(0))

#: Where Linux keeps memory control groups, of the first and the second kind, and the name of the
#: limit in each.
GROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)


@dataclass(frozen=True)
class Mean:
    """Learns the mean of an image, at next to no cost: see `Learner`."""

    name: str = "mean"
    needs: tuple[str, ...] = ()

    def build(self) -> Any:
        """Make a network of two numbers."""
        import torch

        return torch.nn.Linear(1, 1)

    def prepare(
        self,
        images: np.ndarray,
        rows: Mapping[str, np.ndarray],
        randoms: Sequence[np.random.Generator] | None,
    ) -> dict[str, np.ndarray]:
        """Take the mean of each image."""
        return {"mean": images.mean((1, 2))[:, None]}

    def losses(self, network: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Give the square of what the network gives."""
        return {"square": (network(batch["mean"])[:, 0]) ** 2}


class Captured(Exception):
    """Holds what a stage would have trained."""

    def __init__(self, learner: Learner, settings: TrainingSettings) -> None:
        super().__init__()
        self.learner, self.settings = learner, settings


def default_learner(stack: Path, folder: Path) -> tuple[Learner, TrainingSettings]:
    """Make what heterogeneity learns of a stack with its default settings, z = 4."""

    def capture(_stack: Path, learner: Learner, settings: TrainingSettings, *_: Any, **__: Any):
        raise Captured(learner, settings)

    folder.mkdir(exist_ok=True)
    with mock.patch.object(stage, "train_network", capture):
        try:
            learn_conformations(stack, HeterogeneitySettings(zdim=4), folder)
        except Captured as found:
            return found.learner, found.settings
    raise AssertionError("the stage trained nothing")


def write_particles(path: Path, number: int) -> None:
    """Simulate particles of a phantom."""
    volume = potential_map(phantom().at(), BOX, PIXEL_SIZE)
    table, images = simulate_particles(
        volume.astype(np.float32), number, BOX, pixel_size=PIXEL_SIZE, snr=0.1, shift_sigma=3.0
    )
    new_stack(path, to_dataset(table, 0), number, BOX, images_per_shard=256)
    write_images(path, 0, images)


def workers_part(folder: Path) -> dict[str, object]:
    """Measure one worker and two."""
    stack = folder / "particles.zarr"
    write_particles(stack, PARTICLES)
    learner, settings = default_learner(stack, folder / "start")
    settings = replace(settings, epochs=2)
    figures: dict[str, object] = {"particles": PARTICLES, "batch": settings.batch}
    speeds: list[tuple[float, float]] = []
    losses: list[float] = []
    for number in (1, 2):
        with connect("local", workers=number) as client:
            cores = dict(zip(sorted(client.run(os.getpid)), CORES[:number], strict=True))
            client.run(_keep_to, cores)
            warm = replace(settings, epochs=1)
            parts = {"train": (0, 4 * settings.batch)}
            train_network(stack, learner, warm, folder / f"warm{number}", client=client, **parts)
            before = client.run(time.process_time)
            found = train_network(stack, learner, settings, folder / f"{number}", client=client)
            after = client.run(time.process_time)
        busiest = max(after[each] - before[each] for each in after)
        shown = settings.epochs * (PARTICLES // settings.batch) * settings.batch
        seconds = sum(row["seconds"] for row in found.history)
        speeds.append((shown / seconds, shown / busiest))
        losses.append(found.history[-1]["losses"]["error"])
        figures |= {
            f"workers {number}, images/s by the clock": speeds[-1][0],
            f"workers {number}, images per CPU s of the busiest": speeds[-1][1],
            f"workers {number}, error of the last epoch": losses[-1],
            f"workers {number}, share of time waiting for images": found.history[-1]["waited"],
        }
    figures |= {
        "two workers over one, by the clock": speeds[1][0] / speeds[0][0],
        "two workers over one, by CPU seconds": speeds[1][1] / speeds[0][1],
        "difference of their errors, relative": abs(losses[1] / losses[0] - 1.0),
    }
    return figures


def _keep_to(cores: dict[str, int], dask_worker: Any) -> None:
    """Keep all threads of a worker's process to one core."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {cores[dask_worker.address]})


def write_noise(path: Path, number: int) -> None:
    """Write a raw stack of noise, the same images again and again, with poses and CTF."""
    few = 4096
    random = np.random.default_rng(0)
    volume = potential_map(phantom().at(), BOX, PIXEL_SIZE).astype(np.float32)
    table, _ = simulate_particles(volume, few, BOX, pixel_size=PIXEL_SIZE, snr=0.1, shift_sigma=3.0)
    found = to_dataset(table, 0)
    found = found.isel(particle=np.arange(number) % few)
    new_stack(path, found, number, BOX)
    images = random.standard_normal((few, BOX, BOX), dtype=np.float32)
    step = ImageReader(path).images_per_shard
    for start in range(0, number, step):
        count = min(step, number - start)
        write_images(path, start, np.resize(images, (count, BOX, BOX)))
    os.sync()


def forget(stack: Path) -> None:
    """Have the system drop a stack from its memory."""
    for file in stack.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def limited(limit: int) -> Iterator[Path | None]:
    """Make a group of processes that may use so much memory; None if that is not possible."""
    for root, name in GROUPS:
        group = root / f"hpdp-benchmark-{os.getpid()}"
        if not (root / "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
            (group / name).write_text(str(limit))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    yield None


def in_a_process(words: Sequence[str | Path], group: Path | None) -> dict[str, float]:
    """Run a part of this file in a process of its own, and read what it prints."""

    def join() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=join)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def learn_quickly(stack: Path) -> dict[str, float]:
    """Learn next to nothing, for an epoch."""
    settings = TrainingSettings(epochs=1, batch=128, window_bytes=64 * MIB)
    cpu = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        row = train_network(stack, Mean(), settings, Path(folder)).history[-1]
    seconds = time.process_time() - cpu + row["waited"] * row["seconds"]
    return {
        "images/s": row["images_per_second"],
        "images per s of CPU and waiting": row["images_per_second"] * row["seconds"] / seconds,
        "waited": row["waited"],
    } | peak()


def learn_slowly(stack: Path, pickled: Path, steps: int) -> dict[str, float]:
    """Take steps of the default network."""
    import pickle

    import torch

    torch.set_num_threads(1)
    learner, settings = pickle.loads(pickled.read_bytes())
    settings = replace(settings, window_bytes=64 * MIB)
    reader, rows = ImageReader(stack), read_rows(stack, learner.needs)
    job = Job(stack, learner, settings, stack, (0, reader.number), (0, 0), 1e9)
    feed = Feed(reader, rows, learner, plan_order(job, reader))
    network = learner.build()
    stepper = Stepper(learner, settings, network, torch.optim.AdamW(network.parameters()))
    began = cpu = 0.0
    for number, (_, tensors) in enumerate(feed.epoch(0)):
        stepper.take(tensors, 1e-3)
        if number == 4:
            feed.waited, began, cpu = 0.0, time.perf_counter(), time.process_time()
        if number == steps + 4:
            break
    seconds = time.perf_counter() - began
    return {
        "images/s": steps * settings.batch / seconds,
        "images per s of CPU and waiting": steps
        * settings.batch
        / (time.process_time() - cpu + feed.waited),
        "waited": feed.waited / seconds,
    } | peak()


def peak() -> dict[str, float]:
    """Give the most memory that this process had, what it mapped of files included."""
    return {"peak, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def memory_part(folder: Path) -> dict[str, object]:
    """Measure a stack that is larger than memory beside the same stack in memory."""
    import pickle

    small, stack = folder / "few.zarr", folder / "many.zarr"
    write_particles(small, 500)
    number = TIMES * LIMIT // (4 * BOX * BOX)
    write_noise(stack, number)
    pickled = folder / "learner"
    pickled.write_bytes(pickle.dumps(default_learner(small, folder / "few")))
    parts = {
        "a network of two numbers, an epoch": ["--learn-quickly", stack],
        "the default network, 40 steps": ["--learn-slowly", stack, pickled],
    }
    figures: dict[str, object] = {"images": number, "stack, MiB": number * 4 * BOX * BOX / MIB}
    for name, words in parts.items():
        limit, runs = "", []
        for _ in range(REPEATS):
            forget(stack)
            with limited(LIMIT) as group:
                limit = f"{LIMIT / MIB:.0f}" if group else "none: dropped from memory"
                runs.append([in_a_process(words, group)])
            for file in stack.rglob("*"):
                if file.is_file():
                    file.read_bytes()
            runs[-1].append(in_a_process(words, None))
        figures["memory limit, MiB"] = limit
        small_memory, large_memory = (
            max(each, key=lambda run: run["images/s"]) for each in zip(*runs, strict=True)
        )
        for where, found in (("larger than memory", small_memory), ("in memory", large_memory)):
            figures |= {f"{name}, {where}: {what}": each for what, each in found.items()}
        for what in ("images/s", "images per s of CPU and waiting"):
            ratio = small_memory[what] / large_memory[what]
            figures[f"{name}, larger than memory over in memory, {what}"] = ratio
    return figures


def step_part(folder: Path) -> dict[str, object]:
    """Measure what a step costs."""
    import torch

    torch.set_num_threads(1)
    stack = folder / "particles.zarr"
    write_particles(stack, 500)
    learner, settings = default_learner(stack, folder / "start")
    reader, rows = ImageReader(stack), read_rows(stack, learner.needs)
    job = Job(stack, learner, settings, folder, (0, reader.number), (0, 0), 1e9)
    order = plan_order(job, reader)
    feed = Feed(reader, rows, learner, order)
    step = next(iter(order.epoch(0)))
    _, tensors = next(iter(feed.epoch(0)))
    mine = {name: values[step.images] for name, values in rows.items()}
    mine |= {"place": step.images, "step": np.zeros(len(step.images))}
    images, randoms = reader.take(step.images), [np.random.default_rng(0)] * settings.batch
    figures: dict[str, object] = {"batch": settings.batch}
    figures["prepare a batch, ms"] = milliseconds(
        lambda: host_tensors(learner.prepare(images, mine, randoms), "cpu")
    )
    for name, precision, compiled in (
        ("float32", "float32", False),
        ("bfloat16", "bfloat16", False),
        ("float32, compiled", "float32", True),
    ):
        network = learner.build()
        if compiled:
            network.compile()
        optimizer = torch.optim.AdamW(network.parameters())
        given = replace(settings, precision=precision)
        stepper = Stepper(learner, given, network, optimizer)
        figures[f"step, {name}, ms"] = milliseconds(partial(stepper.take, tensors, 1e-3))
    return figures


def milliseconds(work: Any, times: int = 10) -> float:
    """Give the CPU time of some work, once it is warm."""
    work()
    work()
    began = time.process_time()
    for _ in range(times):
        work()
    return 1e3 * (time.process_time() - began) / times


PARTS = {"workers": workers_part, "memory": memory_part, "step": step_part}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=list(PARTS))
    parser.add_argument("--folder", type=Path, help="where to work; what it holds is removed")
    parser.add_argument("--learn-quickly", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--learn-slowly", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.learn_quickly:
        print(json.dumps(learn_quickly(options.learn_quickly)))
        return
    if options.learn_slowly:
        print(json.dumps(learn_slowly(*options.learn_slowly, steps=40)))
        return
    for name in [options.part] if options.part else PARTS:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            common.record(f"training_{name}", PARTS[name](Path(folder)))


if __name__ == "__main__":
    main()
