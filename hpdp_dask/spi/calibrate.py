"""Frames as a detector read them out become frames of photons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.blocks import map_images, read_images, store_images
from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mask_files import read_mask
from hpdp_dask.numerics.bad_pixels import REASONS, PixelStatistics, judge_pixels
from hpdp_dask.numerics.common_mode import group_pixels, pixel_noise
from hpdp_dask.numerics.gain import GainPeak, find_gain
from hpdp_dask.spi.adu_frames import AduStatistics, PhotonCounting, pack, read_block
from hpdp_dask.stacks.frames import new_frames, open_frames
from hpdp_dask.stacks.layout import plan_frames, read_layout
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import staging

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Frames, spread evenly, that the noise is told from.
_SAMPLE = 64


@dataclass(frozen=True)
class Calibration:
    """What was done.

    Attributes
    ----------
    path : Path
        The new stack.
    number : int
        Frames.
    gain : float
        ADU a photon.
    peak : GainPeak or None
        The peak of single photons, if there is one, whether the gain was given or not.
    noise : float
        Standard deviation in a pixel without photons, ADU.
    bad : mapping of str to int
        Pixels that are masked now, by the reason.
    pixels : int
        Of a frame.
    not_whole : int
        Frames of which most pixels are not finite; they have no photons there.
    dtype : dtype
        Of the photons.
    """

    path: Path
    number: int
    gain: float
    peak: GainPeak | None
    noise: float
    bad: Mapping[str, int]
    pixels: int
    not_whole: int
    dtype: np.dtype


def calibrate(
    stack_path: str | Path,
    output: str | Path,
    *,
    gain: float | None = None,
    common_mode: str = "half-rows",
    masks: Sequence[Path] = (),
    find_bad: bool = True,
    from_share: float = 0.5,
    client: Client | None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Make a stack of photons of a stack of what a detector read out.

    Both of two passes take the common mode off. The first tells the gain and which pixels are
    bad, the second counts photons.

    Parameters
    ----------
    stack_path, output : str or Path
    gain : float, optional
        ADU a photon; by default that of the peak of single photons.
    common_mode : str, optional
        Pixels that share an offset: *rows*, *half-rows*, *columns*, *half-columns*, *quadrants*,
        a block as *64x64* (rows by columns), or *none*.
    masks : sequence of Path, optional
        Files of pixels that are bad besides those masked in the stack: `formats.mask_files`.
    find_bad : bool, optional
        Look for pixels that are dead, hot or noisy too. Pixels that are not finite are masked
        always.
    from_share : float, optional
        The share of a photon from which one more is counted.
    client : distributed.Client or None
        Where the work runs; None for this process.
    overwrite : bool, optional
        Replace a stack at `output`.
    history : mapping, optional
        Kept with the new stack.
    progress : Progress, optional

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        The frames are photons already, an option is impossible, a mask has another shape, there
        is no peak of single photons and no gain was given, or `output` exists.
    """
    stack_path, output = Path(stack_path).absolute(), Path(output).absolute()
    stack = open_frames(stack_path)
    if output == stack_path:
        raise InputError(f"{output}: the output is the input; give the new stack another name.")
    if "adu" not in stack:
        raise InputError(
            f"{stack_path}: its frames are photons already, expected ADU; go on with hpdp spi hits."
        )
    layout = read_layout(stack_path)
    block = read_block(common_mode, layout.image_shape)
    _check_numbers(gain, from_share)
    bad = _known_bad(stack, masks, layout.image_shape)
    noise = _noise(stack_path, ~bad)
    reduction = AduStatistics(layout.image_shape, block, noise, pack(bad))
    statistics = reduce_images(stack_path, reduction, client=client, progress=progress)
    peak = find_gain(statistics.histogram, noise)
    if gain is None and peak is None:
        raise InputError(
            f"{stack_path}: no peak of single photons stands out from the noise of "
            f"{noise:.3g} ADU, so the gain cannot be told; give --gain, ADU a photon."
        )
    used = gain if gain is not None else peak.gain  # type: ignore[union-attr]
    member = group_pixels(bad.shape, block, ~bad).member if block else None
    reason = judge_pixels(statistics, bad, noise, used, member)
    if not find_bad:
        found_here = np.isin(reason, [REASONS.index(name) for name in ("dead", "noisy", "hot")])
        reason[found_here] = 0
    if (reason > 0).all():
        raise InputError(f"{stack_path}: all pixels are bad; see the mask, or --keep-bad.")
    dtype = _smallest(statistics, reason == 0, used)
    _write(
        stack,
        output,
        layout.number,
        PhotonCounting(block, noise, used, from_share, pack(reason > 0), dtype),
        reason,
        {
            "gain": used,
            "noise": noise,
            "common_mode": common_mode,
            "from_share": from_share,
            **(history or {}),
        },
        client,
        overwrite,
        progress,
    )
    return Calibration(
        output,
        layout.number,
        used,
        peak,
        noise,
        {name: int((reason == code).sum()) for code, name in enumerate(REASONS) if code},
        reason.size,
        int(statistics.frames[1]),
        dtype,
    )


