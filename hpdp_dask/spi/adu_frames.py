"""What is done with frames as a detector read them out: their common mode, bad pixels, photons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.bad_pixels import (
    PixelStatistics,
    add_frames,
    add_range,
    is_whole,
    merge_statistics,
    no_statistics,
)
from hpdp_dask.numerics.common_mode import group_pixels, subtract_common_mode
from hpdp_dask.numerics.photon_counts import count_photons

#: Pixels of the frames that are worked on together.
_BATCH_PIXELS = 2**22

#: What shares an offset, by name: into how many parts rows and columns are cut; None cuts to one.
_BLOCKS: dict[str, tuple[int | None, int | None]] = {
    "rows": (None, 1),
    "half-rows": (None, 2),
    "columns": (1, None),
    "half-columns": (2, None),
    "quadrants": (2, 2),
}
COMMON_MODES = (*_BLOCKS, "none")


def read_block(common_mode: str, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Read what shares an offset: rows and columns of a block of pixels; None for nothing.

    Parameters
    ----------
    common_mode : str
        See `calibrate`.
    shape : tuple of int
        Rows and columns of the detector.

    Raises
    ------
    InputError
        It is none of `COMMON_MODES` and no block of the detector.
    """
    if common_mode == "none":
        return None
    if common_mode in _BLOCKS:
        rows, columns = _BLOCKS[common_mode]
        return (
            shape[0] // rows if rows else 1,
            shape[1] // columns if columns else 1,
        )
    parts = common_mode.lower().split("x")
    if len(parts) == 2 and all(part.isdecimal() for part in parts):
        rows, columns = int(parts[0]), int(parts[1])
        if 1 <= rows <= shape[0] and 1 <= columns <= shape[1]:
            return rows, columns
    raise InputError(
        f"the common mode {common_mode!r} is not known, expected {', '.join(COMMON_MODES)}, or "
        f"rows and columns of a block as 64x64, within the {shape[0]}x{shape[1]} of the detector."
    )


def pack(bad: np.ndarray) -> bytes:
    """Pack a mask of bool, so that a task can carry it."""
    return np.packbits(bad).tobytes()


def _unpacked(bad: bytes, shape: tuple[int, ...]) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(bad, np.uint8), count=shape[0] * shape[1])
    return bits.reshape(shape).astype(bool)


@dataclass(frozen=True)
class AduStatistics:
    """Gathers what pixels do, without the common mode; see `hpdp_dask.numerics.bad_pixels`.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns.
    block : tuple of int or None
        Rows and columns of pixels that share an offset.
    noise : float
        Standard deviation in a pixel without photons, ADU.
    bad : bytes
        The pixels known to be bad, from `pack`.
    """

    shape: tuple[int, int]
    block: tuple[int, int] | None
    noise: float
    bad: bytes
    name: str = "statistics"
    images_per_leaf: int = 1000

    @property
    def nbytes(self) -> int:
        """Size of an accumulator."""
        return sum(part.nbytes for part in self.start())

    def start(self) -> PixelStatistics:
        """Begin with no frames."""
        return no_statistics(self.shape)

    def fold(self, accumulator: PixelStatistics, block: xr.Dataset) -> PixelStatistics:
        """Add the frames of a block."""
        statistics = PixelStatistics(*accumulator)
        good = ~_unpacked(self.bad, self.shape)
        adu = block["adu"].values
        step = max(1, _BATCH_PIXELS // adu[0].size)
        for first in range(0, len(adu), step):
            part = adu[first : first + step].astype(np.float32)
            whole = is_whole(part, good)
            statistics.frames[1] += int((~whole).sum())
            part = part[whole]
            if len(part):
                add_range(statistics, part)
                add_frames(
                    statistics,
                    _without_common_mode(part, self.block, good, self.noise),
                    good,
                    self.noise,
                )
        return statistics

    def merge(self, accumulator: PixelStatistics, other: PixelStatistics) -> PixelStatistics:
        """Add other sums."""
        return merge_statistics(PixelStatistics(*accumulator), PixelStatistics(*other))

    def finish(self, accumulator: PixelStatistics) -> PixelStatistics:
        """Give the sums."""
        return PixelStatistics(*accumulator)


@dataclass(frozen=True)
class PhotonCounting:
    """Counts the photons of frames as read out.

    Attributes
    ----------
    block, noise, bad
        As for `AduStatistics`.
    gain : float
        ADU a photon.
    from_share : float
        The share of a photon from which one more is counted.
    dtype : dtype
        Of the photons.
    """

    block: tuple[int, int] | None
    noise: float
    gain: float
    from_share: float
    bad: bytes
    dtype: np.dtype

    def __call__(self, adu: np.ndarray) -> np.ndarray:
        """Count the photons of the frames of a shard."""
        good = ~_unpacked(self.bad, adu.shape[1:])
        photons = np.empty(adu.shape, self.dtype)
        step = max(1, _BATCH_PIXELS // adu[0].size)
        for first in range(0, len(adu), step):
            part = adu[first : first + step].astype(np.float32)
            part = _without_common_mode(part, self.block, good, self.noise)
            photons[first : first + step] = count_photons(
                part, good, self.gain, self.dtype, self.from_share
            )
        return photons


def _without_common_mode(
    adu: np.ndarray, block: tuple[int, int] | None, good: np.ndarray, noise: float
) -> np.ndarray:
    """Subtract the common mode in place."""
    if block is not None:
        subtract_common_mode(adu, group_pixels(good.shape, block, good), noise)
    return adu
