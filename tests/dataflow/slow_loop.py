"""A loop whose folds take their time and leave a note of each; workers that come and go."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from distributed import Client, get_worker
from processes import ended

from hpdp_dask.dataflow.notes import note


@dataclass(frozen=True)
class Means:
    """What is kept of an image: its mean."""

    def __call__(self, block: xr.Dataset) -> xr.Dataset:
        means = block["images"].values.mean(axis=(1, 2), dtype=np.float64)
        return block.drop_vars("images").assign(mean=("particle", means))


@dataclass(frozen=True)
class State:
    iteration: int
    total: float
    counted: int = 0


@dataclass(frozen=True)
class Pass:
    """Adds means; each fold makes a file that names its pass, image, worker and process."""

    notes: Path
    iteration: int
    seconds: float
    hang: Path | None
    words: str
    nbytes: int
    share: float = 1.0
    seed: int = 7
    working_bytes: int = 1000
    images_per_leaf: int = 5
    preparation: Means = field(default_factory=Means)

    @property
    def name(self) -> str:
        return f"slow-{self.iteration:03d}"

    def start(self):
        return np.zeros(2)

    def fold(self, sums, block, before):
        image, mean = block["image"].values, block["mean"].values
        words = (self.iteration, image[0], get_worker().name, os.getpid(), time.time_ns())
        (self.notes / " ".join(map(str, words))).touch()
        if self.words:
            note(self.words)
        if self.hang is not None and self.iteration == 2:
            try:
                self.hang.unlink()
                time.sleep(1000)
            except FileNotFoundError:
                pass
        time.sleep(self.seconds)
        return sums + np.array([mean.sum(), len(mean)]), {"twice": 2 * image}

    def merge(self, sums, other):
        return sums + other

    def finish(self, sums):
        return State(self.iteration, float(sums[0]), int(sums[1]))


@dataclass(frozen=True)
class Slow:
    """A loop of passes over leaves of five images."""

    notes: Path
    last: int = 2
    seconds: float = 0.1
    hang: Path | None = None
    words: str = ""
    nbytes: int = 32
    name: str = "slow"
    state_type: type = State

    def begin(self, folder):
        self.notes.mkdir(exist_ok=True)
        return State(0, 0.0)

    def is_done(self, state):
        return state.iteration == self.last

    def expectation(self, state, folder, following):
        return Pass(
            self.notes, state.iteration + 1, self.seconds, self.hang, self.words, self.nbytes
        )

    def largest(self, state, folder):
        return self.expectation(state, folder, folder)


def folds(notes: Path) -> list[tuple[int, int, str, int]]:
    """Give pass, first image, worker and process of each fold that began, in order."""
    found = sorted((path.name.split() for path in notes.iterdir()), key=lambda words: words[-1])
    return [(int(words[0]), int(words[1]), words[2], int(words[3])) for words in found]


def wait_for(condition, seconds=30.0):
    """Wait until something is so; gives what it found."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "in vain"
        time.sleep(0.02)
    return found


@contextmanager
def extra_worker(client: Client, name: str, *options: str) -> Iterator[subprocess.Popen]:
    """A worker of another process that joins a cluster, as jobs do."""
    words = [sys.executable, "-m", "distributed.cli.dask_worker", client.scheduler.address]
    words += ["--name", name, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*words, *options],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with ended(process):
        yield process
