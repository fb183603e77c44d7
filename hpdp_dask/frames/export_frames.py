"""Exporting: a stack of frames becomes a CXI file, or photons and detector of Dragonfly."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hpdp_dask.errors import InputError
from hpdp_dask.formats.cxi_writing import write_cxi
from hpdp_dask.formats.dragonfly_detector import write_detector
from hpdp_dask.formats.emc_writing import write_emc
from hpdp_dask.formats.frames import Detector
from hpdp_dask.stacks.frame_schema import FRAME_VARIABLES
from hpdp_dask.stacks.frames import detector_of, open_frames
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    from hpdp_dask.dataflow.progress import Progress

#: What is in memory of the frames at a time.
BLOCK_BYTES = 16 * 2**20

SUFFIXES = (".cxi", ".emc")


@dataclass(frozen=True)
class FrameExport:
    """What an export wrote.

    Attributes
    ----------
    path : Path
        The file with the frames.
    detector_path : Path or None
        Dragonfly's detector file beside it; None for CXI, which holds the geometry.
    number : int
        Frames.
    notes : list of str
        What a person should look at.
    seconds : float
    """

    path: Path
    detector_path: Path | None
    number: int
    notes: list[str]
    seconds: float


def export_frames(
    stack_path: str | Path,
    output: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FrameExport:
    """Write a stack as CXI or as Dragonfly has it.

    Parameters
    ----------
    stack_path : path
        The stack.
    output : path
        `.cxi`; or `.emc`, beside which `NAME_det.h5` is written. Positions are counted from the
        beam, where its centre was found.
    overwrite : bool, optional
        Replace files that are there.
    progress : Progress, optional
        Told of frames as they are written.

    Returns
    -------
    FrameExport

    Raises
    ------
    InputError
        There is no such stack, it lacks what the format needs, the output exists, or the disk is
        full; nothing is left then.
    """
    began = time.perf_counter()
    output = Path(output).absolute()
    if output.suffix not in SUFFIXES:
        raise InputError(f"{output}: the name must end in .cxi or .emc, which tells the format.")
    stack = open_frames(stack_path)
    beside = output.with_name(f"{output.stem}_det.h5") if output.suffix == ".emc" else None
    for path in (output, beside):
        if path is not None and os.path.lexists(path) and not overwrite:
            raise InputError(f"{path} exists; give another name, or --overwrite to replace it.")
    if not output.parent.is_dir():
        raise InputError(f"{output.parent}: no such folder; make it first.")
    reader = ImageReader(stack_path)
    _check_room(reader, output)
    stage = progress.track("export", reader.number) if progress else None
    blocks = _blocks(reader, stage.advance if stage is not None else lambda _: None)
    notes: list[str] = []
    if beside is not None:
        _check_photons(stack, output)
        _write_emc(stack, reader, output, beside, blocks)
    else:
        notes = _write_cxi(stack, reader, output, blocks)
    return FrameExport(output, beside, reader.number, notes, time.perf_counter() - began)


def _blocks(reader: ImageReader, done: Callable[[int], None]) -> Iterator[np.ndarray]:
    """Read frames, some whole inner chunks at a time."""
    chunk = reader.layout.images_per_chunk
    step = chunk * max(1, BLOCK_BYTES // (reader.layout.image_bytes * chunk))
    for start in range(0, reader.number, step):
        stop = min(start + step, reader.number)
        yield reader.read(start, stop)
        done(stop - start)


def _check_room(reader: ImageReader, output: Path) -> None:
    """Refuse a disk that is too small: the HDF5 library does not get over one that fills up."""
    layout = reader.layout
    stored = sum(
        layout.shard_file(shard).stat().st_size
        for shard in range(layout.shards)
        if layout.shard_file(shard).exists()
    )
    # sparse photons or gzip take up to this much more than what the stack has
    pixels = layout.image_shape[0] * layout.image_shape[1]
    needed = (8 if layout.packed else 1) * stored + 64 * pixels + 512 * reader.number
    free = shutil.disk_usage(output.parent).free
    if needed > free:
        raise InputError(
            f"{output}: the disk is full: the file needs up to {needed} bytes, {free} are free; "
            "make room or write to another disk."
        )


def _check_photons(stack: xr.Dataset, output: Path) -> None:
    if "photons" not in stack:
        raise InputError(
            f"{stack.attrs['path']}: has ADU, and {output.suffix} keeps photons; make photons with "
            "hpdp spi calibrate first, or export .cxi."
        )


def _write_emc(
    stack: xr.Dataset,
    reader: ImageReader,
    output: Path,
    beside: Path,
    blocks: Iterator[np.ndarray],
) -> None:
    """Write photons and detector; the frames take their name when both are complete."""
    detector = _detector(stack)
    if detector is None:
        raise InputError(
            f"{stack.attrs['path']}: has no geometry, and Dragonfly reads no photons without a "
            "detector; import the frames again with --geometry, or with --pixel-size and "
            "--distance."
        )
    rows, columns = reader.image_shape
    staged = beside.with_name(f".{beside.name}.{os.getpid()}.part")
    try:
        write_detector(staged, detector)
        write_emc(output, reader.number, rows * columns, blocks)
        os.replace(staged, beside)
    finally:
        with suppress(FileNotFoundError):
            staged.unlink()


def _write_cxi(
    stack: xr.Dataset, reader: ImageReader, output: Path, blocks: Iterator[np.ndarray]
) -> list[str]:
    detector = _detector(stack)
    columns = {
        str(name): stack[name].values
        for name, spec in FRAME_VARIABLES.items()
        if name in stack and spec.dims == ("frame",)
    }
    if "label" in columns and "class_name" in stack:
        names = np.array([*map(str, stack["class_name"].values), ""], object)
        columns["label"] = names[columns["label"]]
    write_cxi(
        output,
        reader.number,
        reader.image_shape,
        reader.dtype.newbyteorder("="),
        blocks,
        detector=detector,
        mask=stack["mask"].values if "mask" in stack else None,
        columns=columns,
        modules=int(stack.attrs.get("modules", 1)),
    )
    if detector is None:
        return ["the stack has no geometry, so the file has none either"]
    if not np.isfinite(detector.wavelength):
        return ["the wavelength is not known, so the file does not have it"]
    return []


def _detector(stack: xr.Dataset) -> Detector | None:
    """Give the detector of a stack, if its geometry is known; the wavelength need not be."""
    if not all(name in stack for name in ("pixel_x", "pixel_y", "pixel_z", "mask")):
        return None
    if "wavelength" in stack:
        return detector_of(stack)
    unknown = detector_of(stack.assign(wavelength=1.0))
    return replace(unknown, wavelength=float("nan"))
