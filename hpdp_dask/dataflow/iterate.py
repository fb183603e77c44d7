"""Loops of expectation and maximisation: pass after pass over the images of a stack.

In each pass leaves of images are compared with the model and folded into sums (tasks `expect`),
a tree adds them (`tree-sum`), and its end makes the next model (`finish`). Models go through
files in the folder of their iteration, and so do the results of single images, which the workers
write themselves; through the client goes only a small state. It is written last, so a folder
that has one is a checkpoint, and a loop that was interrupted goes on from the last of them to
the result of an unbroken one.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
import xarray as xr
from dask.tokenize import tokenize

from hpdp_dask.dataflow.forecast import MemoryPlan, plan_memory
from hpdp_dask.dataflow.kept import clear, while_they_fit
from hpdp_dask.dataflow.leaves import (
    Leaf,
    block_length,
    even_leaves,
    own_folder,
    read_rows,
)
from hpdp_dask.dataflow.notes import heard
from hpdp_dask.dataflow.progress import Progress
from hpdp_dask.dataflow.results import Rows, count_results, gather, read_results, write_results
from hpdp_dask.dataflow.running import Done, on_host, run_tree
from hpdp_dask.errors import InputError
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    from distributed import Client

A = TypeVar("A")
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)

#: How long a network file system may take to show what others wrote, seconds.
_PATIENCE = 60.0

#: Below this share of the images single ones are read, not whole blocks.
_FEW = 0.4

_STATE_FILE, _RESULTS = "state.json", "results"


class Expectation(Protocol[A, S_co]):
    """One pass over the images: a reduction that also has a result for each of them.

    Pickled into each task, so it should be small. An accumulator is an array, or a tuple of
    arrays; `start` may make it on a device.

    Attributes
    ----------
    name : str
        One word for the dashboard and the progress bar, as *refine-012*.
    nbytes : int
        Size of an accumulator.
    working_bytes : int
        What a thread holds besides: the model, references, the batch in work.
    images_per_leaf : int
        How many images a task should take, for 0.5 to 10 s.
    share : float
        Of the images that take part; which ones follows from `seed`, `name` and their place in
        the stack.
    seed : int
    preparation : callable
        Makes of a block of images, as `leaves.read_rows` gives it, what is kept on the workers
        between passes while it fits: a dataset without `images`. A frozen dataclass, and the
        same in all passes.
    """

    @property
    def name(self) -> str:
        """One word for the dashboard."""

    @property
    def nbytes(self) -> int:
        """Size of an accumulator."""

    @property
    def working_bytes(self) -> int:
        """What a thread holds besides."""

    @property
    def images_per_leaf(self) -> int:
        """How many images a task should take."""

    @property
    def share(self) -> float:
        """The share of the images that take part."""

    @property
    def seed(self) -> int:
        """The seed of the choice of images."""

    @property
    def preparation(self) -> Callable[[xr.Dataset], xr.Dataset]:
        """What makes of images that which is kept between passes."""

    def start(self) -> A:
        """Make an empty accumulator."""

    def fold(self, sums: A, block: xr.Dataset, before: Rows | None) -> tuple[A, Rows]:
        """Compare prepared images with the model, and add them to the sums.

        Parameters
        ----------
        sums : A
            May be changed and returned.
        block : xarray.Dataset
            Of `preparation`, those rows that take part; `image` is their place in the stack.
        before : dict of arrays or None
            The results of the last pass for these images, if all images took part in it.

        Returns
        -------
        sums : A
        results : dict of arrays
            One row for each image.
        """

    def merge(self, sums: A, other: A) -> A:
        """Add sums to others, which may be read-only."""

    def finish(self, sums: A) -> S_co:
        """Make the next model, write it, and give the next state. Runs on a worker."""


class Loop(Protocol[S]):
    """A sequence of passes and the states between them.

    A state is a frozen dataclass of plain numbers, texts, lists and dictionaries, among them
    `iteration`; it is kept as JSON.

    Attributes
    ----------
    name : str
    state_type : type
    """

    @property
    def name(self) -> str:
        """One word."""

    @property
    def state_type(self) -> type[S]:
        """The dataclass of the states."""

    def begin(self, folder: Path) -> S:
        """Write the first model into a folder; give the first state."""

    def is_done(self, state: S) -> bool:
        """Tell whether this state is the last."""

    def expectation(self, state: S, folder: Path, following: Path) -> Expectation[Any, S]:
        """Make the pass that follows a state, whose model is in a folder, into the next folder."""

    def largest(self, state: S, folder: Path) -> Expectation[Any, S]:
        """Give a pass that takes as much memory as any that may come; it is not run."""


@dataclass(frozen=True)
class Iterated(Generic[S]):
    """Where a loop ended.

    Attributes
    ----------
    state : S
        The last state.
    folder : Path
        With the files of the last model.
    results : dict of arrays
        Of the last pass: `image` and what the pass gave, sorted by image.
    """

    state: S
    folder: Path
    results: Rows


@dataclass(frozen=True)
class _Work:
    """What every task of a pass needs to know."""

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


def iterate(
    stack_path: str | Path,
    loop: Loop[S],
    folder: Path,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
    tell: Callable[[S], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterated[S]:
    """Run a loop to its end.

    Parameters
    ----------
    stack_path : str or Path
        The stack, on a file system that the workers see too.
    loop : Loop
    folder : Path
        Where iterations are kept, on that file system too: `000`, `001`, ... The last two stay.
        What an interrupted run of the same loop left there is not done again.
    client : distributed.Client, optional
        Where to run; by default in this process.
    progress : Progress, optional
        Told of each block of images.
    tell : callable, optional
        Told of each state that is reached, from the first.
    say : callable, optional
        Told in words what a person should know: the memory that is needed, a batch that had to
        be halved.

    Returns
    -------
    Iterated

    Raises
    ------
    InputError
        There is no such stack or it has no images, a shard is damaged, the folder holds another
        loop, or the workers have too little memory.
    """
    reader = ImageReader(stack_path)
    path, folder = reader.layout.path, folder.absolute()
    if not reader.number:
        raise InputError(f"{path}: the stack has no images.")
    own_folder(folder, path, loop)
    state = _last_state(folder, loop)
    if state is None:
        first = _new_folder(folder / "000")
        state = loop.begin(first)
        _checkpoint(first, state)
    if tell is not None:
        tell(state)
    plan: MemoryPlan | None = None
    while not loop.is_done(state):
        here = folder / f"{_iteration(state):03d}"
        following = _new_folder(folder / f"{_iteration(state) + 1:03d}")
        expectation = loop.expectation(state, here, following)
        leaves = even_leaves(
            reader.number,
            reader.layout.images_per_chunk,
            int(expectation.images_per_leaf / min(1.0, expectation.share)),
        )
        if plan is None:
            plan = plan_memory(client, path, loop.largest(state, here), len(leaves))
            if say is not None:
                say(plan.words)
        before = here / _RESULTS if count_results(here / _RESULTS) == reader.number else None
        work = _Work(path, expectation, following / _RESULTS, before, plan, following)
        images = [len(chosen_images(expectation, leaf)) for leaf in leaves]
        done = progress.track(expectation.name, sum(images)).advance if progress else None
        with heard(client, say):
            state = run_tree(work, leaves, images, client, done)
        _see_results(following / _RESULTS, sum(images))
        _checkpoint(following, state)
        for old in folder.glob("[0-9]*"):
            if int(old.name) < _iteration(state) - 1:
                shutil.rmtree(old, ignore_errors=True)
        if tell is not None:
            tell(state)
    _clear_shelves(client)
    last = folder / f"{_iteration(state):03d}"
    return Iterated(state, last, gather(last / _RESULTS))


def _see_results(folder: Path, number: int) -> None:
    """Wait until the results that workers have written are seen here too."""
    until = time.monotonic() + _PATIENCE
    while count_results(folder) < number:
        if time.monotonic() > until:
            raise InputError(
                f"{folder}: the workers wrote the results of {number} images, but here those of "
                f"{count_results(folder)} are seen; the output must be on a file system that all "
                "machines share."
            )
        time.sleep(0.2)


def _clear_shelves(client: Client | None) -> None:
    """Let go of what was kept for this loop."""
    clear()
    if client is not None:
        client.run(clear)


def _iteration(state: Any) -> int:
    return int(state.iteration)


def _new_folder(folder: Path) -> Path:
    """Make the folder of an iteration, without what an interrupted one may have left."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / _RESULTS).mkdir(parents=True)
    return folder


def _checkpoint(folder: Path, state: Any) -> None:
    text = json.dumps(asdict(state)).encode()
    with write_whole(folder / _STATE_FILE, len(text)) as stream:
        stream.write(text)


def _last_state(folder: Path, loop: Loop[S]) -> S | None:
    """Read the state of the last complete iteration."""
    files = sorted(folder.glob(f"[0-9]*/{_STATE_FILE}"), key=lambda file: int(file.parent.name))
    return loop.state_type(**json.loads(files[-1].read_text())) if files else None
