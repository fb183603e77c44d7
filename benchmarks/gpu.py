"""Reconstruction on the GPU beside the CPU: images a second and their ratio.

Times, on random images in memory, what a leaf does with them (transform, weigh, insert) and
what the end does with the sums, on one CPU core and on one CUDA device; then holds the maps
against each other.

    python benchmarks/gpu.py [--number 8192] [--box 256]
"""

from __future__ import annotations

import argparse
import sys
import time
from unittest import mock

import common
import numpy as np
import xarray as xr

from hpdp_dask.cryoem import reconstruct
from hpdp_dask.cryoem.reconstruct import BackProjection
from hpdp_dask.numerics.arrays import has_gpu, to_host
from hpdp_dask.numerics.rotations import matrix_to_euler, random_rotations
from hpdp_dask.numerics.symmetry import point_group

#: Images that are given at once, as a leaf gives them.
BLOCK = 1024


def random_block(number: int, box: int) -> xr.Dataset:
    """Make a block of images with poses and CTF."""
    random = np.random.default_rng(0)
    images = random.standard_normal((number, box, box), dtype=np.float32)
    one = {"voltage": 300.0, "spherical_aberration": 2.7, "amplitude_contrast": 0.1}
    columns = {
        "defocus_u": random.uniform(8e3, 2e4, number),
        "defocus_v": random.uniform(8e3, 2e4, number),
        "defocus_angle": random.uniform(0, 180, number),
        "optics_group": np.zeros(number, np.int32),
        "half_set": np.arange(number) % 2,
    }
    return xr.Dataset(
        {
            "images": (("particle", "y", "x"), images),
            "euler_angles": (("particle", "angle"), matrix_to_euler(random_rotations(number, 1))),
            "shift": (("particle", "axis"), random.normal(0, 3, (number, 2))),
            **{name: ("particle", values) for name, values in columns.items()},
            **{name: ("optics", np.array([value])) for name, value in one.items()},
            "pixel_size": ("optics", np.array([1.0])),
        }
    )


def fold_all(reduction: BackProjection, block: xr.Dataset, number: int) -> tuple[float, object]:
    """Fold so many images, block by block; gives the seconds and the sums."""
    sums = reduction.fold(reduction.start(), block.isel(particle=slice(0, 16)))  # compiles
    sums = reduction.start()
    start = time.perf_counter()
    for _ in range(0, number, BLOCK):
        sums = reduction.fold(sums, block)
    sums_on_host = to_host(sums)  # waits for the device, as the end of a leaf does
    return time.perf_counter() - start, sums_on_host


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=8 * BLOCK)
    parser.add_argument("--box", type=int, default=256)
    options = parser.parse_args()
    if not has_gpu():
        sys.exit("gpu: needs CuPy and a CUDA device (pip install 'hpdp-dask[gpu]')")
    import cupy

    block = random_block(BLOCK, options.box)
    reduction = BackProjection(options.box, options.box // 2, point_group("D2"))
    on_gpu, _ = fold_all(reduction, block, options.number)
    # For the comparison both fold one block.
    _, sums_gpu = fold_all(reduction, block, BLOCK)
    start = time.perf_counter()
    maps_gpu = reduction.finish(sums_gpu)
    end_gpu = time.perf_counter() - start
    with mock.patch.object(reconstruct, "fast_namespace", return_value=np):
        on_cpu, sums_cpu = fold_all(reduction, block, BLOCK)
        start = time.perf_counter()
        maps_cpu = reduction.finish(sums_cpu)
        end_cpu = time.perf_counter() - start
    rate_gpu, rate_cpu = options.number / on_gpu, BLOCK / on_cpu
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    difference = np.abs(maps_gpu.joined - maps_cpu.joined).max() / np.abs(maps_cpu.joined).max()
    common.record(
        "gpu",
        {
            "device": name,
            "box": options.box,
            "reconstruct, images/s on the GPU": rate_gpu,
            "reconstruct, images/s on one CPU core": rate_cpu,
            "ratio": rate_gpu / rate_cpu,
            "maps from the sums, s on the GPU": end_gpu,
            "maps from the sums, s on one CPU core": end_cpu,
            "largest difference of the maps, relative": float(difference),
        },
    )


if __name__ == "__main__":
    main()
