"""The stage: a stack of simulated stills with the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from hpdp_dask.crystallography.simulate.crystals import BEYOND, model_factors
from hpdp_dask.crystallography.simulate.instrument import Instrument, draw_instrument, whole_view
from hpdp_dask.crystallography.simulate.settings import Settings
from hpdp_dask.crystallography.simulate.shot import draw_shot, expose, shot_rng, simulate_shot
from hpdp_dask.crystallography.simulate.truth import TRUTHS, WHOLE_TRUTHS, columns_of, empty_columns
from hpdp_dask.dataflow.shard_tasks import run_shards
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import BAD, GOOD, Detector, flat_detector
from hpdp_dask.numerics.quadrants import PREPROCESSING_VERSION, SIDE
from hpdp_dask.stacks.frames import frame_table, new_frames
from hpdp_dask.stacks.layout import CHUNK_BYTES, read_layout
from hpdp_dask.stacks.shard_writer import write_shard
from hpdp_dask.stacks.store import staging

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Shots of a shard at most, about ten seconds of work, and shards at least.
_SHARD, _FEWEST_SHARDS = 128, 16

#: Whole frames of a shard at most.
_FRAMES = 8

#: Of a whole frame: what a saturated pixel holds.
_SATURATED = 2**16 - 1


def simulate_shots(
    settings: Settings,
    output: str | Path,
    *,
    client: Client | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Simulate quadrants of stills into a stack.

    Parameters
    ----------
    settings : Settings
    output : str or Path
        The stack to make, whole or not at all: `photons` (frame, 512, 512) uint8, quadrants as
        `numerics.quadrants` makes them, and the columns of `truth.TRUTHS`. Its attributes tell the
        version of the preprocessing, the settings and the names of the detectors.
    client : distributed.Client, optional
        Its workers make and write the shots, so they must see the folder and a model's file. By
        default in this process. Shots do not depend on it; only a GPU makes another count in less
        than one of 100,000 pixels than a CPU.
    overwrite : bool, optional
    progress : Progress, optional

    Raises
    ------
    InputError
        An output that exists, a disk that is full, a model that is none.
    """
    table = _table(None, settings, list(TRUTHS), preprocessing=PREPROCESSING_VERSION)
    rows = _rows_of_shard(settings.number, _SHARD, SIDE**2)
    task = partial(_write_shard, settings=settings, whole=False)
    with staging(output, overwrite) as staged:
        new_frames(staged, table, settings.number, (SIDE, SIDE), np.uint8, images_per_shard=rows)
        _fill(staged, task, client, progress)


def simulate_frames(
    settings: Settings,
    output: str | Path,
    *,
    client: Client | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Simulate whole frames of one instrument into a stack.

    Parameters
    ----------
    settings : Settings
        With one detector. Beam, distance and the like are drawn once, for all frames.
    output : str or Path
        The stack to make, whole or not at all: `photons` (frame, y, x) uint16, the detector as an
        import would have it, and the columns of `truth.WHOLE_TRUTHS`.
    client, overwrite, progress
        As for `simulate_shots`.

    Raises
    ------
    InputError
        There are several detectors; else as `simulate_shots`.
    """
    if len(settings.detectors) != 1:
        raise InputError(
            f"simulate: detectors are {', '.join(settings.detectors)}, expected a single one for "
            "whole frames; name it with --detector."
        )
    instrument = _instrument_of_all(settings)
    model, view = instrument.model, whole_view(instrument)
    detector = flat_detector(
        model.shape,
        model.pixel_size,
        instrument.distance,
        instrument.beam.wavelength,
        center=instrument.center,
        mask=np.where(np.outer(view.good_rows, view.good_columns), GOOD, BAD),
    )
    table = _table(detector, settings, WHOLE_TRUTHS)
    rows = _rows_of_shard(settings.number, _FRAMES, 2 * model.rows * model.columns)
    task = partial(_write_shard, settings=settings, whole=True)
    with staging(output, overwrite) as staged:
        new_frames(staged, table, settings.number, model.shape, np.uint16, images_per_shard=rows)
        _fill(staged, task, client, progress)


def _table(
    detector: Detector | None, settings: Settings, truths: Sequence[str], **attributes: Any
) -> xr.Dataset:
    """Give all variables of a stack but the pictures, the truth still to be filled in."""
    if settings.model is not None:
        # a model that is none is told before any work
        model_factors(settings.model, BEYOND * settings.resolution[0])
    table = frame_table(
        detector,
        empty_columns(settings.number, truths),
        simulated=asdict(settings),
        detectors=list(settings.detectors),
        **attributes,
    )
    for name in truths:
        table[name].attrs["long_name"] = TRUTHS[name][1]
    return table


def _fill(
    staged: Path,
    task: Callable[..., dict[str, np.ndarray]],
    client: Client | None,
    progress: Progress | None,
) -> None:
    """Make all shots of a stack that is laid out."""
    found = run_shards(task, staged, "simulate", client=client, progress=progress)
    group = zarr.open_group(staged, mode="r+")
    for name in found[0]:
        column = group[name]
        assert isinstance(column, zarr.Array)
        column[...] = np.concatenate([part[name] for part in found])


def _rows_of_shard(number: int, most: int, image_bytes: int) -> int:
    """Give how many shots a shard holds: whole chunks, unless there are few."""
    rows = max(1, min(most, -(-number // _FEWEST_SHARDS)))
    chunk = max(1, CHUNK_BYTES // image_bytes)
    return rows if rows < chunk else rows // chunk * chunk


def _instrument_of_all(settings: Settings) -> Instrument:
    """Draw the instrument of all whole frames."""
    return draw_instrument(settings, np.random.default_rng(settings.seed))


def _write_shard(
    path: Path, shard: int, *, settings: Settings, whole: bool
) -> dict[str, np.ndarray]:
    """Make and write the shots of a shard; give the truth."""
    layout = read_layout(path)
    first, last = layout.shard_range(shard)
    instrument = _instrument_of_all(settings) if whole else None
    truths: list[dict[str, float]] = []

    def blocks() -> Iterator[np.ndarray]:
        for start in range(first, last, layout.images_per_chunk):
            stop = min(start + layout.images_per_chunk, last)
            block = np.empty((stop - start, *layout.image_shape), layout.dtype)
            for number in range(start, stop):
                if instrument is None:
                    block[number - start], truth = simulate_shot(settings, number)
                else:
                    block[number - start], truth = simulate_frame(settings, instrument, number)
                truths.append(truth)
            yield block

    write_shard(path, shard, blocks())
    return columns_of(truths)


def simulate_frame(
    settings: Settings, instrument: Instrument, index: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Simulate a whole frame.

    Parameters
    ----------
    settings : Settings
    instrument : Instrument
    index : int
        The place of the frame in the set.

    Returns
    -------
    frame : (y, x) ndarray of uint16
        Photons; 0 in gaps, 65535 and more as 65535.
    truth : dict of str to float
        Of `truth.WHOLE_TRUTHS`.
    """
    rng = shot_rng(settings, index)
    counts, truth = expose(draw_shot(settings, instrument, rng), whole_view(instrument), rng)
    frame = np.minimum(counts, _SATURATED).astype(np.uint16)
    return frame, {name: truth[name] for name in WHOLE_TRUTHS}
