"""A small network for tests of training; its module can be imported by workers."""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Level:
    """Learns the level of a frame, which is `true_level`."""

    name: str = "level"
    needs: tuple[str, ...] = ("true_level",)
    dropout: float = 0.0
    #: A loss that is not a number, from the image of this number on.
    broken: int = -1
    #: A file: the first process that sees it takes it away and dies.
    trap: str = ""

    def build(self) -> Any:
        from torch import nn

        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(8, 1)
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
        return {"seen": seen, "level": rows["true_level"].astype(np.float32)}

    def losses(self, network: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        self._spring()
        losses = (network(batch["seen"])[:, 0] - batch["level"]) ** 2
        if self.broken >= 0:
            losses = losses * (0.0 / (batch["level"] < self.broken))
        return {"square": losses}

    def _spring(self) -> None:
        if self.trap and Path(self.trap).exists():
            try:
                os.unlink(self.trap)
            except FileNotFoundError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    def outputs(self, network: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {"level": network(batch["seen"])[:, 0]}

    def judge(
        self, outputs: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        return {"error": float(np.abs(outputs["level"] - rows["true_level"]).mean())}
