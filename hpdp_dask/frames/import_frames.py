"""Importing: files of frames become a stack, checked before and whole or not at all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hpdp_dask import __version__
from hpdp_dask.dataflow.shard_tasks import run_shards
from hpdp_dask.formats.frame_masks import SHARE
from hpdp_dask.formats.frames import BAD, GOOD
from hpdp_dask.formats.stored_frames import StoredFrames, Unit
from hpdp_dask.frames.counts import COUNTS, smallest_counts, to_counts
from hpdp_dask.frames.import_shards import DISK_FULL, disk_full, forecast_bytes, import_shard
from hpdp_dask.frames.joining import join
from hpdp_dask.frames.sources import lacking_options, open_source, open_sources
from hpdp_dask.stacks.frames import frame_table, new_frames
from hpdp_dask.stacks.layout import read_layout
from hpdp_dask.stacks.store import check_output, clear_folder, staging

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

__all__ = ["FrameSummary", "import_frames", "open_source"]

#: Frames that are looked at first, spread evenly: the largest count chooses the dtype.
SAMPLE = 32


@dataclass(frozen=True)
class FrameSummary:
    """What an import made.

    Attributes
    ----------
    path : Path
        The stack.
    number : int
        Frames in it.
    shape : tuple of int
        Rows and columns.
    unit : {"photons", "adu"}
    dtype : dtype
        As stored.
    has_geometry : bool
    notes : list of str
        What a person should look at.
    stored_bytes : int
        Of the frames on disk.
    seconds : float
    """

    path: Path
    number: int
    shape: tuple[int, int]
    unit: Unit
    dtype: np.dtype
    has_geometry: bool
    notes: list[str]
    stored_bytes: int
    seconds: float


def import_frames(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    client: Client | None = None,
    geometry: str | Path | None = None,
    mask: str | Path | None = None,
    wavelength: float | None = None,
    distance: float | None = None,
    pixel_size: float | None = None,
    center: tuple[float, float] | None = None,
    dataset: str | None = None,
    unit: Unit | None = None,
    overwrite: bool = False,
    images_per_shard: int | None = None,
    progress: Progress | None = None,
) -> FrameSummary:
    """Make a stack of files of frames.

    What the files tell without their frames is checked before. Then one task a shard reads its
    frames, some 16 MB at a time, checks them and writes them, so that memory does not depend on
    the number of frames. Photons are kept in the smallest of the dtypes of counts that holds
    them: some frames tell which; where a later one does not fit, all is done again in a larger.

    Parameters
    ----------
    inputs : sequence of path
        CXI, `.emc`, HDF5 or NumPy files, folders of runs; one after another.
    output : path
        The stack.
    client : distributed.Client, optional
        Where the tasks run; by default here, one after the other.
    geometry, mask, wavelength, distance, pixel_size, center, dataset, unit
        As for `open_source`.
    overwrite : bool, optional
        Replace a stack that is there.
    images_per_shard : int, optional
        By default as many as make 64 MB.
    progress : Progress, optional
        Told of frames as they are written.

    Returns
    -------
    FrameSummary

    Raises
    ------
    InputError
        What is wrong with the files, the options or the disk; nothing is left then.
    """
    began = time.perf_counter()
    output = Path(output)
    check_output(output, overwrite)
    given: dict[str, Any] = {
        "geometry": geometry,
        "mask": mask,
        "wavelength": wavelength,
        "distance": distance,
        "pixel_size": pixel_size,
        "center": center,
        "dataset": dataset,
        "unit": unit,
    }
    source = join(open_sources(inputs, **given))
    if source.detector is None:
        lacking = [option for option in lacking_options(source) if "--wavelength" not in option]
        options = " and ".join(lacking)
        note = f"the geometry is not known: import again with {options}"
        if "--geometry" not in lacking:
            note += ", or with --geometry"
        source = replace(source, notes=[*source.notes, f"{note}, before it is needed"])
    provenance = _provenance(inputs, given)
    source, dtype = _look(source)
    folder = next(folder for folder in output.absolute().parents if folder.exists())
    try:
        with staging(output, overwrite) as stack:
            while True:
                _lay_out(stack, source, dtype, images_per_shard, provenance)
                needed = forecast_bytes(read_layout(stack))
                if needed > shutil.disk_usage(folder).free:
                    raise disk_full(folder, needed)
                task = partial(import_shard, reader=source.reader, path=source.path)
                found = run_shards(task, stack, "import", client=client, progress=progress)
                largest = max(largest for largest, _ in found)
                if source.unit == "adu" or smallest_counts(largest) <= dtype:
                    break
                dtype = smallest_counts(largest)
                clear_folder(stack)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise disk_full(folder, 0) from error
    return FrameSummary(
        path=output,
        number=source.number,
        shape=source.shape,
        unit=source.unit,
        dtype=dtype,
        has_geometry=source.detector is not None,
        notes=list(source.notes),
        stored_bytes=sum(size for _, size in found),
        seconds=time.perf_counter() - began,
    )


def _look(source: StoredFrames) -> tuple[StoredFrames, np.dtype]:
    """Look at some frames: choose the dtype, and mask pixels that mostly have no number."""
    if source.unit == "adu":
        return source, np.dtype(np.float32)
    if source.dtype.kind == "u" and source.dtype.itemsize == 1:
        return source, COUNTS[0]
    chosen = np.unique(np.linspace(0, source.number - 1, SAMPLE).astype(np.int64))
    largest, absent = 0, np.zeros(source.shape, np.int64)
    bad = _bad(source)
    for frame in chosen.tolist():
        numbers = source.read(frame, frame + 1)
        if numbers.dtype.kind == "f":
            absent += np.isnan(numbers[0])
        largest = max(largest, int(to_counts(numbers, bad, frame, source.path).max(initial=0)))
    without = absent > SHARE * len(chosen)
    if without.any():
        source = _masking(source, without)
    return source, smallest_counts(largest)


def _bad(source: StoredFrames) -> np.ndarray | None:
    mask = source.partial.mask if source.detector is None else source.detector.mask
    return None if mask is None else mask == BAD


def _masking(source: StoredFrames, without: np.ndarray) -> StoredFrames:
    """Mask pixels that have no number."""
    note = f"{source.path}: {int(without.sum())} pixels that often have no number are masked"
    more = np.where(without, BAD, GOOD).astype(np.uint8)
    notes = [*source.notes, note]
    if source.detector is not None:
        detector = replace(source.detector, mask=np.maximum(source.detector.mask, more))
        return replace(source, detector=detector, notes=notes)
    known = source.partial.mask
    mask = more if known is None else np.maximum(known, more)
    return replace(source, partial=replace(source.partial, mask=mask), notes=notes)


def _provenance(inputs: Sequence[str | Path], given: Mapping[str, Any]) -> dict[str, Any]:
    """Tell where the frames come from, as attributes of the stack."""
    parameters = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in given.items()
        if value is not None
    }
    files = [str(Path(path).absolute()) for path in inputs]
    step = {
        "command": "import",
        "inputs": files,
        "parameters": parameters,
        "version": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return {"source_file": files[0], "history": [step]}


def _lay_out(
    stack: Path,
    source: StoredFrames,
    dtype: np.dtype,
    images_per_shard: int | None,
    provenance: Mapping[str, Any],
) -> None:
    """Make the stack but for its frames."""
    columns: dict[str, Any] = dict(source.columns)
    if source.detector is None:
        if source.partial.mask is not None:
            columns["mask"] = source.partial.mask
        for name in ("wavelength", "pixel_size"):
            value = getattr(source.partial, name)
            if np.isfinite(value):
                columns[name] = np.float64(value)
    attributes: dict[str, Any] = {"modules": source.modules, **provenance}
    if np.isfinite(source.saturation):
        attributes["saturation"] = source.saturation
    table: xr.Dataset = frame_table(source.detector, columns, **attributes)
    new_frames(
        stack,
        table,
        source.number,
        source.shape,
        dtype,
        unit=source.unit,
        images_per_shard=images_per_shard,
    )
