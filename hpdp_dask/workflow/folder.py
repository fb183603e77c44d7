"""The folder that a command writes: whole or not at all, with `run.json`, resumable after a crash.

All work happens in a hidden folder beside the one that was asked for, `.NAME.partial`, which is
renamed when the last file is in it. A mistake of the user or a full disk takes it away again, but
for what took long to make. An interrupt or a crash leaves it if there is something to go on from:
what a stage put into `RunFolder.scratch`, its durable leaves and checkpoints.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdp_dask.errors import BEGIN_ANEW, InputError
from hpdp_dask.stacks.claim import claimed
from hpdp_dask.workflow.left_over import SCRATCH, holds_anything, holds_work, went_before
from hpdp_dask.workflow.record import (
    RUN_FILE,
    RunRecord,
    Stage,
    cpu_seconds,
    start_record,
    write_run,
)

if TYPE_CHECKING:
    from distributed import Client

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class RunFolder:
    """A folder that is being written, and the record of its making.

    Attributes
    ----------
    path : Path
        Where to write results. It is not yet the folder that was asked for: paths below it must
        not go into the results themselves.
    target : Path
        The folder that was asked for, for messages.
    scratch : Path
        A folder for durable leaves and checkpoints. It outlives a crash, and is emptied unless
        the run resumes; on success it is removed.
    record : RunRecord
        What `run.json` will say, so far.
    """

    def __init__(self, path: Path, target: Path, record: RunRecord) -> None:
        self.path = path
        self.target = target
        self.scratch = path / SCRATCH
        self.record = record
        self._running: Stage | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside, wall clock and CPU, under the name of a stage.

        A name that comes again, in iterations, adds to its stage. Stages do not nest.
        """
        if self._running is not None:
            raise RuntimeError(f"stage {name!r} begins inside stage {self._running.name!r}")
        known = {stage.name: stage for stage in self.record.stages}
        stage = known.get(name) or Stage(name=name)
        if name not in known:
            self.record.stages.append(stage)
        self._running = stage
        wall, cpu = time.perf_counter(), cpu_seconds()
        try:
            yield
        finally:
            stage.times += 1
            stage.wall_seconds += time.perf_counter() - wall
            # a worker that was orphaned takes its time with it
            stage.cpu_seconds += max(0.0, cpu_seconds() - cpu)
            self._running = None

    def images(self, number: int) -> None:
        """Count images that the running stage has worked on."""
        if self._running is None:
            raise RuntimeError("images are counted inside a stage")
        self._running.images += number

    def warn(self, sentence: str) -> None:
        """Add a warning to the record and the report."""
        self.record.warnings = [*self.record.warnings, sentence]

    def finish(
        self, results: Mapping[str, Any], *, cluster: Mapping[str, Any] | None = None
    ) -> RunRecord:
        """Tell what came out, and give the record for the report.

        Parameters
        ----------
        results : mapping
            The numbers that came out, by name: resolution, particles.
        cluster : mapping, optional
            Where the work ran: workers, threads, memory.

        Returns
        -------
        RunRecord
            With `ended` set to now; `run.json` is written when the folder is done.
        """
        self.record.results = dict(results)
        self.record.cluster = dict(cluster or {})
        self.record.ended = datetime.now(UTC)
        return self.record


