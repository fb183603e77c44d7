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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hpdp_dask.dataflow.announcements import shown_loop
from hpdp_dask.dataflow.forecast import plan_memory
from hpdp_dask.dataflow.futures import connected
from hpdp_dask.dataflow.kept import clear
from hpdp_dask.dataflow.leaves import even_leaves, own_folder
from hpdp_dask.dataflow.loops import Loop
from hpdp_dask.dataflow.passes import Pass, chosen_images
from hpdp_dask.dataflow.progress import Progress
from hpdp_dask.dataflow.results import Rows, count_results, gather
from hpdp_dask.dataflow.running import run_tree
from hpdp_dask.errors import InputError
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    from distributed import Client

S = TypeVar("S")

#: How long a network file system may take to show what others wrote, seconds.
_PATIENCE = 60.0

_STATE_FILE, _RESULTS = "state.json", "results"


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
        be halved, a worker that is stuck.

    Returns
    -------
    Iterated

    Raises
    ------
    InputError
        There is no such stack or it has no images, a shard is damaged, the folder holds another
        loop, the workers have too little memory, or the scheduler was lost.
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
    on_disk = None
    with (
        connected(client, f"{path}, {loop.name}"),
        shown_loop(loop.name, client=client, progress=progress) as shown,
    ):
        shown.reach(state)
        while not loop.is_done(state):
            here = folder / f"{_iteration(state):03d}"
            following = _new_folder(folder / f"{_iteration(state) + 1:03d}")
            expectation = loop.expectation(state, here, following)
            leaves = even_leaves(
                reader.number,
                reader.layout.images_per_chunk,
                int(expectation.images_per_leaf / min(1.0, expectation.share)),
            )
            # anew for each pass: workers come and go, and those that come may be smaller
            plan = plan_memory(client, path, loop.largest(state, here), len(leaves), say)
            if say is not None and plan.on_disk != on_disk:
                say(plan.words)
            on_disk = plan.on_disk
            before = here / _RESULTS if count_results(here / _RESULTS) == reader.number else None
            work = Pass(
                path,
                expectation,
                following / _RESULTS,
                before,
                plan,
                following,
                backed=client is not None,
            )
            images = [len(chosen_images(expectation, leaf)) for leaf in leaves]
            done = shown.begin_pass(expectation.name, sum(images), _iteration(state) + 1)
            state = run_tree(work, leaves, images, client, done, say)
            _see_results(following / _RESULTS, sum(images))
            _checkpoint(following, state)
            for sums in following.glob("leaf-*"):
                sums.unlink(missing_ok=True)
            for old in folder.glob("[0-9]*"):
                if int(old.name) < _iteration(state) - 1:
                    shutil.rmtree(old, ignore_errors=True)
            shown.reach(state)
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
        # of workers that leave meanwhile nothing is wanted
        client.run(clear, on_error="ignore")


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
