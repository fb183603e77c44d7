"""A long loop whose workers are killed and join all the time, in random order.

    nice python benchmarks/soak.py [--iterations 200] [--seed 0]

Before each of the passes over a small stack, and amid it, one thing happens to a worker: it is
killed, it leaves in good order, or one joins. One worker stays, so that its memory can be
followed. Every pass must count all images, and the result must be that of the unbroken loop, bit
by bit. Prints how the memory of the process of the scheduler and the client, and of the worker
that stays, changes over the iterations.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import common
import numpy as np
import psutil
import xarray as xr
from distributed import Client, Nanny

from hpdp_dask.cluster import connect
from hpdp_dask.cluster.local import ENVIRONMENT
from hpdp_dask.dataflow.futures import workers_of
from hpdp_dask.dataflow.iterate import iterate
from hpdp_dask.dataflow.loops import Rows
from hpdp_dask.stacks.store import new_stack, write_images

NUMBER, BOX, PER_SHARD = 640, 32, 40
#: The accumulator, in numbers.
SUM = 50_000
#: Workers at most; one at least stays.
MOST = 4
MIB = 2**20


@dataclass(frozen=True)
class Prepared:
    """What is kept of images: themselves."""

    def __call__(self, block: xr.Dataset) -> xr.Dataset:
        """Give them another name."""
        return block.rename(images="kept")


@dataclass(frozen=True)
class State:
    """How far the loop is, and what it found."""

    iteration: int
    total: float = 0.0
    counted: int = 0


@dataclass(frozen=True)
class Pass:
    """Adds images, weighted by what the last pass found."""

    before: State
    nbytes: int = 8 * SUM
    working_bytes: int = MIB
    images_per_leaf: int = PER_SHARD
    share: float = 1.0
    seed: int = 0
    preparation: Prepared = field(default_factory=Prepared)

    @property
    def name(self) -> str:
        """Give the pass a number."""
        return f"soak-{self.before.iteration + 1:03d}"

    def start(self) -> np.ndarray:
        """Make an empty sum; its last number counts images."""
        return np.zeros(SUM)

    def fold(self, sums: np.ndarray, block: xr.Dataset, before: Rows | None) -> tuple:
        """Add images."""
        images = block["kept"].values
        sums[: BOX**2] += np.cos(self.before.total + images).sum(axis=0, dtype=np.float64).ravel()
        sums[-1] += len(images)
        time.sleep(0.03)
        return sums, {"mean": images.mean(axis=(1, 2))}

    def merge(self, sums: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Add sums."""
        return sums + other

    def finish(self, sums: np.ndarray) -> State:
        """Give the next state."""
        return State(self.before.iteration + 1, float(sums[:-1].mean()), int(sums[-1]))


@dataclass(frozen=True)
class Soak:
    """A loop of so many passes."""

    last: int
    name: str = "soak"
    state_type: type[State] = State

    def begin(self, folder: Path) -> State:
        """Give the first state."""
        return State(0)

    def is_done(self, state: State) -> bool:
        """Tell whether it was the last pass."""
        return state.iteration == self.last

    def expectation(self, state: State, folder: Path, following: Path) -> Pass:
        """Make the next pass."""
        return Pass(state)

    def largest(self, state: State, folder: Path) -> Pass:
        """Give a pass: all are alike."""
        return Pass(state)


def write_stack(path: Path) -> Path:
    """Write a stack of noise."""
    images = np.random.default_rng(0).standard_normal((NUMBER, BOX, BOX), dtype=np.float32)
    table = xr.Dataset(
        {
            "optics_group": ("particle", np.zeros(NUMBER, np.int32)),
            "pixel_size": ("optics", np.array([1.0])),
        },
        attrs={"kind": "particles"},
    )
    new_stack(path, table, NUMBER, BOX, images_per_shard=PER_SHARD)
    for start in range(0, NUMBER, PER_SHARD):
        write_images(path, start, images[start : start + PER_SHARD])
    return path


