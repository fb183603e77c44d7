"""Running totals of a stream: a reduction that can be finished at any moment.

The task of a batch writes the accumulator of its frames into a file of its own; other tasks add
such files up, many to one. Each file says which batches are in it, so whatever is killed, a batch
counts once: a file whose batches are all in another one is left out, and removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.running import on_host
from hpdp_dask.dataflow.trees import Reduction
from hpdp_dask.formats.writing import write_whole

#: So many files are added up to one.
TOGETHER = 16

#: How often to look anew when files are added up to others meanwhile.
_LOOKS = 20


@dataclass(frozen=True)
class Total:
    """A reduction that runs under a stream.

    Attributes
    ----------
    name : str
        Of its folder.
    reduction : Reduction
        Gets blocks with photons and all columns.
    of : {"frames", "chosen", "labelled"}
        All frames, those that were chosen, or these with the labels of a model; for each model
        there is another total then.
    """

    name: str
    reduction: Reduction[Any, Any]
    of: Literal["frames", "chosen", "labelled"]


class Token(NamedTuple):
    """Files of a total, of a model or of none, that hold about 16 to some power batches."""

    total: str
    model: str | None
    level: int


def folder_of(sums: Path, total: Total, model: str | None) -> Path:
    """Give the folder of a total; of a model's, if it is one of labelled frames."""
    return sums / (total.name if model is None else f"{total.name}-{model}")


def add_part(folder: Path, name: str, total: Total, block: xr.Dataset) -> Path:
    """Fold the frames of a batch into a file.

    Parameters
    ----------
    folder : Path
        Of the total.
    name : str
        Of the batch.
    total : Total
    block : xarray.Dataset

    Returns
    -------
    Path
        The file.
    """
    reduction = total.reduction
    accumulator = on_host(reduction.fold(reduction.start(), block))
    folder.mkdir(exist_ok=True)
    return _write(folder / f"part-{name}.npz", [name], accumulator)


def add_up(files: Sequence[Path], total: Total) -> Path:
    """Add files up to one, and remove them.

    Parameters
    ----------
    files : sequence of Path
        Of one total, which no other call has.
    total : Total

    Returns
    -------
    Path
        The file of their sum.
    """
    ordered = sorted(files)
    digest = hashlib.sha256("\n".join(file.name for file in ordered).encode()).hexdigest()[:16]
    target = ordered[0].with_name(f"sum-{digest}.npz")
    if not target.exists():  # it may, if this runs a second time
        names, accumulator = _sum(ordered, total)
        _write(target, names, accumulator)
    for file in ordered:
        file.unlink(missing_ok=True)
    return target


def finish_total(folder: Path, total: Total, done: Collection[str]) -> Any:
    """Make the result of all that was added until now.

    Parameters
    ----------
    folder : Path
        Of the total.
    total : Total
    done : collection of str
        Batches that have results; what was added for others does not count yet.

    Returns
    -------
    object
        What the reduction makes of it.
    """
    for look in range(_LOOKS):
        files = counted_files(folder, done)
        try:
            accumulator = _sum(files, total)[1] if files else total.reduction.start()
        except FileNotFoundError:
            if look == _LOOKS - 1:
                raise
            continue
        return total.reduction.finish(accumulator)
    raise AssertionError


def counted_files(folder: Path, done: Collection[str]) -> list[Path]:
    """Find the files in which each batch that is done counts once; others are removed."""
    found: list[tuple[Path, set[str]]] = []
    for file in folder.glob("[ps]*-*.npz"):
        try:
            with np.load(file, allow_pickle=False) as parts:
                found.append((file, set(parts["names"].tolist())))
        except FileNotFoundError:  # added up meanwhile
            continue
    counted: list[Path] = []
    seen: set[str] = set()
    done = set(done)
    for file, names in sorted(found, key=lambda each: -len(each[1])):
        if names <= seen:
            file.unlink(missing_ok=True)
        elif len(names) > 1 or names <= done:
            counted.append(file)
            seen |= names
    return sorted(counted)


class Sums:
    """Which files of totals there are, and that they are added up when there are enough.

    Parameters
    ----------
    folder : Path
        Of all totals.
    totals : sequence of Total
    submit : callable
        Takes a token, a list of files and their total: has a task add them up, and then calls
        `added` with the token and the file that was made.
    """

    def __init__(
        self,
        folder: Path,
        totals: Sequence[Total],
        submit: Callable[[Token, list[Path], Total], None],
    ) -> None:
        self._folder = folder
        self._totals = totals
        self._submit = submit
        self._files: dict[Token, list[Path]] = {}
        self.running = 0

    def recover(self, done: Collection[str], model: str | None) -> None:
        """Find the files of earlier processes: of a model, or those that are of none.

        Parameters
        ----------
        done : collection of str
            Batches that have results, or labels of the model.
        model : str or None
        """
        for total in self._of(model):
            folder = folder_of(self._folder, total, model)
            for file in counted_files(folder, done) if folder.is_dir() else ():
                with np.load(file, allow_pickle=False) as found:
                    level = int(np.log(len(found["names"])) / np.log(TOGETHER) + 1e-9)
                self._put(Token(total.name, model, level), file)

    def part(self, name: str, model: str | None) -> None:
        """Take the files of a batch that was measured, or labelled by a model."""
        for total in self._of(model):
            file = folder_of(self._folder, total, model) / f"part-{name}.npz"
            self._put(Token(total.name, model, 0), file)

    def added(self, token: Token, file: Path) -> None:
        """Take a file in place of those that were added up."""
        self.running -= 1
        self._put(token._replace(level=token.level + 1), file)

    def _of(self, model: str | None) -> list[Total]:
        return [total for total in self._totals if (total.of == "labelled") == (model is not None)]

    def _put(self, token: Token, file: Path) -> None:
        files = self._files.setdefault(token, [])
        files.append(file)
        if len(files) >= TOGETHER:
            del self._files[token]
            self.running += 1
            total = next(total for total in self._totals if total.name == token.total)
            self._submit(token, files, total)


def _sum(files: Sequence[Path], total: Total) -> tuple[list[str], Any]:
    names: list[str] = []
    accumulator = total.reduction.start()
    for file in files:
        more, other = _read(file)
        accumulator = total.reduction.merge(accumulator, other)
        names = names + more
    return names, accumulator


def _write(file: Path, names: list[str], accumulator: Any) -> Path:
    several = isinstance(accumulator, tuple)
    arrays = accumulator if several else (accumulator,)
    columns = {f"array_{place}": np.asarray(array) for place, array in enumerate(arrays)}
    with write_whole(file, sum(array.nbytes for array in columns.values())) as stream:
        np.savez(
            stream,
            allow_pickle=False,
            names=np.array(names),
            several=np.array(several),
            **columns,
        )
    return file


def _read(file: Path) -> tuple[list[str], Any]:
    with np.load(file, allow_pickle=False) as found:
        arrays = [found[f"array_{place}"] for place in range(len(found.files) - 2)]
        return found["names"].tolist(), tuple(arrays) if found["several"] else arrays[0]