def _check_numbers(gain: float | None, from_share: float) -> None:
    if gain is not None and not (gain > 0 and np.isfinite(gain)):
        raise InputError(f"the gain is {gain:g} ADU a photon, expected a positive number.")
    if not 0.0 < from_share < 1.0:
        raise InputError(
            f"a photon is counted from {from_share:g} of one on, expected more than 0 and less "
            "than 1."
        )


def _known_bad(stack: xr.Dataset, masks: Sequence[Path], shape: tuple[int, int]) -> np.ndarray:
    """Give the pixels that are known to be bad."""
    bad = np.zeros(shape, bool)
    if "mask" in stack:
        bad |= stack["mask"].values != 0
    for path in masks:
        bad |= read_mask(path, shape) != 0
    if bad.all():
        raise InputError(f"{stack.attrs['path']}: all pixels are masked; give another mask.")
    return bad


def _noise(path: Path, good: np.ndarray) -> float:
    """Tell the noise of a pixel from frames spread over the stack."""
    reader = ImageReader(path)
    wanted = np.unique(np.linspace(0, reader.number - 1, _SAMPLE).astype(np.int64))
    noise = pixel_noise(reader.take(wanted), good)
    if not noise > 0:
        raise InputError(
            f"{path}: neighbouring pixels do not differ, or none is finite, so the noise of the "
            "detector cannot be told; are these ADU as read out?"
        )
    return noise


def _smallest(statistics: PixelStatistics, good: np.ndarray, gain: float) -> np.dtype:
    """Give the smallest integer that the photons of good pixels fit in."""
    largest = statistics.highest[good]
    most = 1.5 * float(largest.max(initial=0.0)) / gain
    bits = next((bits for bits in (8, 16) if most < 2**bits), 32)
    return np.dtype(f"u{bits // 8}")


def _write(
    stack: xr.Dataset,
    output: Path,
    number: int,
    counting: PhotonCounting,
    reason: np.ndarray,
    past: Mapping[str, Any],
    client: Client | None,
    overwrite: bool,
    progress: Progress | None,
) -> None:
    """Write the new stack: photons, the mask as it is now, and all else that is known."""
    path = stack.attrs["path"]
    layout = read_layout(path)
    planned = plan_frames(number, layout.image_shape, counting.dtype, "photons")["shards"][0]
    per_shard = layout.images_per_shard * max(1, planned // layout.images_per_shard)
    images = map_images(
        read_images(path), counting, dtype=counting.dtype, name="calibrate"
    ).rechunk((per_shard, *layout.image_shape))
    mask = np.where(reason > 0, 2, 0).astype(np.uint8)
    if "mask" in stack:
        mask = np.where(stack["mask"].values != 0, stack["mask"].values, mask).astype(np.uint8)
    described = stack.drop_vars("adu").assign_attrs(
        history=[*stack.attrs.get("history", []), {**past, "calibrated_from": str(path)}]
    )
    described["mask"] = ("y", "x"), mask
    with staging(output, overwrite) as unfinished:
        new_frames(
            unfinished,
            described,
            number,
            layout.image_shape,
            counting.dtype,
            images_per_shard=per_shard,
        )
        store_images(images, unfinished, name="calibrate", client=client, progress=progress)
