"""Bytes that a refinement moves in each iteration, against the least that it could.

    python benchmarks/dataflow.py [--particles 600] [--box 64] [--workers 2]

A refinement of simulated particles on local worker processes. Counted in each worker: bytes of the
files that it opens to read (an audit hook), and what workers send to each other (Dask's log of
transfers); in this process: what the client sends to the scheduler and hears from it.

The least possible of an iteration: each worker reads the model once; sums of all workers but one
travel once; each image's results are read once. Images are read once and kept while they fit.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import common
import numpy as np
from distributed import Client
from distributed.comm.tcp import TCP

from hpdp_dask.cluster import connect
from hpdp_dask.cryoem.refine.stage import refine
from hpdp_dask.cryoem.simulate import phantom, potential_map, simulate_particles
from hpdp_dask.formats import mrc
from hpdp_dask.numerics import slices
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images

#: What a file is, by a part of its path.
KINDS = {
    "/results/": "results",
    "references.npy": "model",
    ".zarr/images/": "images",
    "leaf-": "sums",
}
PIXEL_SIZE = 3.25


def hook(dask_worker: Any) -> None:
    """Count what a worker reads, from now on; runs on it."""
    import os
    import sys

    read: Counter[str] = Counter()
    dask_worker.read = read

    def opened(event: str, words: tuple) -> None:
        if event != "open" or not isinstance(words[0], str | bytes | os.PathLike):
            return
        path, mode, flags = os.fsdecode(words[0]), words[1], words[2]
        if (mode and set(mode) & set("wax+")) or (flags or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        for part, kind in KINDS.items():
            if part in path and os.path.isfile(path):
                read[kind] += os.path.getsize(path)
                return

    sys.addaudithook(opened)


def moved(dask_worker: Any) -> Counter[str]:
    """Give what a worker read and what came from others since it was asked last; runs on it."""
    found = Counter(dask_worker.read)
    found["between workers"] = sum(each["total"] for each in dask_worker.transfer_incoming_log)
    dask_worker.read.clear()
    dask_worker.transfer_incoming_log.clear()
    return found


def count_client(counts: Counter[str]) -> None:
    """Count the bytes that go through the connection of the client, from now on."""
    write = TCP.write

    async def counted(self: TCP, *words: Any, **options: Any) -> Any:
        sent = await write(self, *words, **options)
        if self.name in ("Client->Scheduler", "Scheduler->Client"):
            counts[self.name] += sent
        return sent

    TCP.write = counted


def prepare(folder: Path, number: int, box: int) -> tuple[Path, Path]:
    """Simulate particles; gives their stack and the map they are of."""
    size = PIXEL_SIZE * 64 / box
    table, images = simulate_particles(phantom(), number, box, pixel_size=size, snr=0.1, seed=1)
    stack, truth, shard = folder / "particles.zarr", folder / "truth.mrc", 50
    new_stack(stack, to_dataset(table, 0), number, box, images_per_shard=shard)
    for start in range(0, number, shard):
        write_images(stack, start, images[start : start + shard])
    mrc.write_map(truth, potential_map(phantom().at(), box, size), size)
    return stack, truth


class Measured:
    """What was moved in each iteration, and the least that it could be, by its number."""

    def __init__(self, client: Client, scratch: Path) -> None:
        self.client, self.scratch = client, scratch
        self.counts: Counter[str] = Counter()
        self.moved: dict[int, Counter[str]] = {}
        self.least: dict[int, Counter[str]] = {}
        self._workers = len(client.run(hook))
        self._next: Counter[str] = Counter()
        count_client(self.counts)

    def tell(self, state: Any) -> None:
        """Take the figures of the iteration that led to a state, and the least of the next."""
        self.moved[state.iteration] = sum(self.client.run(moved).values(), Counter()) + self.counts
        self.counts.clear()
        self.least[state.iteration] = self._next
        [folder] = self.scratch.glob(f"**/{state.iteration:03d}")
        results = sum(file.stat().st_size for file in (folder / "results").iterdir())
        grids = 2 * 4 * int(np.prod(slices.accumulator_shape(state.radius)))
        self._next = Counter(
            {
                "model": self._workers * size(folder / "references.npy"),
                "results": results,
                "between workers": (self._workers - 1) * grids,
            }
        )


def size(file: Path) -> int:
    """Give the bytes of a file; 0 if it is not there."""
    return file.stat().st_size if file.is_file() else 0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=600)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    figures: dict[str, object] = {
        "particles, box, workers": [options.particles, options.box, options.workers]
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        stack, truth = prepare(folder, options.particles, options.box)
        (folder / "out" / "scratch").mkdir(parents=True)
        with connect("local", workers=options.workers, memory_limit="2GiB") as client:
            measured = Measured(client, folder / "out" / "scratch")
            refine(
                stack,
                folder / "out",
                folder / "out" / "scratch",
                reference=truth,
                symmetry="D3",
                initial_resolution=40.0,
                mask_diameter=175.0,
                client=client,
                tell=measured.tell,
            )
        images = sum(file.stat().st_size for file in (stack / "images").rglob("c/**/0"))
    iterations = sorted(measured.moved)[1:]  # the first state is made by the client itself
    for kind in ("model", "results", "between workers"):
        found = sum(measured.moved[index][kind] for index in iterations)
        least = sum(measured.least[index][kind] for index in iterations)
        figures[f"{kind}: MB an iteration"] = found / len(iterations) / 1e6
        figures[f"{kind}: ratio to the least possible"] = found / least
    read = sum(measured.moved[index]["images"] for index in iterations)
    figures["images: ratio to reading them once in all iterations"] = read / images
    for kind in ("Client->Scheduler", "Scheduler->Client"):
        found = sum(measured.moved[index][kind] for index in iterations)
        figures[f"{kind}: MB an iteration"] = found / len(iterations) / 1e6
    common.record("dataflow", figures)


if __name__ == "__main__":
    main()
