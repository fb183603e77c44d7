"""What the label page shows: a set of frames, on disk or in memory, that may grow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.stacks.shards import ImageReader


class LabelSource(Protocol):
    """Frames that are to be labelled, numbered from 0.

    They are asked from several threads. What arrives while people label is added at the end.
    """

    @property
    def name(self) -> str:
        """What to call them on the page."""

    @property
    def number(self) -> int:
        """How many there are now."""

    @property
    def mask(self) -> np.ndarray:
        """0 for good pixels, (y, x)."""

    @property
    def positions(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Where the pixels are: x and y, each (y, x), m; None for a plain rectangle."""

    @property
    def columns(self) -> Mapping[str, np.ndarray]:
        """What is known of each frame, under the names of `stacks.frame_schema`, (number,)."""

    def read(self, frames: np.ndarray) -> np.ndarray:
        """Read frames by number, in any order: (n, y, x)."""

    def features(self, frames: np.ndarray) -> np.ndarray | None:
        """Give feature vectors of frames, (n, f); None where there are none."""


class StoredFrames:
    """The frames of a stack.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    InputError
        There is no such stack, or it has no frames.
    """

    def __init__(self, path: str | Path) -> None:
        self._stack = open_frames(path)
        self._reader = ImageReader(path)
        self.name = Path(path).name
        self.number = self._reader.number
        if not self.number:
            raise InputError(f"{path}: the stack has no frames, so there is nothing to label.")

    @cached_property
    def mask(self) -> np.ndarray:
        """0 for good pixels."""
        if "mask" not in self._stack:
            return np.zeros(self._reader.image_shape, np.uint8)
        return np.asarray(self._stack["mask"].values)

    @cached_property
    def positions(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Where the pixels are, if that is known."""
        if "pixel_x" not in self._stack or "pixel_y" not in self._stack:
            return None
        return self._stack["pixel_x"].values, self._stack["pixel_y"].values

    @cached_property
    def columns(self) -> Mapping[str, np.ndarray]:
        """All variables of single frames but the truth of simulated ones; labels as words."""
        found = {
            str(name): variable.values
            for name, variable in self._stack.data_vars.items()
            if variable.dims == ("frame",) and not str(name).startswith("true_")
        }
        if "label" in found and "class_name" in self._stack:
            names = np.array([*map(str, self._stack["class_name"].values), ""])  # -1: none
            found["label"] = names[found["label"]]
        return found

    def read(self, frames: np.ndarray) -> np.ndarray:
        """Read frames by number."""
        return self._reader.take(frames)

    def features(self, frames: np.ndarray) -> np.ndarray | None:
        """Give feature vectors of frames, if `hpdp spi features` has made them."""
        if "features" not in self._stack:
            return None
        order = np.argsort(frames, kind="stable")
        found = self._stack["features"].isel(frame=frames[order]).values
        given = np.empty_like(found)
        given[order] = found
        return given


class FramesInMemory:
    """Frames that are at hand, such as those of a notebook.

    Parameters
    ----------
    images : (n, y, x) ndarray
    columns : mapping of str to (n,) ndarray, optional
        What is known of each, under the names of `stacks.frame_schema`.
    features : (n, f) ndarray, optional
    mask : (y, x) ndarray, optional
        By default all pixels are good.
    positions : tuple of two (y, x) ndarray, optional
        x and y of the pixels, m.
    name : str, optional
    """

    def __init__(
        self,
        images: np.ndarray,
        columns: Mapping[str, np.ndarray] | None = None,
        features: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        positions: tuple[np.ndarray, np.ndarray] | None = None,
        name: str = "frames",
    ) -> None:
        self.images = images
        self.columns: Mapping[str, np.ndarray] = columns or {}
        self.feature_vectors = features
        self.mask = np.zeros(images.shape[1:], np.uint8) if mask is None else mask
        self.positions = positions
        self.name = name

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.images)

    def read(self, frames: np.ndarray) -> np.ndarray:
        """Take frames by number."""
        return self.images[frames]

    def features(self, frames: np.ndarray) -> np.ndarray | None:
        """Take feature vectors of frames."""
        return None if self.feature_vectors is None else self.feature_vectors[frames]
