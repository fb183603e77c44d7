"""Numbers of each frame of files as they are: measured by workers that read them, without a stack.

For looking at images where they lie. The columns come back to who asks, so they should be numbers
of frames, not pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from dask.tokenize import tokenize
from numcodecs import Zstd

from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.columns import Measure, Runner, images_of
from hpdp_dask.dataflow.kept import newest
from hpdp_dask.dataflow.leaves import BLOCK_BYTES, Leaf, even_leaves
from hpdp_dask.dataflow.progress import Progress
from hpdp_dask.dataflow.running import Done, run_tree
from hpdp_dask.formats.frames import FrameSource
from hpdp_dask.formats.stored_frames import StoredFrames
from hpdp_dask.stacks.frame_schema import check_frames
from hpdp_dask.stacks.frames import frame_table

if TYPE_CHECKING:
    from distributed import Client

#: Pixels of the frames of a task: some seconds of work, and of reading compressed files.
_PIXELS_PER_LEAF = 2**26

Columns = dict[str, np.ndarray]


def measure_source(
    source: FrameSource,
    measures: Sequence[Measure],
    *,
    client: Client | None = None,
    progress: Progress | None = None,
) -> Columns:
    """Measure all frames of a source in one pass.

    Parameters
    ----------
    source : FrameSource
        Its files on a file system that the workers see too.
    measures : sequence of Measure
        One after the other; a later one may need what an earlier one gives.
    client : distributed.Client, optional
        Where to; by default in this process.
    progress : Progress, optional
        Told of each block of frames.

    Returns
    -------
    dict of str to (number, ...) ndarray
        All columns of all measures.

    Raises
    ------
    InputError
        The source lacks what a measure needs, a frame cannot be read, or a measure refused it.
    """
    missing: list[str] = []
    given = set(source.columns)
    for measure in measures:
        taken = images_of(measure)
        if taken and source.unit not in taken:
            missing.append(taken[0])
        missing += [name for name in measure.needs if name not in given]
        given |= set(measure.columns)
    shared = _shared(source)
    check_frames(shared, tuple(dict.fromkeys(missing)))
    needed = {name for measure in measures for name in measure.needs}
    rows, columns = source.shape
    leaves = even_leaves(source.number, 1, max(1, _PIXELS_PER_LEAF // (rows * columns)))
    name = " and ".join(dict.fromkeys(measure.name for measure in measures))
    work = _MeasuringSource(
        path=source.path,
        name=name,
        measures=tuple(measures),
        # without the geometry, which goes to workers packed
        read=source.reader if isinstance(source, StoredFrames) else source.read,
        unit=source.unit,
        columns={name: source.columns[name] for name in needed if name in source.columns},
        shared=_Packed.of(shared),
    )
    with shown(name, source.number, client=client, progress=progress) as done:
        found: Columns = run_tree(
            work, leaves, [leaf.stop - leaf.start for leaf in leaves], client, done
        )
    return found


def _shared(source: FrameSource) -> xr.Dataset:
    """Give what all frames of a source share, as a stack would."""
    table = frame_table(source.detector, {}, path=str(source.path))
    # no frames: only a sign of what they are; ADU are real numbers, as in a stack
    dtype = source.dtype if source.unit == "photons" else np.float32
    table[source.unit] = ("frame", "y", "x"), np.empty((0, *source.shape), dtype)
    return table


@dataclass(frozen=True)
class _Packed:
    """A table without frames, compressed: where pixels are takes 150 MB for a Pilatus 6M.

    Attributes
    ----------
    token : str
        The same for the same table.
    variables : tuple
        Name, dimensions, dtype, shape and compressed bytes of each.
    attributes : mapping
    """

    token: str
    variables: tuple[tuple[str, tuple[str, ...], str, tuple[int, ...], bytes], ...]
    attributes: Mapping[str, object]

    @classmethod
    def of(cls, table: xr.Dataset) -> _Packed:
        """Pack a table."""
        variables = []
        for name, variable in table.variables.items():
            values = np.asarray(variable.values, order="C")
            variables.append(
                (
                    *(str(name), tuple(map(str, variable.dims)), values.dtype.str, values.shape),
                    _pack(values),
                )
            )
        attributes = {str(name): value for name, value in table.attrs.items()}
        return cls(tokenize(variables, attributes), tuple(variables), attributes)

    def unpacked(self) -> xr.Dataset:
        """Give the table again."""
        return xr.Dataset(
            {
                name: (dims, _unpack(packed, np.dtype(dtype)).reshape(shape))
                for name, dims, dtype, shape, packed in self.variables
            },
            attrs=dict(self.attributes),
        )


def _pack(values: np.ndarray) -> bytes:
    """Compress numbers to their last bit: pixels that follow each other differ by the same."""
    bits = values.reshape(-1).view(f"i{values.itemsize}")
    steps = np.diff(bits, prepend=bits.dtype.type(0))
    # rows repeat each other, which Blosc's blocks are too short to see
    packed: bytes = Zstd(level=1).encode(steps) if steps.size else b""
    return packed


def _unpack(packed: bytes, dtype: np.dtype) -> np.ndarray:
    steps = np.frombuffer(Zstd().decode(packed) if packed else b"", f"i{dtype.itemsize}")
    return np.cumsum(steps, dtype=steps.dtype).view(dtype)


@dataclass(frozen=True)
class _MeasuringSource:
    """What every task of a pass needs to know; see `running.Work`."""

    path: Path
    name: str
    measures: tuple[Measure, ...]
    read: Callable[[int, int], np.ndarray]
    unit: str
    columns: Mapping[str, np.ndarray]
    shared: _Packed
    task: str = "measure"
    returns: bool = False

    def fold(self, leaf: Leaf, done: Done) -> Columns:
        """Measure the frames of a leaf."""
        shared = newest("what frames share", self.shared.token, self.shared.unpacked)
        runner = Runner(self.measures, shared, self.shared.token)
        found: dict[str, list[np.ndarray]] = {}
        for block in self._blocks(leaf, shared[self.unit]):
            for name, values in runner.run(block).items():
                found.setdefault(name, []).append(values)
            done(block.sizes["frame"])
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def _blocks(self, leaf: Leaf, like: xr.DataArray) -> Iterator[xr.Dataset]:
        """Read the frames of a leaf, with what is known of each."""
        step = max(1, BLOCK_BYTES // (like.shape[1] * like.shape[2] * 4))
        for first in range(leaf.start, leaf.stop, step):
            last = min(first + step, leaf.stop)
            kept = {name: values[first:last] for name, values in self.columns.items()}
            block = frame_table(None, kept)
            frames = self.read(first, last).astype(like.dtype, copy=False)
            block[self.unit] = ("frame", "y", "x"), frames
            yield block.assign_attrs(first_image=first)

    def add(self, sums: Iterable[Columns]) -> Columns:
        """Put the columns of leaves that follow each other together."""
        parts = list(sums)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def end(self, total: Columns) -> Columns:
        """All is measured."""
        return total
