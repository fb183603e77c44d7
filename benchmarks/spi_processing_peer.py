"""Sizes and background beside spi-processing 0.1.3 (PyPI), on the same simulated frames.

Frames of spheres and icosahedra of 20 to 200 nm with 300 to 30,000 photons go through both size
estimates; frames with a structured background and some hits through both estimates of the
background by the mode of each pixel, and its subtraction. Each side reads its own format and
writes its results, in one process and one thread, once what Numba compiles is ready. CPU seconds
are those of the process.

    python benchmarks/spi_processing_peer.py --peer PYTHON [--folder DIR] [--frames 6000]

PYTHON is the interpreter of an environment that has spi-processing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import common
import numpy as np
from scipy.spatial.transform import Rotation

from hpdp_dask.formats.frames import Detector, flat_detector
from hpdp_dask.frames.export_frames import export_frames
from hpdp_dask.numerics.diffraction import scattering_vectors, solid_angles
from hpdp_dask.numerics.form_factors import ICOSAHEDRON_VOLUME, icosahedron, sphere
from hpdp_dask.stacks.frames import frame_table, new_frames
from hpdp_dask.stacks.store import staging, write_images

#: Those of the LCLS data that the peer was made for.
PIXEL_SIZE, DISTANCE, WAVELENGTH = 0.6e-3, 0.586, 7.75

#: Frames of each particle.
SHOTS = 20

#: Sizes that both sides try, Å.
SMALLEST, LARGEST = 150.0, 2400.0

ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
}


def detector_of(pixels: int) -> Detector:
    """Make a flat detector with a beam stop and a gap."""
    y, x = np.mgrid[:pixels, :pixels] - (pixels - 1) / 2
    mask = np.where(np.hypot(x, y) < 3, 2, 0)
    mask[pixels // 2 - 1 : pixels // 2 + 1] = 2
    return flat_detector((pixels, pixels), PIXEL_SIZE, DISTANCE, WAVELENGTH, mask=mask)


def particles(
    detector: Detector, diameters: np.ndarray, photons: np.ndarray, seed: int
) -> np.ndarray:
    """Draw frames of spheres and icosahedra in turn, as many of each, on a weak even background."""
    random = np.random.default_rng(seed)
    x, y, z = detector.pixel_x, detector.pixel_y, detector.pixel_z
    share = np.where(detector.mask == 0, solid_angles(x, y, z, PIXEL_SIZE), 0.0)
    aside = np.array([-0.25, 0.25]) * PIXEL_SIZE
    parts = [scattering_vectors(x + a, y + b, z, WAVELENGTH) for a in aside for b in aside]
    q = np.stack(parts, axis=1).astype(np.float32)
    vertices = (np.pi / 6 / ICOSAHEDRON_VOLUME) ** (1 / 3)
    shots = len(photons) // len(diameters)
    frames = np.empty((len(photons), *detector.shape), np.uint16)
    for particle, diameter in enumerate(diameters):
        if particle % 2:
            turn = Rotation.random(random_state=random).as_matrix().astype(np.float32)
            amplitude = icosahedron(np.tensordot(turn, q, 1), diameter * vertices)
        else:
            amplitude = sphere(q, diameter)
        intensity = np.mean(amplitude**2, axis=0) * share
        pattern = intensity / intensity.sum() + 0.1 * share / share.sum()
        for frame in range(particle * shots, (particle + 1) * shots):
            frames[frame] = random.poisson(photons[frame] * pattern)
    return frames


def store(path: Path, frames: np.ndarray, detector: Detector) -> None:
    """Write a stack, and beside it the same as CXI."""
    with staging(path, True) as folder:
        table = frame_table(detector, {})
        shape = frames.shape[1:]
        new_frames(folder, table, len(frames), shape, frames.dtype, images_per_shard=len(frames))
        write_images(folder, 0, frames)
    export_frames(path, path.with_suffix(".cxi"), overwrite=True)


def both(python: Path, job: str, folder: Path, **options: float) -> dict[str, dict]:
    """Let both sides do a job on the files `JOB_few` and `JOB`."""
    given = {}
    for side, program, kind in (
        ("hpdp", Path(sys.executable), "zarr"),
        ("spi-processing", python, "cxi"),
    ):
        files = [folder / f"{job}_few.{kind}", folder / f"{job}.{kind}"]
        script = Path(__file__).with_name("spi_processing_side.py")
        words = [program, script, side, job, *files, json.dumps(options)]
        done = subprocess.run(
            [str(word) for word in words],
            capture_output=True,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        if done.returncode:
            sys.exit(f"{side}, {job}: {done.stderr[-3000:]}")
        given[side] = json.loads(done.stdout)
    return given


def rates(job: str, what: str, number: int, given: dict[str, dict], key: str) -> dict[str, object]:
    """Give frames per CPU second of both sides, and their ratio."""
    rate = {side: number / each[key] for side, each in given.items()}
    figures: dict[str, object] = {
        f"{job}, {what}: {side}, frames per CPU s": each for side, each in rate.items()
    }
    return figures | {f"{job}, {what}: ratio": rate["hpdp"] / rate["spi-processing"]}


def compare_sizes(python: Path, folder: Path, number: int) -> dict[str, object]:
    """Find the sizes of the same frames by both."""
    random = np.random.default_rng(1)
    detector = detector_of(224)
    diameters = np.exp(random.uniform(np.log(200.0), np.log(2000.0), number // SHOTS))
    photons = np.exp(random.uniform(np.log(300.0), np.log(30_000.0), number))
    frames = particles(detector, diameters, photons, seed=2)
    true = np.repeat(diameters, SHOTS)
    round_ = np.repeat(np.arange(len(diameters)) % 2 == 0, SHOTS)
    store(folder / "size.zarr", frames, detector)
    store(folder / "size_few.zarr", frames[:100], detector)
    given = both(
        python, "size", folder, wavelength=WAVELENGTH, distance=DISTANCE, pixel_size=PIXEL_SIZE,
        smallest=SMALLEST, largest=LARGEST,
    )  # fmt: skip
    figures: dict[str, object] = {"size: frames of 224x224": number}
    figures |= rates("size", "frames in memory", number, given, "memory")
    figures |= rates("size", "file to file", number, given, "cpu")
    for side, each in given.items():
        off = np.abs(np.array(each["found"]) / true - 1.0)
        figures |= {
            f"size: {side}, median error, spheres": float(np.median(off[round_])),
            f"size: {side}, median error, icosahedra": float(np.median(off[~round_])),
            f"size: {side}, median error, below 1,000 photons": float(
                np.median(off[photons < 1000])
            ),
            f"size: {side}, frames off by more than 5 %": float(np.mean(off > 0.05)),
        }
        figures[f"{side} ran on"] = f"numpy {each['numpy']}, scipy {each['scipy']}"
    return figures


def compare_background(python: Path, folder: Path, number: int) -> dict[str, object]:
    """Take the background off the same frames by both: few pixels, since the peer fits each."""
    random = np.random.default_rng(3)
    detector = detector_of(64)
    radius = np.hypot(detector.pixel_x, detector.pixel_y)
    background = 4.0 + 16.0 * np.exp(-radius / 8e-3) + 2.0 * np.sin(detector.pixel_x / 3e-3)
    background[detector.mask != 0] = 0.0
    frames = random.poisson(background, (number, *detector.shape)).astype(np.uint16)
    hits = number // 5
    sizes = random.uniform(400.0, 800.0, hits)
    frames[:hits] += particles(detector, sizes, np.full(hits, 20_000.0), seed=4)
    random.shuffle(frames)
    store(folder / "background.zarr", frames, detector)
    store(folder / "background_few.zarr", frames[:20, 16:48, 16:48], detector_of(32))
    given = both(python, "background", folder)
    figures: dict[str, object] = {"background: frames of 64x64": number}
    figures |= rates("background", "file to file", number, given, "cpu")
    good = detector.mask == 0
    for side, each in given.items():
        off = np.array(each["found"])[good] / background[good] - 1.0
        figures |= {
            f"background: {side}, median error": float(np.median(np.abs(off))),
            f"background: {side}, mean deviation": float(np.mean(off)),
        }
    return figures


def what_breaks(python: Path, folder: Path) -> dict[str, object]:
    """Try the option of the peer's program that takes the brightest angles alone."""
    copy = shutil.copy(folder / "size_few.cxi", folder / "brightest.cxi")
    program = python.parent / "spi_estimate_size.py"
    words = [python, program, copy, "-p", 0.5]
    words += ["-w", WAVELENGTH, "-d", DISTANCE, "--pix", PIXEL_SIZE]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    found = [line for line in done.stderr.splitlines() if "Error: " in line]
    return {"size: spi-processing -p 0.5": found[-1] if found else f"ends with {done.returncode}"}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, required=True, help="a Python with spi-processing")
    parser.add_argument("--folder", type=Path, help="where to work; kept")
    parser.add_argument("--frames", type=int, default=6000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        python = options.peer.absolute()
        figures = compare_sizes(python, folder, options.frames)
        figures |= what_breaks(python, folder)
        figures |= compare_background(python, folder, 1000)
        common.record("spi_processing", figures)


if __name__ == "__main__":
    main()
