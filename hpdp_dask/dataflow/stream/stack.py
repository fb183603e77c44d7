"""What a stream found, as a stack like any other: a new one, or new columns of the one replayed.

Workers write both, a shard or so many rows a task; this process learns how many frames of each
batch there are, no more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from hpdp_dask.dataflow.futures import RETRIES, Refusal, refusing
from hpdp_dask.dataflow.shard_tasks import run_shards
from hpdp_dask.dataflow.stream.batches import FRAME_ID, ids_of
from hpdp_dask.dataflow.stream.folder import CHOSEN, rows_of_chosen
from hpdp_dask.dataflow.stream.found import Found, nothing
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frame_schema import FRAME_VARIABLES
from hpdp_dask.stacks.frames import adding, new_frames, open_frames
from hpdp_dask.stacks.layout import read_layout
from hpdp_dask.stacks.shard_writer import write_shard
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import staging
from hpdp_dask.stacks.tables import write_column

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Batches of which one task says how many frames are in them.
_COUNTED = 500

#: Rows of the columns of a replayed stack that one task writes.
_ROWS = 2**14


def write_new_stack(
    found: Found,
    output: Path,
    *,
    client: Client,
    history: Mapping[str, Any],
    overwrite: bool = False,
    progress: Progress | None = None,
) -> int:
    """Make a stack of all chosen frames, in the order of their ids, with all that was found.

    Parameters
    ----------
    found : Found
    output : Path
    client : distributed.Client
    history : mapping
        Kept with the stack.
    overwrite : bool, optional
    progress : Progress, optional

    Returns
    -------
    int
        Frames in it; no stack is made if there are none.

    Raises
    ------
    InputError
        Frames cannot be read again, or the stack cannot be made.
    """
    names = sorted(found.folder.done())
    counts, dtype = _count(found, names, client)
    number = sum(counts)
    if not number:
        return 0
    some = next(name for name, count in zip(names, counts, strict=True) if count)
    _, columns = found.columns(some)
    shared = open_frames(found.folder.shared)
    # what came with the frames, as classes of before, makes way for what was found
    table = shared.load().drop_vars(_names(columns, found), errors="ignore")
    with staging(output, overwrite) as staged:
        height, width = shared["mask"].shape
        new_frames(staged, table, number, (height, width), dtype)
        rows = read_layout(staged).images_per_shard
        with adding(staged, _names(columns, found), history=history) as added:
            _make_columns(added, columns, number, rows, found)
            ends = tuple(accumulate(counts))
            task = partial(_write_shard, found=found, names=names, ends=ends, added=added)
            run_shards(task, staged, "collect", client=client, progress=progress)
    return number


def add_to_stack(
    found: Found,
    stack_path: Path,
    measured: Collection[str],
    *,
    client: Client,
    history: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Add what was found to the stack that was replayed, as columns of all its frames.

    Frames without a result have NaN, and 0 in columns of whole numbers.

    Parameters
    ----------
    found : Found
    stack_path : Path
    measured : collection of str
        The columns to add.
    client : distributed.Client
    history : mapping
    overwrite : bool, optional
        Replace variables that are there.

    Raises
    ------
    InputError
        The stack has such variables already, or another run adds to it.
    """
    names = sorted(found.folder.done())
    number = ImageReader(stack_path).number
    _, columns = found.columns(names[0])
    columns = {key: values for key, values in columns.items() if key in measured}
    spans = [range(first, min(first + _ROWS, number)) for first in range(0, number, _ROWS)]
    firsts = [ids_of(name)[0] for name in names]
    of_span = [
        names[max(0, bisect_right(firsts, span.start) - 1) : bisect_right(firsts, span.stop - 1)]
        for span in spans
    ]
    with adding(stack_path, _names(columns, found), overwrite=overwrite, history=history) as added:
        _make_columns(added, columns, number, _ROWS, found)
        task = refusing(partial(_write_rows, found=found, columns=tuple(columns), added=added))
        _refused(client.gather(client.map(task, spans, of_span, pure=False, retries=RETRIES)))


def _names(columns: Mapping[str, np.ndarray], found: Found) -> list[str]:
    return [*columns, *([] if found.labelling is None else ["class_name"])]


