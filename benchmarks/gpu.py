"""Cryo-EM, stills of crystals and heterogeneity on the GPU, beside the CPU or published times.

Times, on random images in memory, what a leaf of a reconstruction does with them (transform,
weigh, insert) and what the end does with the sums, on one CPU core and on one CUDA device; then
holds the maps against each other. Then an expectation pass of a refinement at full resolution (a
local search at 1.9°, to Nyquist's frequency), whose anchor is cryoSPARC 2.15 on a GTX 1080, 491
images a second at a box of 256. Then whole commands on 5,000 simulated particles of 128x128.

Of stills: shots simulated a second (what is drawn for them is drawn on the host) and how many of
their cells differ from the CPU's; frames of a Pilatus 6M, from the host's memory, made into four
quadrants; quadrants and frames that each network answers for; and steps of a training, batches
at hand, with the batch and the precision of the full recipe.

Of heterogeneity: the training of the decoder alone, see `gpu_decoder`. With `--smoke` this part
runs on the CPU, on one small cell, and writes nothing down: it tells that it works, and no more.

    python benchmarks/gpu.py [--number 8192] [--box 256] [--part cryoem|crystals|heterogeneity]
    python benchmarks/gpu.py --part heterogeneity --smoke
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from unittest import mock

import common
import numpy as np
import xarray as xr
from gpu_decoder import decoder_figures

from hpdp_dask.cryoem import contrast, reconstruct
from hpdp_dask.cryoem.reconstruct import BackProjection
from hpdp_dask.cryoem.refine import expectation as refine_expectation
from hpdp_dask.cryoem.refine.expectation import RefineExpectation
from hpdp_dask.cryoem.refine.maximization import Maximization
from hpdp_dask.cryoem.refine.state import State
from hpdp_dask.cryoem.simulate import phantom, potential_map
from hpdp_dask.crystallography.networks import NETWORKS, build_network
from hpdp_dask.crystallography.simulate import DETECTORS, Settings, crystals, shot, simulate_shot
from hpdp_dask.crystallography.train.learner import GEOMETRY, QuadrantLearner
from hpdp_dask.crystallography.train.recipes import RECIPES
from hpdp_dask.dataflow.training.apply import computing
from hpdp_dask.dataflow.training.feed import host_tensors, to_device
from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.numerics.arrays import has_gpu, to_host
from hpdp_dask.numerics.quadrants import SIDE, QuadrantPlan, plan_quadrants, pool_quadrants
from hpdp_dask.numerics.rotations import matrix_to_euler, random_rotations
from hpdp_dask.numerics.symmetry import point_group

#: Images that are given at once, as a leaf gives them.
BLOCK = 1024

#: Wavelength (Å), distance (m) and edge of a cell (m) of quadrants that networks look at.
SHOT = (1.0, 0.25, 3.44e-4)


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


def particles(number: int, box: int) -> dict[str, object]:
    """Measure all that is done with particles."""
    block = random_block(BLOCK, box)
    reduction = BackProjection(box, box // 2, point_group("D2"))
    on_gpu, _ = fold_all(reduction, block, number)
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
    rate_gpu, rate_cpu = number / on_gpu, BLOCK / on_cpu
    difference = np.abs(maps_gpu.joined - maps_cpu.joined).max() / np.abs(maps_cpu.joined).max()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        expected = 10_000 / expectation(box, 10_000, folder)
        with (
            mock.patch.object(refine_expectation, "fast_namespace", return_value=np),
            mock.patch.object(contrast, "fast_namespace", return_value=np),
        ):
            expected_cpu = 64 / expectation(box, 64, folder)
        whole = commands(folder)
    return {
        "box": box,
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
    }


def rate(number: int, work: Callable[[], object]) -> float:
    """Give how many things a second some work does, once it is warm."""
    work()
    start = time.perf_counter()
    work()
    return number / (time.perf_counter() - start)


def simulated(number: int, xp: ModuleType) -> tuple[float, np.ndarray]:
    """Simulate shots; gives how many a second, and the first sixteen."""
    settings = Settings(number=number, seed=1)
    with ExitStack() as patches:
        for module in (crystals, shot):
            patches.enter_context(mock.patch.object(module, "fast_namespace", return_value=xp))
        first = np.stack([simulate_shot(settings, index)[0] for index in range(16)])
        start = time.perf_counter()
        for index in range(number):
            simulate_shot(settings, index)
        return number / (time.perf_counter() - start), first


def frames_and_plan(number: int) -> tuple[np.ndarray, QuadrantPlan]:
    """Make frames of a Pilatus 6M and plan its quadrants."""
    model = DETECTORS["pilatus-6m"]
    detector = flat_detector(model.shape, model.pixel_size, SHOT[1], SHOT[0])
    pixels = detector.pixel_x, detector.pixel_y, detector.pixel_z
    frame = np.random.default_rng(0).integers(0, 40, model.shape, np.uint16)
    plan = plan_quadrants(*pixels, detector.mask, detector.pixel_size)
    return np.repeat(frame[None], number, axis=0), plan


def answered(name: str, device: str, xp: ModuleType, frames: int) -> tuple[float, float]:
    """Give the quadrants a second that a network answers for, and the frames from the host."""
    from hpdp_dask.crystallography.inference import Predictor

    predictor = Predictor(build_network(name), device)
    images, plan = frames_and_plan(frames)
    geometry = np.tile(np.float32(SHOT), (4 * frames, 1))

    def prepared() -> object:
        return pool_quadrants(xp.asarray(images), plan).reshape(-1, SIDE, SIDE)

    quadrants = prepared()
    alone = rate(4 * frames, lambda: predictor(quadrants, geometry))
    return alone, rate(frames, lambda: predictor(prepared(), geometry))


def learnt(name: str, device: str, batch: int, steps: int = 5) -> float:
    """Give the quadrants a second that a network learns from."""
    import torch

    learner, settings = QuadrantLearner(name), RECIPES["full"].training
    network = learner.build().to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), settings.rate)
    random = np.random.default_rng(0)
    rows = {"true_hit": np.ones(batch), "true_resolution": random.uniform(1.5, 5.0, batch)}
    rows |= {"true_lattices": random.integers(1, 3, batch)}
    rows |= {name: np.full(batch, value) for name, value in zip(GEOMETRY, SHOT, strict=True)}
    images = random.integers(0, 30, (batch, SIDE, SIDE), np.uint8)
    arrays = learner.prepare(images, rows, None)

    def step() -> float:
        given = to_device(host_tensors(arrays, device), device)
        with computing(settings.precision, device):
            total = sum(part.float().mean() for part in learner.losses(network, given).values())
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.longest_gradient)
        optimizer.step()
        return float(total.detach())  # waits for the device

    return rate(steps * batch, lambda: [step() for _ in range(steps)])


def stills(xp: ModuleType) -> dict[str, object]:
    """Measure all that is done with stills of crystals."""
    import torch

    torch.set_num_threads(1)
    shots, seen = simulated(500, xp)
    shots_cpu, expected = simulated(20, np)
    frames, plan = frames_and_plan(32)

    def pooled(module: ModuleType, some: np.ndarray) -> Callable[[], object]:
        return lambda: to_host(pool_quadrants(module.asarray(some), plan))

    figures: dict[str, object] = {
        "shots, a second on the GPU": shots,
        "shots, a second on one CPU core": shots_cpu,
        "shots, ratio": shots / shots_cpu,
        "shots, share of cells that differ": float((seen != expected).mean()),
        "frames into quadrants, a second on the GPU": rate(32, pooled(xp, frames)),
        "frames into quadrants, a second on one CPU core": rate(4, pooled(np, frames[:4])),
    }
    for name in NETWORKS:
        for where, device, module, number in (
            ("the GPU", "cuda", xp, 64),
            ("one CPU core", "cpu", np, 4),
        ):
            alone, with_frames = answered(name, device, module, number)
            figures[f"{name}, quadrants/s on {where}"] = alone
            figures[f"{name}, frames of 4 quadrants/s on {where}"] = with_frames
        full = RECIPES["full"].training.batch
        figures[f"{name}, training, quadrants/s on the GPU"] = learnt(name, "cuda", full)
        figures[f"{name}, training, quadrants/s on one CPU core"] = learnt(name, "cpu", 8, 1)
    return figures


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["cryoem", "crystals", "heterogeneity"])
    parser.add_argument("--number", type=int, default=8 * BLOCK)
    parser.add_argument("--box", type=int, default=256)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke and options.part == "heterogeneity":
        for key, value in decoder_figures("cpu", smoke=True).items():
            print(f"{key}: {value:.3g}")
        return
    if not has_gpu():
        sys.exit("gpu: needs CuPy and a CUDA device (pip install 'hpdp-dask[gpu]')")
    import cupy

    device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    parts: dict[str, tuple[str, Callable[[], dict[str, object]]]] = {
        "cryoem": ("gpu", lambda: particles(options.number, options.box)),
        "crystals": ("gpu_crystals", lambda: stills(cupy)),
        "heterogeneity": ("gpu_heterogeneity", lambda: decoder_figures("cuda")),
    }
    for name in [options.part] if options.part else parts:
        result, measure = parts[name]
        common.record(result, {"device": device, **measure()})


if __name__ == "__main__":
    main()
