"""Reconstruction, expectation, classification and refinement on the GPU beside the CPU.

Times, on random images in memory, what a leaf of a reconstruction does with them (transform,
weigh, insert) and what the end does with the sums, on one CPU core and on one CUDA device; then
holds the maps against each other. Then an expectation pass of a refinement at full resolution (a
local search at 1.9°, to Nyquist's frequency), whose anchor is cryoSPARC 2.15 on a GTX 1080, 491
images a second at a box of 256. Then whole commands on 5,000 simulated particles of 128x128.

    python benchmarks/gpu.py [--number 8192] [--box 256]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import common
import numpy as np
import xarray as xr

from hpdp_dask.cryoem import contrast, reconstruct
from hpdp_dask.cryoem.reconstruct import BackProjection
from hpdp_dask.cryoem.refine import expectation as refine_expectation
from hpdp_dask.cryoem.refine.expectation import RefineExpectation
from hpdp_dask.cryoem.refine.maximization import Maximization
from hpdp_dask.cryoem.refine.state import State
from hpdp_dask.cryoem.simulate import phantom, potential_map
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


def expectation(box: int, number: int, folder: Path) -> float:
    """Search the poses of so many images about known ones; gives the seconds."""
    volume = potential_map(phantom().at(), box, 256.0 / box)
    np.save(folder / "references.npy", np.stack([volume, volume]).astype(np.float32))
    state = State(
        iteration=9,
        radius=box // 2,
        order=5,
        local=True,
        shift_step=0.5,
        noise_power=[[float(box**2)] * (box // 2 + 1)],
        shift_sigma=3.0,
        shift_range=1.0,
    )
    settings = Maximization(box, 256.0 / box, point_group("C1"), 0.7 * box, None, folder)
    search = RefineExpectation(state, settings, folder, seed=0)
    block = random_block(min(number, BLOCK), box)
    before = {"euler_angles": block["euler_angles"].values, "shift": block["shift"].values}
    prepared = search.preparation(block)
    few = prepared.isel(particle=slice(0, 16))
    search.fold(search.start(), few, {name: rows[:16] for name, rows in before.items()})
    sums = search.start()
    start = time.perf_counter()
    for _ in range(0, number, BLOCK):
        sums, _ = search.fold(sums, prepared, before)
    to_host(sums.volumes)  # waits for the device
    return time.perf_counter() - start


def commands(folder: Path) -> dict[str, object]:
    """Time whole commands on the device and on one CPU worker."""
    particles = folder / "particles"
    hpdp = common.hpdp()
    words = f"cryoem simulate -o {particles} --number 5000 --box 128 --snr 0.05"
    common.run([hpdp, *words.split()])
    common.run([hpdp, "import", particles / "particles.star", "-o", folder / "stack.zarr"])
    stages = {
        "classify2d": f"--classes 20 -o {folder / 'classes'}",
        "refine": f"--reference {particles / 'map_true.mrc'} --initial-resolution 40 "
        f"--symmetry D3 -o {folder / 'refined'}",
    }
    figures: dict[str, object] = {}
    for name, options in stages.items():
        words = ["cryoem", name, folder / "stack.zarr", *options.split(), "--overwrite"]
        for where in ("local-cuda", "local"):
            cost = common.run([hpdp, *words, "--cluster", where, "--workers", "1"])
            figures[f"{name} of 5,000 images of 128, wall s, {where}"] = cost.wall
    return figures


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
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        expected = 10_000 / expectation(options.box, 10_000, folder)
        with (
            mock.patch.object(refine_expectation, "fast_namespace", return_value=np),
            mock.patch.object(contrast, "fast_namespace", return_value=np),
        ):
            expected_cpu = 64 / expectation(options.box, 64, folder)
        whole = commands(folder)
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
            "expectation, images/s on the GPU": expected,
            "expectation, images/s on one CPU core": expected_cpu,
            "expectation, over cryoSPARC 2.15 on a GTX 1080": expected / 491.0,
            **whole,
        },
    )


if __name__ == "__main__":
    main()
