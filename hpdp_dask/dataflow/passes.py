"""One pass of a loop: what its tasks do with leaves, and where sums are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from hpdp_dask.dataflow.forecast import MemoryPlan
from hpdp_dask.dataflow.kept import while_they_fit
from hpdp_dask.dataflow.leaves import (
    Leaf,
    block_length,
    read_rows,
)
from hpdp_dask.dataflow.results import read_results, write_results
from hpdp_dask.dataflow.running import Done, on_host
from hpdp_dask.errors import InputError
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    pass

from hpdp_dask.dataflow.loops import Expectation

#: Below this share of the images single ones are read, not whole blocks.
_FEW = 0.4


@dataclass(frozen=True)
class Pass:
    """What every task of a pass needs to know; see `running.Work`."""

    path: Path
    expectation: Expectation[Any, Any]
    results: Path
    before: Path | None
    plan: MemoryPlan
    sums: Path
    task: str = "expect"
    returns: bool = True

    @property
    def name(self) -> str:
        return self.expectation.name

    def fold(self, leaf: Leaf, done: Done) -> Any:
        """Compare and fold the images of a leaf, and write their results."""
        rows = chosen_images(self.expectation, leaf)
        sums, results = self.expectation.start(), []
        for block in self._blocks(leaf, rows):
            before = None
            if self.before is not None:
                before = read_results(self.before, block["image"].values)
            sums, found = self.expectation.fold(sums, block, before)
            results.append({"image": block["image"].values, **found})
            done(block.sizes["particle"])
        write_results(self.results / leaf.file_name, results)
        return self._put(leaf, on_host(sums))

    def _blocks(self, leaf: Leaf, rows: np.ndarray) -> Iterator[xr.Dataset]:
        """Give the prepared images of a leaf, kept or made."""
        reader = ImageReader(self.path)
        step = block_length(reader)
        # with the time of the stack, since another may have had its name
        made = self.path.stat().st_mtime_ns
        owner = f"{self.path} {made} {tokenize(self.expectation.preparation)}"
        for first in range(leaf.start, leaf.stop, step):
            last = min(first + step, leaf.stop)
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
            if not wanted.size:
                continue
            if self.expectation.share < _FEW and self.plan.room == 0:
                yield self._prepare(wanted)
                continue
            whole = while_they_fit(
                owner, (first, last), partial(self._prepare, np.arange(first, last)), self.plan.room
            )
            yield whole if len(wanted) == last - first else whole.isel(particle=wanted - first)

    def _prepare(self, rows: np.ndarray) -> xr.Dataset:
        block = read_rows(self.path, rows)
        finite = np.isfinite(block["images"].values).all(axis=(1, 2))
        if not finite.all():
            raise InputError(
                f"{self.path}: image {rows[finite.argmin()]} (counted from 0) holds values that "
                "are no finite numbers; hpdp validate tells of all such, leave them out."
            )
        return self.expectation.preparation(block).assign(image=("particle", rows))

    def add(self, sums: Iterable[Any]) -> Any:
        """Add to a copy of the first: Dask may need them again."""
        if not self.plan.on_disk:
            parts = iter(sums)
            total = deepcopy(next(parts))
            for part in parts:
                total = self.expectation.merge(total, part)
            return total
        files = list(sums)
        span = Leaf(Leaf.of_file(files[0]).start, Leaf.of_file(files[-1]).stop)
        # a sum whose task runs again, since its worker died, has taken its parts away already
        if not self._file(span).is_file():
            total = self._take(files[0])
            for file in files[1:]:
                total = self.expectation.merge(total, self._take(file))
            self._put(span, total)
        for file in files:
            Path(file).unlink(missing_ok=True)
        return str(self._file(span))

    def end(self, total: Any) -> Any:
        """Make the next model and state."""
        state = self.expectation.finish(self._take(total))
        if self.plan.on_disk:
            Path(total).unlink(missing_ok=True)
        return state

    def _file(self, span: Leaf) -> Path:
        return (self.sums / span.file_name).with_suffix(".npz")

    def _put(self, span: Leaf, total: Any) -> Any:
        """Keep sums where the plan says: in memory, or in a file, whose name is given."""
        if not self.plan.on_disk:
            return total
        file = self._file(span)
        several = isinstance(total, tuple)
        size = sum(array.nbytes for array in total) if several else total.nbytes
        with write_whole(file, size) as stream:
            np.savez(stream, *total) if several else np.savez(stream, single=total)
        return str(file)

    def _take(self, total: Any) -> Any:
        if not self.plan.on_disk:
            return total
        with np.load(total, allow_pickle=False) as found:
            return found["single"] if "single" in found else tuple(found.values())


def chosen_images(expectation: Expectation[Any, Any], leaf: Leaf) -> np.ndarray:
    """Give the images of a leaf that take part in a pass, in order.

    Which ones depends on their place in the stack, the seed and the name of the pass alone: a
    hash of these (the finaliser of SplitMix64: Steele, Lea & Flood 2014, OOPSLA) is below the
    share that is wanted.
    """
    images = np.arange(leaf.start, leaf.stop)
    if expectation.share >= 1.0:
        return images
    salt = int(tokenize(expectation.seed, expectation.name)[:16], 16)
    with np.errstate(over="ignore"):
        value = (images.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        value += np.uint64(salt)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        value ^= value >> np.uint64(31)
    return images[value < np.uint64(expectation.share * 2.0**64)]
