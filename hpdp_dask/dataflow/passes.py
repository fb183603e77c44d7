"""One pass of a loop: what its tasks do with leaves, and where sums are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from hpdp_dask.dataflow.forecast import MemoryPlan
from hpdp_dask.dataflow.kept import while_they_fit
from hpdp_dask.dataflow.leaves import Leaf, block_length, is_kept, read_rows
from hpdp_dask.dataflow.loops import Expectation
from hpdp_dask.dataflow.results import read_results, write_results
from hpdp_dask.dataflow.running import Done, on_host
from hpdp_dask.errors import InputError
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.stacks.shards import ImageReader

#: Below this share of the images single ones are read, not whole blocks.
_FEW = 0.4


class Part(NamedTuple):
    """A sum over the images of a leaf, or of leaves that follow each other.

    Attributes
    ----------
    span : Leaf
        The images.
    total : object
        None if a file alone has it, or one of more images.
    """

    span: Leaf
    total: Any


@dataclass(frozen=True)
class Pass:
    """What every task of a pass needs to know; see `running.Work`.

    On workers, which may be lost, each sum of the tree is also written into a file, which takes
    the place of those that it was made of. A lost worker costs the leaf that it is at, and at
    most those that wait to be added together; what a file has is not folded again.

    Attributes
    ----------
    path : Path
        The stack.
    expectation : Expectation
    results : Path
        The folder for the results of images.
    before : Path or None
        That of the last pass, if it has all images.
    plan : MemoryPlan
        If it says so, sums are in files alone, those of leaves too.
    sums : Path
        The folder for sums.
    backed : bool
        Whether sums of the tree are written.
    """

    path: Path
    expectation: Expectation[Any, Any]
    results: Path
    before: Path | None
    plan: MemoryPlan
    sums: Path
    backed: bool = False
    task: str = "expect"
    returns: bool = True

    @property
    def name(self) -> str:
        return self.expectation.name

    def fold(self, leaf: Leaf, done: Done) -> Part:
        """Compare and fold the images of a leaf, and write their results."""
        rows = chosen_images(self.expectation, leaf)
        if self._is_kept(leaf):
            done(len(rows))
            return Part(leaf, None)
        sums, results = self.expectation.start(), []
        for block in self._blocks(leaf, rows):
            before = None
            if self.before is not None:
                before = read_results(self.before, block["image"].values)
            sums, found = self.expectation.fold(sums, block, before)
            results.append({"image": block["image"].values, **found})
            done(block.sizes["particle"])
        write_results(self.results / leaf.file_name, results)
        return self._keep(Part(leaf, on_host(sums)), self.plan.on_disk)

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

    def add(self, sums: Iterable[Part]) -> Part:
        """Add sums that follow each other."""
        if not self.backed:
            return self._merge(sums)
        parts = list(sums)
        found = Part(Leaf(parts[0].span.start, parts[-1].span.stop), None)
        # if this task runs again, since its worker was lost, the file may be there
        if not self._is_kept(found.span):
            found = self._keep(self._merge(parts), True)
        for part in parts:
            self._file(part.span).unlink(missing_ok=True)
        return found

    def end(self, total: Part) -> Any:
        """Make the next model and state."""
        return self.expectation.finish(self._take(total))

    def _merge(self, sums: Iterable[Part]) -> Part:
        """Add to a copy of the first: Dask may need them again."""
        parts = iter(sums)
        first = next(parts)
        span, total = first.span, self._take(first)
        if first.total is not None:
            total = deepcopy(total)
        for part in parts:
            total = self.expectation.merge(total, self._take(part))
            span = Leaf(span.start, part.span.stop)
        return Part(span, total)

    def _is_kept(self, span: Leaf) -> bool:
        return self.backed and is_kept(span, self.sums, ".npz")

    def _file(self, span: Leaf) -> Path:
        return (self.sums / span.file_name).with_suffix(".npz")

    def _keep(self, part: Part, in_file: bool) -> Part:
        """Write a sum into a file, and hold it in memory if the plan says so."""
        if not in_file:
            return part
        several = isinstance(part.total, tuple)
        arrays = part.total if several else (part.total,)
        with write_whole(self._file(part.span), sum(array.nbytes for array in arrays)) as stream:
            np.savez(stream, *arrays) if several else np.savez(stream, single=part.total)
        return Part(part.span, None) if self.plan.on_disk else part

    def _take(self, part: Part) -> Any:
        if part.total is not None:
            return part.total
        with np.load(self._file(part.span), allow_pickle=False) as found:
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
