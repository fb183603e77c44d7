"""How refinement grows with workers, particles, box and classes; and what the scheduler takes.

    python benchmarks/scaling.py [--folder DIR]

Times one pass of a refinement at a middle resolution (local search at 3.75°) over 5,000 images of
128x128 on one worker of one thread and on two, in turn, and takes the best of each: on a machine
that others use too, wall-clock time is what they leave. The scheduler's share is the CPU time of
its process over that of all. Then passes over more particles, larger boxes and (2D) more classes
on one worker: CPU milliseconds an image, and the peak memory of the worker.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import common
import numpy as np
import psutil

from hpdp_dask.cluster import connect
from hpdp_dask.cryoem.refine.loop import RefineLoop
from hpdp_dask.cryoem.refine.spectra import measure_spectra
from hpdp_dask.cryoem.refine.state import State
from hpdp_dask.dataflow.iterate import iterate
from hpdp_dask.formats.mrc import read_map

#: Of the sample, in pixels of any box.
DIAMETER = 0.75
#: Passes that are timed: the first two only bring the loop to where it is timed.
TIMED = 2


@dataclass(frozen=True)
class Passes(RefineLoop):
    """A refinement of a few passes at a sampling of its own."""

    radius: int = 24

    def begin(self, folder: Path) -> State:
        """Begin at a middle resolution, with the grid that goes with it."""
        return replace(super().begin(folder), radius=self.radius)

    def is_done(self, state: State) -> bool:
        """End after two global passes and those that are timed."""
        return state.iteration == 2 + TIMED


def simulate(folder: Path, number: int, box: int) -> Path:
    """Simulate and import particles of 8bk7 unless they are there; gives the stack."""
    stack = folder / f"{number}_{box}.zarr"
    if not stack.is_dir():
        model = common.TEST_DATA / "cryoem" / "models" / "8bk7.cif.gz"
        out = folder / f"{number}_{box}"
        words = f"cryoem simulate -o {out} --number {number} --box {box} --symmetry D2 --snr 0.05"
        words += f" --pixel-size {256 / box} --model {model}"
        common.run([common.hpdp(), *words.split()])
        common.run([common.hpdp(), "import", out / "particles.star", "-o", stack])
    return stack


@dataclass(frozen=True)
class Taken:
    """What the timed passes took.

    Attributes
    ----------
    wall : float
        Seconds of the quickest pass.
    cpu : float
        Seconds of all passes on the workers.
    scheduler : float
        CPU seconds of the process of the scheduler and the client.
    peak : int
        Most bytes of a worker.
    """

    wall: float
    cpu: float
    scheduler: float
    peak: int


def measure(stack: Path, folder: Path, workers: int) -> Taken:
    """Run the passes on a cluster of their own."""
    truth = folder / stack.stem / "map_true.mrc"
    volume, pixel_size = read_map(truth)
    box = len(volume)
    diameter = DIAMETER * box
    loop = Passes(
        reference=truth,
        box=box,
        pixel_size=pixel_size,
        symmetry="D2",
        mask_diameter=diameter * pixel_size,
        mask=None,
        initial_resolution=30.0,
        spectra=measure_spectra(stack, 1, diameter, 0),
        micrographs=0,
        seed=0,
        radius=min(24, box // 2),
    )
    here = folder / "passes"
    shutil.rmtree(here, ignore_errors=True)
    with connect("local", workers=workers) as client:
        processes = [psutil.Process(pid) for pid in client.run(_pid).values()]
        moments: list[float] = []
        spent: list[float] = []
        own: list[float] = []

        def tell(_state: State) -> None:
            moments.append(time.perf_counter())
            spent.append(sum(sum(process.cpu_times()[:2]) for process in processes))
            own.append(time.process_time())

        iterate(stack, loop, here, client=client, tell=tell)
        peak = max(client.run(_peak).values())
    walls = np.diff(moments)[-TIMED:]
    return Taken(float(walls.min()), spent[-1] - spent[-1 - TIMED], own[-1] - own[-1 - TIMED], peak)


def _pid() -> int:
    import os

    return os.getpid()


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; kept")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        stack = simulate(folder, 5000, 128)
        measure(stack, folder, 1)  # compiles the kernels, once
        rounds = [
            [measure(stack, folder, workers) for workers in (1, 2)] for _ in range(options.rounds)
        ]
        one, two = (
            min((each[place] for each in rounds), key=lambda taken: taken.wall) for place in (0, 1)
        )
        figures: dict[str, object] = {
            "5,000 images of 128, one worker: wall s a pass": one.wall,
            "5,000 images of 128, two workers: wall s a pass": two.wall,
            "speed-up of two workers": one.wall / two.wall,
            "scheduler's share of the CPU time": two.scheduler / (two.scheduler + two.cpu),
        }
        for number, box in ((2500, 128), (5000, 128), (5000, 64), (5000, 96), (1000, 256)):
            taken = measure(simulate(folder, number, box), folder, 1)
            name = f"{number} images of {box}"
            figures[f"{name}: CPU ms an image and pass"] = 1e3 * taken.cpu / number / TIMED
            figures[f"{name}: peak of the worker, MiB"] = taken.peak / 2**20
        figures |= _classes(folder)
        common.record("scaling", figures)


def _classes(folder: Path) -> dict[str, object]:
    """Time 2D classification into more and more classes."""
    figures: dict[str, object] = {}
    stack = simulate(folder, 2500, 128)
    for classes in (10, 50):
        out = folder / f"classes_{classes}"
        words = (
            f"cryoem classify2d {stack} -o {out} --classes {classes} --iterations 10 --workers 1"
        )
        cost = common.run([common.hpdp(), *words.split(), "--overwrite"])
        figures[f"2500 images of 128 into {classes} classes, 10 iterations: CPU s"] = cost.cpu
    return figures


if __name__ == "__main__":
    main()
