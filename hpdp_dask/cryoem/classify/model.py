"""The model of a classification: class averages, noise, running sums; and its files."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Model:
    """What images are compared with, and what the next averages begin from.

    Attributes
    ----------
    averages : (k, N, N) ndarray of float32
        Regularised, inside the mask.
    signal : (k, M) ndarray of complex64
        Running sums on `planar.fine_plane` of the last pass: CTF x image / noise power.
    weight : (k, M) ndarray of float32
        Running sums of CTF² / noise power. Both stand for all images.
    noise_power : (groups, N // 2) ndarray of float64
        Of each optics group and shell, `<|noise|²>`.
    """

    averages: np.ndarray
    signal: np.ndarray
    weight: np.ndarray
    noise_power: np.ndarray

    def save(self, folder: Path) -> None:
        """Write the model's files."""
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", getattr(self, field.name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Read what `save` wrote."""
        return cls(
            **{
                field.name: np.load(folder / f"{field.name}.npy", allow_pickle=False)
                for field in fields(cls)
            }
        )

    @staticmethod
    def written(folder: Path) -> int:
        """Give the time at which `save` wrote the last file, nanoseconds."""
        return (folder / f"{fields(Model)[-1].name}.npy").stat().st_mtime_ns
