"""The decoder of heterogeneity on a GPU: the part `heterogeneity` of `gpu.py`.

Trains the decoder alone, without a latent variable and with every frequency of an image inside
Nyquist's circle, one of each pair of opposite ones; poses and CTF are in the frequencies and
contrasts of a batch, which is on the device. Minutes are those of 100,000 images, beside what Zhong
et al. 2021 (Nat. Methods 18, 176) publish of a V100.

Products of matrices are of bfloat16. The share of the card's arithmetic is that of a product of
large square ones, timed here. Of the training only products of matrices count: six operations a
weight and a frequency, forward and backward; four in the first layer, whose input has no gradient.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpdp_dask.cryoem.heterogeneity.architecture import Architecture
from hpdp_dask.dataflow.training import TrainingSettings
from hpdp_dask.dataflow.training.step import Stepper
from hpdp_dask.numerics.fourier import half_plane

#: Minutes per 100,000 images on a V100, at boxes of 128, 256 and 360.
PUBLISHED = {
    (128, 3): (2.9, 5.1, 10.9),
    (256, 3): (3.5, 6.8, 14.3),
    (512, 3): (4.1, 10.5, 22.3),
    (1024, 3): (6.7, 21.0, 43.7),
    (1024, 10): (16.2, 56.1, 112.1),
}
BOXES = (128, 256, 360)

#: Frequencies of a step, about, and steps that are timed.
FREQUENCIES, STEPS = 2**19, 20

#: Rows of the matrices whose product tells what the card can do; a card needs large ones.
ROWS = {"cuda": 8192, "cpu": 512}


@dataclass(frozen=True)
class DecoderLearner:
    """Learns one volume: see `dataflow.training.Learner`, of which a step needs this much."""

    architecture: Architecture

    def build(self) -> Any:
        """Make the network."""
        from hpdp_dask.cryoem.heterogeneity.networks import HeterogeneityNetwork

        return HeterogeneityNetwork(self.architecture)

    def losses(self, network: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Give the squared error by image."""
        found: dict[str, Any] = network(batch, 0.0, 0.0)
        return found


def decoder_figures(device: str, smoke: bool = False) -> dict[str, object]:
    """Measure all cells of the table, or for `smoke` one that is small."""
    peak = card_speed(device)
    figures: dict[str, object] = {"products of matrices, TFLOP/s": peak / 1e12}
    cells = {(16, 1): (0.0,)} if smoke else PUBLISHED
    boxes = (16,) if smoke else BOXES
    for (width, layers), published in cells.items():
        for box, minutes in zip(boxes, published, strict=True):
            name = f"{width}x{layers}, box {box}"
            for how in ("as it is", "compiled"):
                cell = decoder_cell(Architecture(box, 0, width, layers), device, how)
                took = 1e5 / cell["images/s"] / 60.0
                figures |= {
                    f"{name}, {how}, min per 100,000 images": took,
                    f"{name}, {how}, share of the card's arithmetic": cell["FLOP/s"] / peak,
                    f"{name}, {how}, peak memory, GiB": cell["peak memory, GiB"],
                }
                if minutes:
                    figures[f"{name}, {how}, over a V100's minutes"] = took / minutes
    return figures


def decoder_cell(architecture: Architecture, device: str, how: str) -> dict[str, float]:
    """Train one decoder for some steps, in bfloat16."""
    import torch

    plane = half_plane(architecture.box)
    images = max(1, FREQUENCIES // len(plane)) if device == "cuda" else 2
    learner = DecoderLearner(architecture)
    network = learner.build().to(device).train()
    if how == "compiled":
        # of a function that was compiled for eight networks already it would compile no more
        torch.compiler.reset()
        network.compile()
    settings = TrainingSettings(batch=images, precision="bfloat16")
    optimizer = torch.optim.AdamW(network.parameters())
    stepper = Stepper(learner, settings, network, optimizer)  # type: ignore[arg-type]
    batch = random_batch(images, len(plane), device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    steps = STEPS if device == "cuda" else 2
    seconds = timed(lambda: [stepper.take(batch, 1e-4) for _ in range(steps)], device) / steps
    weights = sum(each.numel() for each in network.parameters() if each.ndim > 1)
    first = network.decoder.features.number * architecture.width
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else float("nan")
    return {
        "images/s": images / seconds,
        "FLOP/s": (6.0 * weights - 2.0 * first) * len(plane) * images / seconds,
        "peak memory, GiB": memory,
    }


def random_batch(images: int, samples: int, device: str) -> dict[str, Any]:
    """Make a batch that is on the device."""
    import torch

    random = np.random.default_rng(0)
    shapes = {"coordinates": (3,), "target": (2,), "contrast": ()}
    batch = {
        name: random.uniform(-1, 1, (images, samples, *more)).astype(np.float32)
        for name, more in shapes.items()
    }
    batch["weight"] = np.full((images, samples), 1.0 / samples, np.float32)
    return {name: torch.from_numpy(values).to(device) for name, values in batch.items()}


def card_speed(device: str) -> float:
    """Give the operations a second of a product of large matrices of bfloat16."""
    import torch

    rows = ROWS[device]
    a, b = (torch.randn(rows, rows, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2.0 * rows**3 / (timed(lambda: [a @ b for _ in range(10)], device) / 10)


def timed(work: Callable[[], object], device: str) -> float:
    """Give the seconds of some work, once it is warm."""
    import torch

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    work()
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began