class Trouble:
    """Kills workers and lets others join, one thing after the other, in an order by a seed."""

    def __init__(self, client: Client, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._client = client
        self._random = random.Random(seed)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._step = threading.Semaphore(0)
        self._joined = 0
        self._thread.start()

    def step(self) -> None:
        """Let one more thing happen."""
        self._step.release()

    def end(self) -> None:
        """Let nothing happen any more."""
        self._ended.set()
        self._step.release()
        self._thread.join()

    def _run(self) -> None:
        while self._step.acquire() and not self._ended.is_set():
            time.sleep(self._random.random() * 0.3)
            workers = workers_of(self._client)
            others = sorted(
                (address for address, worker in workers.items() if worker["name"] != 0),
                key=lambda address: str(workers[address]["name"]),
            )
            kinds = ["kill", "kill", "leave"] * bool(others) + ["join"] * (len(workers) < MOST)
            kind = self._random.choice(kinds)
            if kind == "join":
                self._join()
            else:
                address = self._random.choice(others)
                self._lose(address, workers[address]["name"], kind == "kill")
            self.done[kind] += 1

    def _lose(self, address: str, name: object, kill: bool) -> None:
        if kill:  # the nanny starts another in its place
            pids = self._client.run(os.getpid, workers=[address], on_error="ignore")
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
        else:
            self._client.sync(self._client.cluster.scale_down, [name])

    def _join(self) -> None:
        self._joined += 1
        cluster = self._client.cluster
        first = cluster.worker_spec[0]
        cluster.worker_spec[f"joined-{self._joined}"] = {
            "cls": Nanny,
            "options": first["options"] | {"env": ENVIRONMENT},
        }
        cluster.sync(cluster._correct_state)


def slope(values: list[float]) -> float:
    """Give MiB an iteration over the last half: Dask's logs of the latest messages fill first."""
    late = np.array(values[len(values) // 2 :]) / MIB
    return float(np.polyfit(np.arange(len(late)), late, 1)[0])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    here, rss, stays = psutil.Process(), [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        stack, loop = write_stack(folder / "noise.zarr"), Soak(options.iterations)
        with connect("local", workers=2, memory_limit="1GiB") as client:
            pids = client.run(os.getpid)
            info = workers_of(client)
            stay = next(
                psutil.Process(pids[address])
                for address, worker in info.items()
                if worker["name"] == 0
            )
            trouble = Trouble(client, options.seed)

            def tell(state: State) -> None:
                assert state.iteration == 0 or state.counted == NUMBER, state
                rss.append(here.memory_info().rss)
                stays.append(stay.memory_info().rss)
                if state.iteration % 20 == 0:
                    print(f"{state}, {dict(trouble.done)}, {rss[-1] / MIB:.0f} MiB", flush=True)
                trouble.step()

            begin = time.perf_counter()
            try:
                broken = iterate(stack, loop, folder / "broken", client=client, tell=tell)
            finally:
                trouble.end()
            wall = time.perf_counter() - begin
        whole = iterate(stack, loop, folder / "whole")
    assert broken.state == whole.state, (broken.state, whole.state)
    assert all(np.array_equal(broken.results[key], whole.results[key]) for key in whole.results)
    figures: dict[str, object] = {
        "iterations": options.iterations,
        **{f"workers: {kind}": number for kind, number in sorted(trouble.done.items())},
        "images lost": 0,
        "difference from the unbroken loop": 0.0,
        "wall s": wall,
        "scheduler and client: MiB at the end": rss[-1] / MIB,
        "scheduler and client: MiB an iteration": slope(rss),
        "worker that stays: MiB at the end": stays[-1] / MIB,
        "worker that stays: MiB an iteration": slope(stays),
    }
    common.record("soak", figures)


if __name__ == "__main__":
    main()
