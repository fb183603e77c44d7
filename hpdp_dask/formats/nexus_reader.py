"""Reading frames of NeXus files, without what is no number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from hpdp_dask.formats.hdf5 import open_hdf5, read_range, read_whole
from hpdp_dask.formats.stored_frames import check_pixels


@dataclass(frozen=True)
class NexusReader:
    """Reads frames of the datasets of a file, one after another.

    Attributes
    ----------
    path : Path
    names : tuple of str
        Of the datasets.
    ends : tuple of int
        The frame after the last of each.
    shape : tuple of int
        Rows and columns.
    dtype : dtype
    mask_name : str or None
        The detector's mask in the file.
    saturation : float
        What the detector counts to; NaN if not known.
    """

    path: Path
    names: tuple[str, ...]
    ends: tuple[int, ...]
    shape: tuple[int, int]
    dtype: np.dtype
    mask_name: str | None
    saturation: float

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`, without what is no number."""
        frames = self.raw(start, stop)
        if self.dtype.kind == "f":
            return frames
        none = 0
        # where the file has a mask, the largest number in a good pixel says that it is too much
        if self.mask_name is not None and self.dtype.kind == "u" and np.isfinite(self.saturation):
            none = int(min(self.saturation, np.iinfo(self.dtype).max))
        for frame in frames:
            marked = self.marked(frame)
            if marked.any():
                frame[marked] = none
        if self.mask_name is not None:
            frames[:, bad_pixels(self.path, self.mask_name, self.shape)] = 0
        return frames

    def raw(self, start: int, stop: int) -> np.ndarray:
        """Read frames as they are."""
        parts = []
        begin = 0
        with open_hdf5(self.path) as file:
            for name, end in zip(self.names, self.ends, strict=True):
                low, high = max(start, begin), min(stop, end)
                if low < high:
                    parts.append(read_range(self.path, file[name], low - begin, high - begin))
                begin = end
        if not parts:
            return np.empty((0, *self.shape), self.dtype)
        frames = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return frames.astype(self.dtype, copy=False)

    def marked(self, frame: np.ndarray) -> np.ndarray:
        """Tell which pixels have no number: the largest of their kind, or a negative one."""
        if frame.dtype.kind == "u":
            return frame == np.iinfo(frame.dtype).max
        return frame < 0


def bad_pixels(path: Path, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Read the detector's mask, True for bad ones; bits other than 0 mean many things, all bad.

    Raises
    ------
    InputError
        It is not of the pixels of the frames.
    """
    return _held(path, name, shape, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _held(path: Path, name: str, shape: tuple[int, int], _changed: int) -> np.ndarray:
    """Read a mask once, as long as its file does not change."""
    with open_hdf5(path) as file:
        values = read_whole(path, file[name])
    values = values[0] if values.ndim == 3 else values
    check_pixels(path, values, shape, name)
    return values != 0
