"""Numbers of each frame: measured in one pass over a stack, written by the workers as columns.

A measure is pure and knows neither Dask nor files, so the same object runs on stored frames, here,
and on live ones (`stream`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xarray as xr
import zarr
from dask.tokenize import tokenize

from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.kept import newest
from hpdp_dask.dataflow.leaves import Leaf, even_leaves, opened, read_blocks, state_of
from hpdp_dask.dataflow.progress import Progress
from hpdp_dask.dataflow.running import Done, run_tree
from hpdp_dask.stacks.frame_schema import FRAME_VARIABLES, check_frames
from hpdp_dask.stacks.frames import adding, open_frames, unit_of
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    from distributed import Client

#: Pixels of the frames of a task: some seconds of work.
_PIXELS_PER_LEAF = 2**27


@dataclass(frozen=True)
class Column:
    """What a measure gives for each frame.

    Attributes
    ----------
    dtype : dtype
    shape : tuple of int, optional
        Of one frame's part; a single number by default.
    dims : tuple of str, optional
        Names of these axes.
    """

    dtype: np.dtype | type
    shape: tuple[int, ...] = ()
    dims: tuple[str, ...] = ()


class Measure(Protocol):
    """Numbers of each frame. Pure: it knows no files and no Dask.

    A measure is pickled into each task, so it should be small: numbers and names.

    Attributes
    ----------
    name : str
        One word, which the dashboard and the progress bar show.
    columns : mapping of str to Column
        What it gives.
    needs : tuple of str
        Variables of frames that it reads beside the frames; what an earlier measure of the same
        pass gives counts as there.
    images : tuple of str, optional
        What frames may be for it: `photons` (by default, and alone), `adu`; empty if it does not
        look at the frames themselves, which then are not read for it.
    """

    @property
    def name(self) -> str:
        """One word for the dashboard."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it gives."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Variables of frames that it reads beside the frames."""

    def prepare(self, stack: xr.Dataset) -> Any:
        """Make what all frames share, once in each process.

        Parameters
        ----------
        stack : xarray.Dataset
            With geometry, mask and whatever else all frames share; of frames, nothing should be
            looked at.
        """

    def measure(self, block: xr.Dataset, prepared: Any) -> Mapping[str, np.ndarray]:
        """Measure frames.

        Parameters
        ----------
        block : xarray.Dataset
            In memory: `photons` or `adu` (frame, y, x), and the variables that are needed.
        prepared : object
            From `prepare`.

        Returns
        -------
        mapping of str to (n, ...) ndarray
            All of `columns`.
        """


def measure_images(
    stack_path: str | Path,
    measures: Sequence[Measure],
    *,
    client: Client | None = None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Measure all frames of a stack in one pass, and add what was found to it.

    Parameters
    ----------
    stack_path : str or Path
        The stack, on a file system that the workers see too, and may write.
    measures : sequence of Measure
        One after the other.
    client : distributed.Client, optional
        Where to; by default in this process.
    overwrite : bool, optional
        Replace variables that are there.
    history : mapping, optional
        Kept with the stack: command, parameters, seed.
    progress : Progress, optional
        Told of each block of frames.

    Raises
    ------
    InputError
        The stack lacks what a measure needs or has what it gives, a frame cannot be read, or a
        measure refused it.
    """
    path = Path(stack_path).absolute()
    stack = open_frames(path)
    columns: dict[str, Column] = {}
    needed: list[str] = []
    for measure in measures:
        taken = images_of(measure)
        if taken and unit_of(stack) not in taken:
            needed.append(taken[0])
        needed += [name for name in measure.needs if name not in columns]
        columns |= measure.columns
    check_frames(stack, tuple(dict.fromkeys(needed)))
    reader = ImageReader(path)
    per_leaf = max(1, _PIXELS_PER_LEAF // (reader.image_shape[0] * reader.image_shape[1]))
    leaves = even_leaves(reader.number, reader.layout.images_per_chunk, per_leaf)
    name = " and ".join(dict.fromkeys(measure.name for measure in measures))
    with (
        adding(path, columns, overwrite=overwrite, history=history) as staged,
        shown(name, reader.number, client=client, progress=progress) as done,
    ):
        _make_arrays(staged, columns, reader.number, leaves[0].stop)
        work = _Measuring(path, name, tuple(measures), staged)
        run_tree(work, leaves, [leaf.stop - leaf.start for leaf in leaves], client, done)


def images_of(measure: Measure) -> tuple[str, ...]:
    """Give what frames may be for a measure; nothing if it does not look at them."""
    taken: tuple[str, ...] = getattr(measure, "images", ("photons",))
    return taken


def _make_arrays(folder: Path, columns: Mapping[str, Column], number: int, rows: int) -> None:
    """Make an array for each column, in chunks that one task writes."""
    group = zarr.create_group(folder, zarr_format=3)
    for name, column in columns.items():
        spec = FRAME_VARIABLES.get(name)
        attributes: dict[str, Any] = {}
        if spec is not None:
            attributes = {"long_name": spec.meaning} | ({"units": spec.unit} if spec.unit else {})
        others = spec.dims[1:] if spec is not None else column.dims
        group.create_array(
            name,
            shape=(number, *column.shape),
            dtype=np.dtype(column.dtype),
            chunks=(rows, *column.shape),
            dimension_names=("frame", *others),
            attributes=attributes,
            # a column of zeros is data like any other
            config={"write_empty_chunks": True},
        )


@dataclass(frozen=True)
class _Measuring:
    """What every task of a pass needs to know; see `running.Work`."""

    path: Path
    name: str
    measures: tuple[Measure, ...]
    staged: Path
    task: str = "measure"
    returns: bool = False

    def fold(self, leaf: Leaf, done: Done) -> None:
        """Measure the frames of a leaf and write their rows."""
        stack = opened(self.path, "frames")
        runner = Runner(self.measures, stack, tokenize(str(self.path), state_of(self.path)))
        kept = tuple(name for measure in self.measures for name in measure.needs)
        looked_at = any(images_of(measure) for measure in self.measures)
        found: dict[str, list[np.ndarray]] = {}
        for block in read_blocks(self.path, leaf, kept, images=looked_at, reuse=True):
            seen = [each.values for each in block.values() if each.ndim == 3]
            for name, values in runner.run(block).items():
                # what is a part of the images would change with them
                shared = any(np.may_share_memory(values, each) for each in seen)
                found.setdefault(name, []).append(values.copy() if shared else values)
            done(block.sizes["frame"])
        group = zarr.open_group(self.staged, mode="r+")
        for name, parts in found.items():
            array = group[name]
            assert isinstance(array, zarr.Array)
            array[leaf.start : leaf.stop] = np.concatenate(parts)

    def add(self, sums: Iterable[None]) -> None:
        """Wait for all leaves."""
        for _ in sums:
            pass

    def end(self, total: None) -> None:
        """All is written."""


@dataclass(frozen=True)
class Runner:
    """Runs measures on blocks of frames, one after the other.

    Attributes
    ----------
    measures : tuple of Measure
    stack : xarray.Dataset
        What all frames share.
    state : str
        Of the stack: what was prepared for another is prepared anew.
    """

    measures: tuple[Measure, ...]
    stack: xr.Dataset
    state: str
    _tokens: list[str] = field(default_factory=list, repr=False, compare=False)

    def run(self, block: xr.Dataset) -> dict[str, np.ndarray]:
        """Measure a block of frames: all columns of all measures.

        Raises
        ------
        ValueError
            A measure gave other columns than it says.
        """
        found: dict[str, np.ndarray] = {}
        if not self._tokens:
            self._tokens.extend(tokenize(self.state, measure) for measure in self.measures)
        for place, (measure, token) in enumerate(zip(self.measures, self._tokens, strict=True)):
            # which place it has belongs to the name, since two of a kind would throw each other out
            prepared = newest(
                f"{measure.name} {place}", token, partial(measure.prepare, self.stack)
            )
            given = measure.measure(block, prepared)
            if set(given) != set(measure.columns):
                raise ValueError(f"{measure.name} gave {sorted(given)}")
            for name, column in measure.columns.items():
                values = np.asarray(given[name], np.dtype(column.dtype))
                if values.shape != (block.sizes["frame"], *column.shape):
                    raise ValueError(f"{measure.name} gave {name} of the shape {values.shape}")
                found[name] = values
            if place + 1 < len(self.measures):
                block = block.assign({name: _frame_variable(name, found[name]) for name in given})
        return found


def _frame_variable(name: str, values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Give the values of a column with the names of its dimensions."""
    return ("frame", *(f"{name}_{axis}" for axis in range(1, values.ndim))), values
