"""CPU time a frame of what cleans detector frames: common mode, photons, hits, background.

    python benchmarks/spi_cleaning.py [--number 2000] [--size 224]

Frames of 0.15 photons a pixel of background, a third of them hits. Prints the CPU time of each
kernel a frame, in one process and one thread, and that of whole passes over a stack on disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np

from hpdp_dask.dataflow.columns import measure_images
from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.numerics.common_mode import group_pixels, subtract_common_mode
from hpdp_dask.numerics.mode_fit import add_to_histogram, background_of_histogram
from hpdp_dask.numerics.photon_counts import count_photons, log_shape, score_shape, sum_frames
from hpdp_dask.spi.background import PhotonHistogram
from hpdp_dask.spi.hit_measures import LambdaScore, LitPixels
from hpdp_dask.stacks.frames import frame_table, new_frames
from hpdp_dask.stacks.store import staging, write_images

LEVEL, GAIN, NOISE = 0.15, 8.0, 1.6


def draw(number: int, size: int) -> np.ndarray:
    """Draw photons of a background, and of hits in a third of the frames."""
    random = np.random.default_rng(0)
    photons = random.poisson(LEVEL, (number, size, size)).astype(np.uint8)
    radius = np.hypot(*(np.indices((size, size)) - (size - 1) / 2))
    signal = 3.0 * np.exp(-radius / (size / 6))
    for frame in photons[: number // 3]:
        frame += random.poisson(signal).astype(np.uint8)
    return photons


def milliseconds(call: Callable[[], object], number: int) -> float:
    """Give the CPU time of a call over a number of frames; what it compiles does not count."""
    call()
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start) / number


def kernels(photons: np.ndarray) -> dict[str, float]:
    """Measure kernels on frames in memory."""
    number, *shape = photons.shape
    good = np.ones(shape, bool)
    likely = log_shape(np.full(shape, LEVEL), good)
    histogram = np.zeros((50, *shape), np.uint32)
    few = photons[:100]
    noise = np.random.default_rng(1).normal(0.0, NOISE, few.shape)
    adu = (GAIN * few + noise).astype(np.float32)
    groups = group_pixels((shape[0], shape[1]), (1, shape[1] // 2), good)
    found = {
        "lit pixels": milliseconds(lambda: sum_frames(photons, good), number),
        "lambda score": milliseconds(lambda: score_shape(photons, good, likely), number),
        "histogram": milliseconds(lambda: add_to_histogram(histogram, photons), number),
        "common mode": milliseconds(lambda: subtract_common_mode(adu, groups, NOISE), len(few)),
        "ADU to photons": milliseconds(lambda: count_photons(adu, good, GAIN), len(few)),
    }
    found["mode fit, all pixels, once"] = milliseconds(
        lambda: background_of_histogram(histogram), 1
    )
    return found


def passes(folder: Path, photons: np.ndarray) -> dict[str, float]:
    """Measure passes over a stack, reading included."""
    number, *shape = photons.shape
    size = shape[0], shape[1]
    background = np.full(size, LEVEL, np.float32)
    with staging(folder / "frames.zarr") as stack:
        table = frame_table(flat_detector(size, 1e-3, 0.5, 8.0), {"background": background})
        new_frames(stack, table, number, size, np.uint8)
        write_images(stack, 0, photons)
    path = folder / "frames.zarr"
    measures = [LitPixels(), LambdaScore((float(background.sum()),))]
    return {
        "pass, lit pixels and lambda score": milliseconds(
            lambda: measure_images(path, measures, overwrite=True), number
        ),
        "pass, histogram": milliseconds(lambda: reduce_images(path, PhotonHistogram(size)), number),
    }


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    photons = draw(options.number, options.size)
    figures: dict[str, object] = {"frames": options.number, "edge, pixels": options.size}
    with tempfile.TemporaryDirectory() as folder:
        measured = kernels(photons) | passes(Path(folder), photons)
    figures |= {f"{name}, CPU ms": value for name, value in measured.items()}
    common.record("spi_cleaning", figures)


if __name__ == "__main__":
    main()
