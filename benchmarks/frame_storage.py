"""Photons on disk: how much a stack shrinks, and how fast frames come in, beside CXI and .emc.

    python benchmarks/frame_storage.py [--number 4000] [--size 224]

Frames of 0.07 and 0.5 photons a pixel, of spheres and evenly spread, are written as CXI (gzip) and
as `.emc`, imported, and read again. Prints by how much they shrink against the numbers in memory,
frames imported and read in a CPU second, and the ratio of reading a stack to reading the same
CXI by h5py. Real frames of the test data shrink beside them, if `HPDP_TEST_DATA` is there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import common
import h5py
import numpy as np

from hpdp_dask.formats.cxi_writing import write_cxi
from hpdp_dask.formats.emc_writing import write_emc
from hpdp_dask.frames.import_frames import FrameSummary, import_frames
from hpdp_dask.stacks.shards import ImageReader

MEANS = (0.07, 0.5)


def sphere_patterns(number: int, size: int, mean: float) -> np.ndarray:
    """Draw photons of spheres with 8 to 20 pixels from ring to ring, of spread fluence."""
    random = np.random.default_rng(0)
    radius = np.hypot(*(np.indices((size, size)) - (size - 1) / 2))
    frames = np.empty((number, size, size), np.uint8)
    for frame in frames:
        x = np.pi * radius / random.uniform(8, 20) + 1e-9
        intensity = ((np.sin(x) - x * np.cos(x)) / x**3) ** 2
        # the beamstop takes the brightest, as it does in experiments
        intensity[radius < 6] = 0
        intensity *= random.gamma(2, 0.5) * mean / intensity.mean()
        frame[...] = np.minimum(random.poisson(intensity), 255)
    return frames


def even_background(number: int, size: int, mean: float) -> np.ndarray:
    """Draw photons that are spread evenly, which shrink least."""
    random = np.random.default_rng(0)
    return random.poisson(mean, (number, size, size)).astype(np.uint8)


def cpu(call: Callable[[], object]) -> float:
    """Give the CPU seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def shrinks(summary: FrameSummary) -> float:
    """Give the size of frames in memory over that on disk."""
    pixels = summary.shape[0] * summary.shape[1]
    return summary.number * pixels * summary.dtype.itemsize / summary.stored_bytes


def of_frames(folder: Path, frames: np.ndarray) -> dict[str, float]:
    """Measure frames of one kind."""
    number, size, _ = frames.shape
    cxi, emc, stack = (folder / f"frames.{end}" for end in ("cxi", "emc", "zarr"))
    write_cxi(cxi, number, (size, size), frames.dtype, [frames])
    write_emc(emc, number, size * size, [frames])
    found: list[FrameSummary] = []
    seconds = {
        path.suffix: cpu(
            lambda path=path: found.append(import_frames([path], stack, overwrite=True))
        )
        for path in (emc, cxi)
    }
    reader = ImageReader(stack)

    def read_cxi() -> None:
        with h5py.File(cxi) as file:
            for start in range(0, number, 200):
                file["entry_1/data_1/data"][start : start + 200]

    def read_stack() -> None:
        for start in range(0, number, 200):
            reader.read(start, min(start + 200, number))

    ours = cpu(read_stack)
    theirs = cpu(read_cxi)
    assert (reader.read(0, 50) == frames[:50]).all()
    return {
        "photons a pixel": float(frames.mean()),
        "stack shrinks": shrinks(found[-1]),
        "CXI with gzip shrinks": frames.nbytes / cxi.stat().st_size,
        ".emc shrinks": frames.nbytes / emc.stat().st_size,
        "import of CXI, frames a CPU second": number / seconds[".cxi"],
        "import of .emc, frames a CPU second": number / seconds[".emc"],
        "reading a stack, frames a CPU second": number / ours,
        "reading the CXI by h5py, frames a CPU second": number / theirs,
        "ratio of reading": theirs / ours,
    }


def real(folder: Path) -> dict[str, float]:
    """Measure by how much real frames shrink."""
    files = {
        "Dragonfly's reference problem": common.TEST_DATA / "spi" / "dragonfly" / "photons.emc",
        "PR772 at LCLS": common.TEST_DATA / "spi" / "pr772" / "pr772_30_labelled.npz",
    }
    return {
        f"{name}, shrinks": shrinks(import_frames([path], folder / "real.zarr", overwrite=True))
        for name, path in files.items()
        if path.exists()
    }


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=4000)
    parser.add_argument("--size", type=int, default=224)
    given = parser.parse_args()
    figures: dict[str, object] = {"frames": given.number, "pixels": f"{given.size}x{given.size}"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, draw in (("spheres", sphere_patterns), ("even", even_background)):
            for mean in MEANS:
                measured = of_frames(folder, draw(given.number, given.size, mean))
                figures |= {f"{kind} {mean:g}, {what}": value for what, value in measured.items()}
        figures |= real(folder)
    common.record("frame_storage", figures)


if __name__ == "__main__":
    main()