@contextmanager
def output_folder(
    path: str | Path,
    *,
    command: Sequence[str],
    parameters: Mapping[str, Any],
    inputs: Sequence[Path],
    seed: int | None,
    overwrite: bool,
    resume: bool = False,
    adjustable: Collection[str] = (),
    say: Callable[[str], None] | None = None,
    client: Client | None = None,
) -> Iterator[RunFolder]:
    """Make an output folder: it appears, complete, when the block ends without an error.

    Parameters
    ----------
    path : path
        The folder to make. Its parent is there already.
    command : list of str
        The words of the command line, for the record.
    parameters : mapping
        Every choice that the result depends on, defaults included; not where the work runs.
    inputs : sequence of Path
        Files and folders that are read; their digests go into the record.
    seed : int or None
    overwrite : bool
        Whether a folder of that name, made by an earlier run, may be replaced. It stays as it is
        until the new one is complete.
    resume : bool, optional
        Go on from what an interrupted run left in its scratch, if that run was the same: verb,
        parameters, seed, contents of the inputs and version of the program; else start anew.
        `record.resumed` tells which.
    adjustable : collection of str, optional
        Parameters that may be others than those of the run that is gone on from, by their names,
        as `training.rate` where it is nested. `record.warnings` tells what they were.
    say : callable, optional
        Told at once what `record.warnings` tells of the way the run begins.
    client : distributed.Client, optional
        The cluster; its workers' logs are kept in `logs` of the folder.

    Yields
    ------
    RunFolder

    Raises
    ------
    InputError
        If the folder exists, may not be replaced or cannot be made, an input is not there, another
        run is writing the same folder, or the disk is full; nothing new is left then, but for
        sums and iterations that `resume` goes on from.
    """
    target = Path(path).resolve()
    _check_target(target, overwrite)
    for source in inputs:
        if Path(source).resolve().is_relative_to(target):
            raise InputError(
                f"{target}: replacing this folder would remove the input {source}; "
                "choose another name for the output."
            )
    record = start_record(command, parameters, inputs, seed)
    partial = target.with_name(f".{target.name}.partial")
    with claimed(partial, target):
        try:
            record.resumed = resume and went_before(partial, record, adjustable)
            if not resume and holds_work(partial / SCRATCH):
                record.warnings = [
                    f"Begun anew: what an interrupted run had left in {partial} was removed, "
                    "since --resume was left out."
                ]
            _clear(partial, keep_scratch=record.resumed)
            run = RunFolder(partial, target, record)
            write_run(record, partial)
            if say is not None:
                for sentence in record.warnings:
                    say(sentence)
            with _logs_of(client, partial / "logs"):
                yield run
            record.ended = datetime.now(UTC)
            write_run(record, partial)
        except InputError as error:
            if str(error).endswith(BEGIN_ANEW):
                raise
            # hours of sums must not go because a worker was too small or an option wrong
            if holds_work(partial / SCRATCH):
                raise InputError(
                    f"{error} What was done is kept in {partial}; --resume goes on from it."
                ) from error
            shutil.rmtree(partial, ignore_errors=True)
            raise
        except BaseException as error:
            full = _disk_full(error)
            if full is not None:
                kept = holds_work(partial / SCRATCH)
                if not kept:
                    shutil.rmtree(partial, ignore_errors=True)
                raise InputError(
                    f"{full.filename or target}: {full.strerror}; nothing was written to "
                    f"{target}, free some space"
                    + (
                        f"; what was done is kept in {partial}, --resume goes on from it."
                        if kept
                        else " or choose another disk for the output."
                    )
                ) from error
            if holds_anything(partial / SCRATCH):
                error.add_note(f"What was done is kept in {partial}; --resume goes on from it.")
            else:
                shutil.rmtree(partial, ignore_errors=True)
            raise
        _publish(partial, target, overwrite)


@contextmanager
def _logs_of(client: Client | None, folder: Path) -> Iterator[None]:
    """Keep the logs of workers when a block ends, if there are any workers."""
    if client is None:
        yield
        return
    from hpdp_dask.cluster.reports import worker_logs

    with worker_logs(client, folder):
        yield


def _check_target(target: Path, overwrite: bool) -> None:
    """Refuse a folder that cannot be made, or whose loss nobody asked for."""
    if not os.path.isdir(target.parent):
        raise InputError(
            f"{target}: the folder {target.parent} to hold it does not exist; make it first."
        )
    if not os.path.exists(target):
        return
    if not target.is_dir():
        raise InputError(f"{target}: this is a file, expected the name of a folder to make.")
    if not overwrite:
        raise InputError(
            f"{target}: exists already; choose another name, or --overwrite to replace it."
        )
    # a slip like `-o . --overwrite` must not cost what hpdp did not make
    if holds_anything(target) and not (target / RUN_FILE).is_file():
        raise InputError(
            f"{target}: holds no {RUN_FILE}, so hpdp did not make it and will not replace it; "
            "choose another name, or remove it yourself."
        )


def _clear(partial: Path, keep_scratch: bool) -> None:
    """Empty the hidden folder of what an earlier run left, but for a scratch to go on from."""
    for entry in partial.iterdir():
        if entry.name == SCRATCH and keep_scratch:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (partial / SCRATCH).mkdir(exist_ok=True)


def _publish(partial: Path, target: Path, overwrite: bool) -> None:
    """Give the finished folder its name, in place of an earlier one if that was asked for."""
    # a network file system keeps names of files that a worker still maps; they are no failure
    shutil.rmtree(partial / SCRATCH, ignore_errors=True)
    if not target.exists():
        partial.rename(target)
        return
    if not overwrite:
        raise InputError(
            f"{target}: was made by someone else while this ran; the results are in {partial}."
        )
    replaced = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    target.rename(replaced)
    partial.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)


def _disk_full(error: BaseException) -> OSError | None:
    """Find a full disk or an exhausted quota among an error and its causes."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in _DISK_FULL:
            return found
        found = found.__cause__ or found.__context__
    return None
