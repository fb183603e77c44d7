"""The sum of frames, or of some of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

#: Frames whose sum takes much longer than to add sums.
_FRAMES_PER_LEAF = 2000


@dataclass(frozen=True)
class FrameSum:
    """Sums frames, in some groups, so that one can see how the sum of some differs from others.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns.
    column, value : str and int, optional
        Only frames where a column has a value; by default all.
    groups : int, optional
        A frame goes into the group of its position modulo this.
    """

    shape: tuple[int, int]
    column: str | None = None
    value: int = 1
    groups: int = 1
    name: str = "sum"
    images_per_leaf: int = _FRAMES_PER_LEAF

    @property
    def nbytes(self) -> int:
        """Size of an accumulator."""
        return 8 * self.groups * (self.shape[0] * self.shape[1] + 1)

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Begin with no frames: (groups, y, x) sums and (groups,) numbers of frames."""
        return np.zeros((self.groups, *self.shape), np.int64), np.zeros(self.groups, np.int64)

    def fold(
        self, accumulator: tuple[np.ndarray, np.ndarray], block: xr.Dataset
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add the frames of a block."""
        sums, numbers = accumulator
        photons = block["photons"].values
        group = (block.attrs["first_image"] + np.arange(len(photons))) % self.groups
        chosen = chosen_frames(block, self.column, self.value)
        for index in range(self.groups):
            rows = np.flatnonzero(chosen & (group == index))
            numbers[index] += len(rows)
            part = photons if len(rows) == len(photons) else photons[rows]
            # sums of 32 bits are twice as fast, and hold what a block can have
            kind = np.uint32 if photons.dtype.itemsize <= 2 else np.uint64
            sums[index] += part.sum(axis=0, dtype=kind).astype(np.int64)
        return sums, numbers

    def merge(
        self, accumulator: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add another sum."""
        return accumulator[0] + other[0], accumulator[1] + other[1]

    def finish(self, accumulator: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Give the sums and the numbers of frames."""
        return accumulator


def chosen_frames(block: xr.Dataset, column: str | None, value: int) -> np.ndarray:
    """Tell which frames of a block, or of a stack, have a value in a column.

    Parameters
    ----------
    block : xarray.Dataset
    column : str or None
        None for all frames.
    value : int

    Returns
    -------
    (n,) ndarray of bool
    """
    if column is None:
        return np.ones(block.sizes["frame"], bool)
    return np.asarray(block[column].values == value)
