"""A small network for tests of training, and what it learns from; workers can import this."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpdp_dask.dataflow.training import PLACE, STEP, Trained, TrainingSettings
from hpdp_dask.stacks.frames import frame_table, new_frames
from hpdp_dask.stacks.store import staging, write_images

#: Of the stacks of these tests: images, and images in a shard.
NUMBER, SHARD = 200, 32
SETTINGS = TrainingSettings(epochs=4, batch=16, rate=1e-2, window_bytes=64 * 64, seed=3)


@dataclass(frozen=True)
class Level:
    """Learns the level of a frame, which is `true_level`."""

    name: str = "level"
    needs: tuple[str, ...] = ("true_level",)
    dropout: float = 0.0
    #: Images whose loss is not a number.
    broken: tuple[int, ...] = ()
    #: A file: the first process that sees it, at this step or after it, takes it away and dies.
    trap: str = ""
    trap_step: int = 0
    #: More images at once are too many for the memory of the GPU that it pretends to be on.
    most: int = 10_000
    #: Whether the network takes means over a batch.
    norm: bool = False
    #: Seconds that a step takes at least.
    pause: float = 0.0

    def build(self) -> Any:
        from torch import nn

        norm = nn.BatchNorm1d(8) if self.norm else nn.Identity()
        return nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(64, 8), norm, nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(8, 1)),
        )

    def prepare(
        self,
        images: np.ndarray,
        rows: Mapping[str, np.ndarray],
        randoms: Sequence[np.random.Generator] | None,
    ) -> dict[str, np.ndarray]:
        seen = images.astype(np.float32) / 10.0
        if randoms is not None:
            seen += np.array([random.normal(0, 0.01) for random in randoms], np.float32)[
                :, None, None
            ]
        level = rows["true_level"].astype(np.float32)
        if randoms is None:
            return {"seen": seen}
        level[np.isin(rows[PLACE], self.broken)] = np.nan
        return {"seen": seen, "level": level, "step": rows[STEP]}

    def losses(self, network: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        self._spring(int(batch["step"][0]))
        self._fill(len(batch["seen"]))
        if self.pause:
            time.sleep(self.pause)
        return {"square": (network(batch["seen"])[:, 0] - batch["level"]) ** 2}

    def _spring(self, step: int) -> None:
        if self.trap and step >= self.trap_step and Path(self.trap).exists():
            try:
                os.unlink(self.trap)
            except FileNotFoundError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    def _fill(self, images: int) -> None:
        import torch

        if images > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def outputs(self, network: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        self._fill(len(batch["seen"]))
        return {"level": network(batch["seen"])[:, 0]}

    def judge(
        self, outputs: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        return {"error": float(np.abs(outputs["level"] - rows["true_level"]).mean())}


def weights(trained: Trained) -> dict[str, np.ndarray]:
    """Give the weights of a network."""
    return {name: each.numpy().copy() for name, each in trained.network.state_dict().items()}


def write_frames(path: Path) -> Path:
    """Write frames of 8 x 8 Poisson counts, with their level."""
    random = np.random.default_rng(0)
    level = random.uniform(0, 4, NUMBER)
    counts = random.poisson(4 * level[:, None, None], (NUMBER, 8, 8)).astype(np.uint8)
    with staging(path) as stack:
        table = frame_table(None, {"true_level": level})
        new_frames(stack, table, NUMBER, (8, 8), np.uint8, images_per_shard=SHARD)
        write_images(stack, 0, counts)
    return path
