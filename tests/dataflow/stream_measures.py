"""Small measures, a model and totals for streams, and stacks of frames to replay."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.columns import Column
from hpdp_dask.dataflow.stream.task import Labelling
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.stacks.frames import frame_table, new_frames
from hpdp_dask.stacks.store import staging, write_images

SHAPE = (6, 8)

#: Frames with more lit pixels are hits.
LEAST = 10


@dataclass(frozen=True)
class Lit:
    """Counts lit pixels and says which frames are hits; may take its time."""

    name: str = "lit"
    needs: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def columns(self) -> Mapping[str, Column]:
        return {"lit_pixels": Column(np.int32), "hit": Column(np.uint8)}

    def prepare(self, stack: xr.Dataset) -> np.ndarray:
        return stack["mask"].values == 0

    def measure(self, block: xr.Dataset, good: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(self.seconds)
        lit = ((block["photons"].values > 0) & good).sum(axis=(1, 2))
        return {"lit_pixels": lit, "hit": lit > LEAST}


@dataclass(frozen=True)
class Means:
    """Features that need what an earlier measure gave; refuses frames of a count."""

    name: str = "means"
    needs: tuple[str, ...] = ("lit_pixels",)
    poison: int | None = None

    @property
    def columns(self) -> Mapping[str, Column]:
        return {
            "features": Column(np.float32, (3,), ("feature",)),
            "particle_size": Column(np.float32),
        }

    def prepare(self, stack: xr.Dataset) -> None:
        return None

    def measure(self, block: xr.Dataset, prepared: None) -> dict[str, np.ndarray]:
        photons = block["photons"].values
        if self.poison is not None and (photons == self.poison).any():
            raise InputError("poison.")
        lit = block["lit_pixels"].values.astype(np.float32)
        total = photons.sum(axis=(1, 2), dtype=np.float32)
        features = np.stack([total, photons.max(axis=(1, 2)).astype(np.float32), lit], axis=1)
        return {"features": features, "particle_size": 100 + 10 * lit}


@dataclass(frozen=True)
class Bright:
    """A model: frames of more photons than a number are of the second class."""

    at: float
    name: str = "bright"
    needs: tuple[str, ...] = ("features",)
    refuses: bool = False

    @property
    def columns(self) -> Mapping[str, Column]:
        return {
            "label": Column(np.int32),
            "label_probability": Column(np.float32),
            "label_accepted": Column(np.uint8),
        }

    def prepare(self, stack: xr.Dataset) -> None:
        return None

    def measure(self, block: xr.Dataset, prepared: None) -> dict[str, np.ndarray]:
        if self.refuses:
            raise InputError("made for other features.")
        above = block["features"].values[:, 0] - self.at
        return {
            "label": above > 0,
            "label_probability": 1 / (1 + np.exp(-np.abs(above))),
            "label_accepted": np.abs(above) > 1,
        }


@dataclass(frozen=True)
class Powder:
    """The sum of frames."""

    name: str = "powder"
    nbytes: int = 8 * SHAPE[0] * SHAPE[1]
    images_per_leaf: int = 1

    def start(self) -> np.ndarray:
        return np.zeros(SHAPE)

    def fold(self, accumulator: np.ndarray, block: xr.Dataset) -> np.ndarray:
        return accumulator + block["photons"].values.sum(axis=0)

    def merge(self, accumulator: np.ndarray, other: np.ndarray) -> np.ndarray:
        return accumulator + other

    def finish(self, accumulator: np.ndarray) -> np.ndarray:
        return accumulator


MEASURES = (Lit(), Means())


def model(name: str = "1", at: float = 20.0, **words: bool) -> Labelling:
    return Labelling(name, Bright(at, **words), ("dim", "bright"))


def draw_photons(number: int, dtype: type = np.uint8) -> np.ndarray:
    """Frames of which about a half are hits."""
    generator = np.random.default_rng(number)
    mean = generator.gamma(2.0, 0.2, (number, 1, 1)) * np.ones(SHAPE)
    return generator.poisson(mean).astype(dtype)


def make_frames(
    path: Path, number: int, images_per_shard: int = 50, poisoned: tuple[int, ...] = ()
) -> np.ndarray:
    """Make a stack, with a pixel of 200 photons in some frames; gives its photons."""
    photons = draw_photons(number)
    photons[list(poisoned), 0, 0] = 200
    detector = flat_detector(SHAPE, 1e-3, 0.5, 7.75)
    columns = {"train_id": np.arange(number) // 4, "pulse_id": np.arange(number) % 4}
    with staging(path) as staged:
        new_frames(
            staged,
            frame_table(detector, columns),
            number,
            SHAPE,
            np.uint8,
            images_per_shard=images_per_shard,
        )
        for first in range(0, number, images_per_shard):
            write_images(staged, first, photons[first : first + images_per_shard])
    return photons


def lit_pixels(photons: np.ndarray) -> np.ndarray:
    return (photons > 0).sum(axis=(1, 2))


def is_hit(photons: np.ndarray) -> np.ndarray:
    return lit_pixels(photons) > LEAST


class ArrayFile:
    """Frames of an .npy file, as a reader of a format gives them."""

    unit = "photons"
    notes = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            frames = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise InputError(f"{path}: {error}.") from error
        self.number, *shape = frames.shape
        self.shape = tuple(shape)
        self.dtype = frames.dtype
        self.detector = flat_detector(SHAPE, 1e-3, 0.5, 7.75)
        self.columns = {"pulse_id": np.arange(self.number)}

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.load(self.path, allow_pickle=False)[start:stop]
