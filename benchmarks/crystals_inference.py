"""How many diffraction images a second networks look at, and how many cores a detector takes.

    python benchmarks/crystals_inference.py [--networks small resnet18 resnet34 resnet50]

Real Pilatus 6M frames of thaumatin, or Poisson noise of their size where the test data are not
there, in memory; one process, one thread. First what it takes to read them and to make quadrants;
then for each network the CPU milliseconds of a quadrant in float32, as it was trained, and with
batch norms folded in and bfloat16 where the processor has it; and of a whole image as
`hpdp crystals predict` looks at it, with 1, 2 and 4 quadrants: images a CPU second, and the cores
that a detector of 130 images a second takes. All shots are hits, so that all are searched for
lattices. With a GPU the same there, images a second. Weights are random but for `small`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import TEST_DATA, record

from hpdp_dask.crystallography.inference import Predictor, fastest_dtype
from hpdp_dask.crystallography.model_file import Model, load_model, save_model, shipped_models
from hpdp_dask.crystallography.networks import NETWORKS, build_network
from hpdp_dask.crystallography.predict import predict_measure
from hpdp_dask.formats.frames import Detector, flat_detector
from hpdp_dask.frames.sources import open_sources
from hpdp_dask.numerics.arrays import has_gpu
from hpdp_dask.numerics.quadrants import plan_quadrants, pool_quadrants
from hpdp_dask.stacks.frames import frame_table

#: Images a second of a detector that should be kept up with.
DETECTOR = 130


def spent(task: Callable[[], object], at_least: float = 2.0) -> float:
    """Give the CPU seconds of a task, or with a GPU the seconds, at its second run and later."""
    clock = time.perf_counter if has_gpu() else time.process_time
    task()
    start, number = clock(), 0
    while clock() - start < at_least:
        task()
        number += 1
    return (clock() - start) / number


def frames_of(figures: dict[str, object]) -> tuple[np.ndarray, Detector]:
    """Give four hits, and where the pixels are."""
    folder = TEST_DATA / "crystallography/thaumatin"
    if not folder.is_dir():
        frames = np.random.default_rng(0).poisson(3.0, (4, 2527, 2463)).astype(np.int32)
        return frames, flat_detector(frames.shape[1:], 172e-6, 0.351, 0.96859)
    files = [folder / f"thau_3_2_{number}.cbf.bz2" for number in ("0003", "0008", "0012", "0015")]
    (source,) = open_sources(files)
    figures["read a packed CBF, CPU ms"] = 1e3 * spent(lambda: source.read(0, 1), 0.5)
    assert source.detector is not None
    return source.read(0, 4), source.detector


def main() -> None:
    """Measure, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    networks = parser.parse_args().networks
    torch.set_num_threads(1)
    figures: dict[str, object] = {}
    frames, detector = frames_of(figures)
    plan = plan_quadrants(
        *(detector.pixel_x, detector.pixel_y, detector.pixel_z, detector.mask),
        detector.pixel_size,
    )
    for number in (1, 4):
        seconds = spent(lambda n=number: pool_quadrants(frames, plan, range(n))) / len(frames)
        figures[f"quadrants, {number} of an image, CPU ms"] = 1e3 * seconds
    quadrants = pool_quadrants(frames, plan)[:, :2].reshape(-1, 512, 512)
    geometry = np.tile([detector.wavelength, plan.distance, plan.pixel_size], (len(quadrants), 1))
    seen, shots = torch.from_numpy(quadrants), torch.from_numpy(geometry).float()
    table = frame_table(detector, {})
    block = frame_table(None, {})
    block["photons"] = ("frame", "y", "x"), frames
    figures["numbers of convolutions"] = str(fastest_dtype("cpu")).removeprefix("torch.")
    for name in networks:
        shipped = name in shipped_models()
        model = load_model(name) if shipped else Model(build_network(name, 0).eval())
        with torch.no_grad():
            model.network.heads.answers.bias[2] += 100.0
        with torch.inference_mode():
            plain = spent(lambda model=model: model.network(seen, shots)) / len(quadrants)
        predictor = Predictor(model.network)
        fast = spent(lambda predictor=predictor: predictor(quadrants, geometry)) / len(quadrants)
        where = "GPU" if has_gpu() else "CPU"
        figures[f"{name}, a quadrant in float32 on a core, ms"] = 1e3 * plain
        figures[f"{name}, a quadrant, {where} ms"] = 1e3 * fast
        with tempfile.TemporaryDirectory() as folder:
            save_model(folder, model, "# for a benchmark\n")
            for number in (1, 2, 4):
                measure = predict_measure(Path(folder), number)
                prepared = measure.prepare(table)
                seconds = spent(lambda m=measure, p=prepared: m.measure(block, p)) / len(frames)
                rate = f"{name}, {number} quadrants, images a {where} second"
                figures[rate] = 1.0 / seconds
                if not has_gpu():
                    figures[f"{name}, {number} quadrants, cores for {DETECTOR} images a second"] = (
                        DETECTOR * seconds
                    )
        print(f"{name}: {1e3 * fast:.1f} ms a quadrant", flush=True)
    record("crystals_inference", figures)


if __name__ == "__main__":
    main()