def _make_columns(
    folder: Path, columns: Mapping[str, np.ndarray], number: int, rows: int, found: Found
) -> None:
    """Make an array for each column, in chunks that one task writes."""
    group = zarr.create_group(folder, zarr_format=3)
    for name, values in columns.items():
        spec = FRAME_VARIABLES.get(name)
        others = tuple(f"{name}_{axis}" for axis in range(1, values.ndim))
        group.create_array(
            name,
            shape=(number, *values.shape[1:]),
            dtype=values.dtype,
            chunks=(rows, *values.shape[1:]),
            dimension_names=spec.dims if spec is not None else ("frame", *others),
            attributes={} if spec is None else {"long_name": spec.meaning, "units": spec.unit},
            config={"write_empty_chunks": True},
        )
    if found.labelling is not None:
        classes = np.array(found.labelling.classes, object)
        write_column(group, "class_name", classes, ["classes"])


def _count(found: Found, names: Sequence[str], client: Client) -> tuple[list[int], np.dtype]:
    """Count the chosen frames of each batch, and find what numbers hold their photons."""
    parts = [names[first : first + _COUNTED] for first in range(0, len(names), _COUNTED)]
    task = refusing(partial(_count_some, found=found))
    counted = _refused(client.gather(client.map(task, parts, pure=False, retries=RETRIES)))
    counts = [count for part, _ in counted for count in part]
    return counts, np.result_type(np.uint8, *(dtype for _, dtype in counted))


def _count_some(names: Sequence[str], *, found: Found) -> tuple[list[int], np.dtype]:
    counts: list[int] = []
    dtype: np.dtype = np.dtype(np.uint8)
    for name in names:
        results = found.folder.results(name, FRAME_ID, CHOSEN)
        counts.append(len(rows_of_chosen(results)))
        if found.again is None:
            dtype = np.result_type(dtype, found.folder.kept_dtype(name))
    if found.again is not None and names:
        # the source has one kind for all its frames
        photons = found.again(names[0])()["photons"]
        dtype = photons.dtype if photons.dtype.kind == "u" else np.dtype(np.uint32)
    return counts, dtype


def _refused(given: list[Any]) -> list[Any]:
    for each in given:
        if isinstance(each, Refusal):
            raise InputError(each.message)
    return given


def _write_shard(
    stack: Path,
    shard: int,
    *,
    found: Found,
    names: Sequence[str],
    ends: Sequence[int],
    added: Path,
) -> None:
    """Write the frames of a shard and their rows of all columns."""
    layout = read_layout(stack)
    start, stop = layout.shard_range(shard)
    parts: dict[str, list[np.ndarray]] = {}

    def photons() -> Iterator[np.ndarray]:
        for name, first, last in _within(names, ends, start, stop):
            rows, columns = found.columns(name)
            for key, values in columns.items():
                parts.setdefault(key, []).append(values[rows[first:last]])
            frames = found.photons(name, columns[FRAME_ID][rows])
            yield frames[first:last].astype(layout.dtype)

    write_shard(stack, shard, _in_chunks(photons(), layout.images_per_chunk))
    group = zarr.open_group(added, mode="r+")
    for key, values in parts.items():
        array = group[key]
        assert isinstance(array, zarr.Array)
        array[start:stop] = np.concatenate(values)


def _within(
    names: Sequence[str], ends: Sequence[int], start: int, stop: int
) -> Iterator[tuple[str, int, int]]:
    """Give batches that have frames from `start` to before `stop`, and which of theirs."""
    place = bisect_right(ends, start)
    while place < len(names):
        begin = ends[place - 1] if place else 0
        if begin >= stop:
            return
        if ends[place] > begin:
            yield names[place], max(start, begin) - begin, min(stop, ends[place]) - begin
        place += 1


def _in_chunks(blocks: Iterator[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """Cut images anew, into blocks of whole inner chunks; the last may be shorter."""
    held: list[np.ndarray] = []
    for block in blocks:
        held.append(block)
        number = sum(map(len, held))
        if number >= length:
            whole = np.concatenate(held)
            kept = number - number % length
            yield whole[:kept]
            held = [whole[kept:]] if kept < number else []
    if held:
        yield np.concatenate(held)


def _write_rows(
    span: range,
    names: Sequence[str],
    *,
    found: Found,
    columns: tuple[str, ...],
    added: Path,
) -> None:
    """Write the rows of frames of a replayed stack, those without a result too."""
    group = zarr.open_group(added, mode="r+")
    rows: dict[str, np.ndarray] = {}
    for key in columns:
        array = group[key]
        assert isinstance(array, zarr.Array)
        rows[key] = nothing(key, (len(span), *array.shape[1:]), array.dtype)
    for name in names:
        _, results = found.columns(name)
        ids = results[FRAME_ID]
        inside = (ids >= span.start) & (ids < span.stop)
        for key in columns:
            rows[key][ids[inside] - span.start] = results[key][inside]
    for key, values in rows.items():
        array = group[key]
        assert isinstance(array, zarr.Array)
        array[span.start : span.stop] = values
