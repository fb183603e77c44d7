"""Peak memory of the workers that import and reconstruct a stack larger than their memory.

Two workers of 600 MiB each; stacks of one and of four times what they have together. Prints
the peak of the largest worker and of the command itself: neither may grow with the number of
particles.

    python benchmarks/memory.py [--folder DIR] [--workers 2] [--memory-limit 600MiB]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np
import psutil
from dask.utils import parse_bytes

from hpdp_dask.formats.mrc import MrcStackWriter
from hpdp_dask.formats.particles import ParticleTable, SourceTables
from hpdp_dask.formats.star import write_particles
from hpdp_dask.numerics.rotations import matrix_to_euler, random_rotations

BOX, PIXEL_SIZE, BLOCK = 64, 3.0, 1000
MIB = 2**20


def write_noise(folder: Path, number: int) -> Path:
    """Write particles of pure noise with random poses; gives their star file."""
    folder.mkdir()
    images = np.random.default_rng(0).standard_normal((BLOCK, BOX, BOX), dtype=np.float32)
    with MrcStackWriter(folder / "noise.mrcs", (number, BOX, BOX), PIXEL_SIZE) as writer:
        for start in range(0, number, BLOCK):
            writer.write(images[: number - start])
    table = ParticleTable(
        particles={
            "euler_angles": matrix_to_euler(random_rotations(number, 1)),
            "shift": np.zeros((number, 2)),
            "defocus_u": np.full(number, 15_000.0),
            "defocus_v": np.full(number, 14_500.0),
            "defocus_angle": np.full(number, 30.0),
            "optics_group": np.zeros(number, np.int32),
            "half_set": np.arange(number) % 2,
        },
        optics={
            "voltage": np.array([300.0]),
            "spherical_aberration": np.array([2.7]),
            "amplitude_contrast": np.array([0.1]),
            "pixel_size": np.array([PIXEL_SIZE]),
        },
        image_files=[folder / "noise.mrcs"],
        image_file=np.zeros(number, np.int32),
        image_index=np.arange(number),
        source=SourceTables("relion-3.1"),
        path=folder / "noise.star",
    )
    write_particles(table.path, table)
    return table.path


def peaks(command: list[str | Path]) -> tuple[float, float, float]:
    """Run a command; gives MiB of the largest child process, of itself, and wall seconds."""
    begin = time.perf_counter()
    process = psutil.Popen(
        [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    child = own = 0
    while process.poll() is None:
        try:
            own = max(own, process.memory_info().rss)
            children = process.children(recursive=True)
        except psutil.Error:
            break
        for one in children:
            try:
                child = max(child, one.memory_info().rss)
            except psutil.Error:
                continue
        time.sleep(0.05)
    errors = process.stderr.read().decode()
    if process.wait():
        sys.exit(f"{' '.join(map(str, command))}\n{errors[-4000:]}")
    return child / MIB, own / MIB, time.perf_counter() - begin


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; kept")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory-limit", default="600MiB")
    options = parser.parse_args()
    limit = parse_bytes(options.memory_limit)
    where = ["--workers", options.workers, "--memory-limit", options.memory_limit, "--overwrite"]
    figures: dict[str, object] = {
        "workers": options.workers,
        "memory limit of a worker, MiB": limit / MIB,
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        for times in (1, 4):
            number = int(times * options.workers * limit / (4 * BOX**2))
            folder = Path(temporary) / f"{times}"
            star, stack = write_noise(folder, number), folder / "noise.zarr"
            name = f"stack of {times} x the workers' memory"
            figures[f"{name}, particles"] = number
            for verb, words in (
                ("import", ["import", star, "-o", stack]),
                ("reconstruct", ["cryoem", "reconstruct", stack, "-o", folder / "map"]),
            ):
                worker, own, wall = peaks([common.hpdp(), *words, *where])
                figures[f"{name}, {verb}: peak of a worker, MiB"] = worker
                figures[f"{name}, {verb}: peak of the command, MiB"] = own
                figures[f"{name}, {verb}: wall s"] = wall
    common.record("memory", figures)


if __name__ == "__main__":
    main()
