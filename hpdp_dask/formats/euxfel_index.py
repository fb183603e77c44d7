"""Which frame of a run is in which row of which file, for each module of its detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.hdf5 import read_whole

if TYPE_CHECKING:
    from extra_data.file_access import FileAccess

#: More than the pulses of a train: a frame's key is its train times this, plus its pulse.
PULSES = 10_000


@dataclass(frozen=True)
class Rows:
    """Where frames that follow each other lie, as runs of rows.

    Attributes
    ----------
    segments : (k, 4) ndarray of int64
        File, its row, the first frame, the frame after the last.
    """

    segments: np.ndarray

    def between(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """Give file, row, first frame and the frame after the last, of those asked for."""
        first = int(np.searchsorted(self.segments[:, 3], start, side="right"))
        for file, row, low, high in self.segments[first:].tolist():
            if low >= stop:
                return
            begin = max(low, start)
            yield file, row + begin - low, begin, min(high, stop)


@dataclass(frozen=True)
class Indexed:
    """All frames of a module.

    Attributes
    ----------
    key : (n,) ndarray of int64
        Train times `PULSES` plus pulse.
    cell : (n,) ndarray of int64
    file : (n,) ndarray of str objects
    row : (n,) ndarray of int64
    unordered : list of str
        Files whose trains are out of order.
    """

    key: np.ndarray
    cell: np.ndarray
    file: np.ndarray
    row: np.ndarray
    unordered: list[str]


@dataclass(frozen=True)
class Matched:
    """Frames that all modules have.

    Attributes
    ----------
    number : int
    columns : dict
        `train_id`, `pulse_id`, `cell_id`.
    rows : dict of int to Rows
        By module; without those that count as missing.
    notes : list of str
    """

    number: int
    columns: dict[str, np.ndarray]
    rows: dict[int, Rows]
    notes: list[str]


def read_rows(path: Path, files: Sequence[FileAccess], source: str) -> Indexed:
    """Read train, pulse and cell of all frames of a module.

    Parameters
    ----------
    path : Path
        The run, for messages.
    files : sequence of FileAccess
        Those that have the source.
    source : str

    Returns
    -------
    Indexed

    Raises
    ------
    InputError
        An index points beyond the data, or a frame is there twice.
    """
    keys, cells, names, rows, unordered = [], [], [], [], []
    for access in files:
        trains = access.train_ids.astype(np.int64)
        if (np.diff(trains) <= 0).any():
            unordered.append(access.filename)
        first, count = (part.astype(np.int64) for part in access.get_index(source, "image"))
        row = np.concatenate([np.empty(0, np.int64), *map(np.arange, first, first + count)])
        image = access.file[f"INSTRUMENT/{source}/image"]
        here = Path(access.filename)
        pulse, cell = (
            read_whole(here, image[name]).ravel().astype(np.int64) for name in ("pulseId", "cellId")
        )
        length = min(len(image["data"]), len(pulse), len(cell))
        if len(row) and int(row.max()) >= length:
            raise InputError(
                f"{here}: INDEX says that {source} has {int(row.max()) + 1} frames, found "
                f"{length}; copy the file again."
            )
        keys.append(np.repeat(trains, count) * PULSES + pulse[row])
        cells.append(cell[row])
        rows.append(row)
        names.append(np.full(len(row), access.filename, object))
    found = Indexed(
        key=np.concatenate(keys),
        cell=np.concatenate(cells),
        file=np.concatenate(names),
        row=np.concatenate(rows),
        unordered=unordered,
    )
    values, times = np.unique(found.key, return_counts=True)
    if (times > 1).any():
        train, pulse_id = divmod(int(values[np.argmax(times > 1)]), PULSES)
        where = sorted(set(found.file[found.key == train * PULSES + pulse_id]))
        raise InputError(
            f"{path}: {source} has pulse {pulse_id} of train {train} more than once "
            f"({', '.join(Path(name).name for name in where)}); move the file that should not be "
            "there out of the run."
        )
    return found


def match_modules(path: Path, modules: Mapping[int, Indexed], files: Sequence[Path]) -> Matched:
    """Find the frames that all modules have, in order of train and pulse.

    Parameters
    ----------
    path : Path
        The run, for messages.
    modules : mapping of int to Indexed
    files : sequence of Path
        What `Rows` counts files by.

    Returns
    -------
    Matched
        A module that lacks more than half of the frames counts as missing.

    Raises
    ------
    InputError
        There are no frames.
    """
    every = np.unique(np.concatenate([np.empty(0, np.int64), *(m.key for m in modules.values())]))
    here = {number: m for number, m in modules.items() if 2 * len(m.key) >= len(every) > 0}
    common = every
    for indexed in here.values():
        common = np.intersect1d(common, indexed.key, assume_unique=True)
    if not len(common):
        raise InputError(
            f"{path}: no frames that all of the modules {', '.join(map(str, sorted(modules)))} "
            "have; is the run complete?"
        )
    notes = []
    unordered = sorted({name for indexed in modules.values() for name in indexed.unordered})
    if unordered:
        notes.append(
            f"{path}: trains are out of order in {Path(unordered[0]).name}"
            f"{f' and {len(unordered) - 1} more files' if len(unordered) > 1 else ''}; frames are "
            "sorted by train and pulse"
        )
    if len(every) > len(common):
        lacking = [str(number) for number, m in here.items() if len(m.key) < len(every)]
        notes.append(
            f"{path}: {len(every) - len(common)} of {len(every)} frames are left out, which "
            f"{'module' if len(lacking) == 1 else 'modules'} {', '.join(lacking)} lack"
            f"{'s' if len(lacking) == 1 else ''}"
        )
    place = {str(file): index for index, file in enumerate(files)}
    rows = {}
    for number, indexed in here.items():
        order = np.argsort(indexed.key, kind="stable")
        chosen = order[np.searchsorted(indexed.key[order], common)]
        names, inverse = np.unique(indexed.file[chosen], return_inverse=True)
        file = np.array([place[str(name)] for name in names])[inverse]
        rows[number] = _segments(file, indexed.row[chosen])
        cell = indexed.cell[chosen]
    return Matched(
        number=len(common),
        columns={"train_id": common // PULSES, "pulse_id": common % PULSES, "cell_id": cell},
        rows=rows,
        notes=notes,
    )


def _segments(file: np.ndarray, row: np.ndarray) -> Rows:
    """Join rows that follow each other in a file."""
    breaks = np.flatnonzero((np.diff(file) != 0) | (np.diff(row) != 1)) + 1
    first = np.concatenate([[0], breaks])
    last = np.concatenate([breaks, [len(row)]])
    return Rows(np.stack([file[first], row[first], first, last], axis=1).astype(np.int64))
