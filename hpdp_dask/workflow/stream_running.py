"""What the recipes of all streams share: geometry, timing, the numbers for the record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from hpdp_dask.dataflow.stream.figures import Snapshot
from hpdp_dask.frames.sources import check_complete, open_source
from hpdp_dask.stacks.frames import frame_table, open_frames
from hpdp_dask.workflow.record import RunRecord, Stage, cpu_seconds


@contextmanager
def timed(record: RunRecord, name: str) -> Iterator[None]:
    """Time what is done inside, as a stage of a run."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    yield
    stage = Stage(
        name=name,
        times=1,
        wall_seconds=time.perf_counter() - wall,
        cpu_seconds=max(0.0, cpu_seconds() - cpu),
    )
    record.stages = [*record.stages, stage]


def shared_of(path: Path) -> xr.Dataset:
    """Give what all frames share, of a stack or of a file of frames.

    Parameters
    ----------
    path : Path

    Returns
    -------
    xarray.Dataset
        All variables of a stack that are not of frames; geometry and mask of a file.

    Raises
    ------
    InputError
        It is none of them, or the file does not say the geometry.
    """
    if path.is_file():
        source = open_source(path)
        check_complete(source)
        return frame_table(source.detector, {})
    stack = open_frames(path)
    names = [name for name in stack.variables if "frame" not in stack[name].dims]
    return stack[names].load()


def stream_results(seen: Snapshot) -> dict[str, Any]:
    """Give the numbers of a stream that every record has."""
    median, lag_95, lag_99, greatest = seen.lag
    return {
        "frames": seen.frames,
        "hits": seen.chosen,
        "set_aside": dict(seen.asides),
        "missing": seen.missing,
        "frames_a_second": seen.mean_rate,
        "lag_seconds": {"median": median, "95 %": lag_95, "99 %": lag_99, "greatest": greatest},
        "milliseconds_a_frame": {
            name: 1000.0 * seconds / max(1, seen.came)
            for name, seconds in seen.seconds_by_part.items()
        },
    }
