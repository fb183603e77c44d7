"""Live classification: does a stream of 224x224 frames at 2 million an hour hold, and at what cost?

    python benchmarks/spi_stream.py [--minutes 10] [--rate 556] [--workers 2]

Simulated frames (viruses, nanoparticles, rods; doubles, aggregates, droplets, empty shots) are
replayed at a rate, round after round, through hits, sizes, features and classification; forty
labels train a classifier on the way, and frames that came before it are labelled by what is spare.
Printed are the frames a second, the lag of frames from their time to their result on disk, CPU
milliseconds a frame by part and in all, memory at the beginning and at the end, the CPU cost of the
ways in which frames that came as messages could reach workers, and how many cores 27,000 frames a
second would take at that cost. CPU time is that of the workers and of this process, scheduler and
client included.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from common import hpdp, record, run
from distributed import Client

from hpdp_dask.cluster import connect
from hpdp_dask.dataflow.stream.driver import Stream
from hpdp_dask.dataflow.stream.found import Found
from hpdp_dask.dataflow.stream.replay import Replay
from hpdp_dask.spi.stream.recipe import HitRule, recipe_for
from hpdp_dask.spi.stream.scenario import Scenario
from hpdp_dask.spi.stream.training import Settings
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.workflow.record import cpu_seconds

#: Frames a second of European XFEL.
PULSES = 27_000

#: Frames of a batch, and labels that train.
BATCH, LABELS = 128, 40


def simulate(folder: Path, number: int) -> Path:
    """Make the frames that are replayed."""
    output = folder / "simulated"
    detector = ["--shape", "224x224", "--pixel-size", "0.00034"]
    run([hpdp(), "spi", "simulate", "-o", output, "-n", str(number), "--seed", "3", *detector])
    return output / "frames.zarr"


def true_labels(frames: Path) -> dict[int, str]:
    """Give what a person would say of each frame."""
    stack = open_frames(frames)
    names = [str(name) for name in stack["true_class_name"].values]
    kinds = [str(kind) for kind in stack["true_kind"].values]
    classes = stack["true_class"].values
    return {
        frame: names[classes[frame]] if kind == "single" else "other"
        for frame, kind in enumerate(kinds)
    }


class Memory:
    """Watches the memory of this process and of all that it started."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(5.0):
            self.samples.append((time.monotonic() - began, held()))

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def mean(self, first: float, last: float) -> float:
        """Give the mean between two parts of the time, MiB."""
        end = self.samples[-1][0]
        return float(np.mean([held for at, held in self.samples if first <= at / end <= last]))


def held() -> float:
    """Give the memory of this process and of those that it started, MiB."""
    process = psutil.Process()
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total / 2**20


def stream(
    client: Client,
    frames: Path,
    folder: Path,
    seconds: float,
    rate: float | None,
    known: dict[int, str],
) -> dict[str, object]:
    """Run the scenario for a time; gives the figures."""
    number = ImageReader(frames).number
    folder.mkdir()
    repeats = max(1, round((rate or 4000.0) * seconds / number))
    source = Replay(frames, BATCH, rate=rate, repeats=repeats)
    live = Stream(source, recipe_for(folder, HitRule(), keep=False), client=client, hold=True)
    live.folder.make()
    scenario = Scenario(
        live,
        Settings(known=known, training_size=LABELS),
        Found(live.folder, None, source.again),
        say=print,
    )
    timer = threading.Timer(seconds, live.stop, ["finish"])
    memory, cpu, own = Memory(), cpu_seconds(), time.process_time()
    timer.start()
    scenario.start()
    live.run()
    scenario.join()
    timer.cancel()
    memory.stop()
    spent, own = cpu_seconds() - cpu, time.process_time() - own
    seen = live.figures.snapshot()
    assert seen.unlabelled == 0
    assert seen.chosen == seen.frames == sum(seen.labels)
    parts = {
        f"CPU ms a frame: {part}": 1000 * each / seen.frames
        for part, each in sorted(seen.seconds_by_part.items(), key=lambda each: -each[1])
    }
    median, lag_95, lag_99, greatest = seen.lag
    return {
        "frames": seen.frames,
        "frames a second": seen.mean_rate,
        "lag s: median": median,
        "lag s: 95 %": lag_95,
        "lag s: 99 %": lag_99,
        "lag s: greatest": greatest,
        "training s": scenario.status.trained[0].seconds,
        **parts,
        "CPU ms a frame: all, with scheduler and client": 1000 * spent / seen.frames,
        "CPU ms a batch: scheduler and client, one process": 1000 * own * BATCH / seen.frames,
        "MiB held: first fifth, without its beginning": memory.mean(0.1, 0.3),
        "MiB held: last fifth": memory.mean(0.8, 1.0),
        "frames a second and core": seen.frames / spent,
        f"cores for {PULSES} frames a second": PULSES * spent / seen.frames,
    }


def transport(client: Client, folder: Path, frames: Path) -> dict[str, object]:
    """Compare ways in which frames that came as messages reach a worker: CPU ms a frame."""
    block = ImageReader(frames).read(0, BATCH)
    rounds = 40

    def through_file(place: int) -> None:
        file = folder / f"incoming-{place}.npy"
        np.save(file, block)
        client.submit(read_file, file, pure=False).result()
        file.unlink()

    def scattered(place: int) -> None:
        future = client.scatter(block, direct=True, hash=False)
        client.submit(add_up, future, pure=False).result()

    def in_the_graph(place: int) -> None:
        client.submit(add_up, block, pure=False).result()

    found = {}
    for name, way in (
        ("a file", through_file),
        ("scatter, straight to a worker", scattered),
        ("as an argument of the task", in_the_graph),
    ):
        way(0)
        before = cpu_seconds()
        for place in range(rounds):
            way(place)
        found[f"messages, CPU ms a frame by {name}"] = (
            1000 * (cpu_seconds() - before) / rounds / BATCH
        )
    return found


def read_file(file: Path) -> int:
    return add_up(np.load(file, allow_pickle=False))


def add_up(photons: np.ndarray) -> int:
    return int(photons[::16].sum())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--rate", type=float, default=556.0)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--number", type=int, default=4000, help="frames that are replayed")
    options.add_argument("--frames", type=Path, help="a stack that was simulated before")
    options.add_argument("--full-speed", type=float, default=60.0, help="seconds without a rate")
    chosen = options.parse_args()
    with TemporaryDirectory(prefix="hpdp-stream-") as name:
        folder = Path(name)
        frames = chosen.frames or simulate(folder, chosen.number)
        known = true_labels(frames)
        figures: dict[str, object] = {
            "workers": chosen.workers,
            "asked for, frames a second": chosen.rate,
        }
        with connect("local", workers=chosen.workers) as client:
            seconds = 60 * chosen.minutes
            figures |= stream(client, frames, folder / "paced", seconds, chosen.rate, known)
        with connect("local", workers=chosen.workers) as client:
            if chosen.full_speed:
                fast = stream(client, frames, folder / "fast", chosen.full_speed, None, known)
                figures["as fast as possible, frames a second"] = fast["frames a second"]
            figures |= transport(client, folder, frames)
        record("spi_stream", figures)


if __name__ == "__main__":
    main()
