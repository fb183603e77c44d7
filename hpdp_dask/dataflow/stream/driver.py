"""Images that arrive while you work: a stream of frames through the same measures as stored ones.

A thread asks the source for batches, as many as may be under way; each becomes one task on a
worker, which writes what it finds under the batch's name into the folder of the stream
(`folder`). Only counts come back. So nothing depends on a worker or on this process: who
takes up the folder again goes on with the batches that have no results.

A model may be put in place at any time (`Stream.put_model`). Batches that begin after that are
labelled in their task; those before are labelled by tasks of low priority, when workers have
nothing better to do.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from hpdp_dask.dataflow.announcements import Announcement
from hpdp_dask.dataflow.futures import Refusal, connected
from hpdp_dask.dataflow.stream.asking import Asking
from hpdp_dask.dataflow.stream.batches import Aside, Batch, Source
from hpdp_dask.dataflow.stream.earlier import Earlier
from hpdp_dask.dataflow.stream.figures import Figures
from hpdp_dask.dataflow.stream.folder import StreamFolder
from hpdp_dask.dataflow.stream.report import Report
from hpdp_dask.dataflow.stream.shared import share, shared_by_frames, warm_up
from hpdp_dask.dataflow.stream.task import (
    Labelling,
    Recipe,
    labels_of_all,
    measure_batch,
    report_of_all,
)
from hpdp_dask.dataflow.stream.tasks import Tasks
from hpdp_dask.dataflow.stream.totals import Sums, Token, Total, add_up
from hpdp_dask.dataflow.watch import watched
from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

#: Batches under way for each thread of the workers: one that runs and one that waits.
_AHEAD = 2

#: So many batches that fail, and none that does not, end the stream.
_HOPELESS = 5

#: Batches of an earlier process that one task reports on.
_REPORTED = 500

#: How often to look how many workers there are, and how long to wait for something, seconds.
_LOOK, _PATIENCE = 5.0, 0.2

#: What happens when a stream is stopped: all that was taken is finished and labelled; or only
#: what is under way, and the rest is left for who goes on.
Ending = Literal["finish", "leave"]


class Stream:
    """A stream of frames on a cluster. `run` works until it ends; all else from any thread.

    Parameters
    ----------
    source : Source
    recipe : Recipe
        Its folder must be there, and be no other stream's.
    client : distributed.Client
    shared : xarray.Dataset, optional
        Geometry and mask, in place of what the source knows of them.
    labelling : Labelling, optional
        A model that is in place from the start.
    hold : bool, optional
        Do not end with the source, but wait for `release`.
    say : callable, optional
        Told in words what a person should know.

    Attributes
    ----------
    figures : Figures
    """

    def __init__(
        self,
        source: Source,
        recipe: Recipe,
        *,
        client: Client,
        shared: xr.Dataset | None = None,
        labelling: Labelling | None = None,
        hold: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.source = source
        self.recipe = recipe
        self.folder = StreamFolder(recipe.folder)
        self.figures = Figures(recipe.traces, recipe.rankings)
        self.ended = threading.Event()
        self._client = client
        self._shared = shared
        self._labelling = labelling
        self._say = say
        self._held = hold
        self._ending: Ending | None = None
        self._left = False
        self._source_ended = False
        self._running: set[str] = set()
        self._done: set[str] = set()
        self._failed = 0
        self._looked = float("-inf")
        self._listeners: list[Callable[[str, Report], None]] = []
        # what is to be done in the thread of `run`, which alone changes anything here
        self._to_do: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._announcement = Announcement(client, "stream")
        self._tasks = Tasks(client)
        self._sums = Sums(recipe.folder / "sums", recipe.totals, self._add_up)
        self._earlier = Earlier(source, recipe, self._tasks, self._labelled, self._to_do.put)
        self._asking = Asking(
            source,
            batch=lambda batch: self._to_do.put(partial(self._measure, batch)),
            aside=lambda aside: self._to_do.put(partial(self._set_aside, aside)),
            end=lambda: self._to_do.put(self._end_source),
            fail=lambda error: self._to_do.put(partial(self._raise, error)),
        )

    def listen(self, hear: Callable[[str, Report], None]) -> None:
        """Have every batch that is measured told: its name and what was found.

        Called in the thread of `run`, which it must not hold up.
        """
        self._listeners.append(hear)

    def put_model(self, labelling: Labelling) -> None:
        """Put a model in place: it labels all frames from now on, then those before."""
        self._to_do.put(partial(self._begin_model, labelling))

    def release(self) -> None:
        """Let the stream end with its source, if it was held."""
        self._held = False

    def stop(self, ending: Ending) -> None:
        """End the stream.

        Parameters
        ----------
        ending : {"finish", "leave"}
            Take no more frames and finish, labels included; or finish what is under way alone.
        """
        self._ending = ending
        self._asking.halt()

    @property
    def source_ended(self) -> bool:
        """Tell whether no more frames will come."""
        return self._source_ended and not self._running and self._to_do.empty()

    @property
    def is_ending(self) -> bool:
        """Tell whether it was stopped, or its source has ended."""
        return self._ending is not None or self._source_ended

    @property
    def was_left(self) -> bool:
        """Tell whether it was stopped before all was done."""
        return self._left

    @property
    def labelling(self) -> Labelling | None:
        """Give the model that labels frames now."""
        return self._labelling

    @property
    def done(self) -> set[str]:
        """Give the names of the batches that have results."""
        return set(self._done)

    def run(self) -> None:
        """Work until the source ends, or the stream is stopped.

        Raises
        ------
        InputError
            There is nothing at the source, the measures refuse its frames, or the scheduler was
            lost. What was done stays in the folder.
        """
        client, status = self._client, "failed"
        try:
            with connected(client, f"{self.source.words}, stream"), watched(client, self._say):
                self._begin()
                self._announcement.begin(self.source.number or 0)
                self._announcement.advance(self.figures.snapshot().frames)
                self._asking.start()
                self._work()
            status = "done"
        finally:
            self._asking.join()
            self.source.close()
            self._tasks.drop()
            self._announcement.end(status)
            self.ended.set()

    def _begin(self) -> None:
        """Find what was done before, and be ready for more."""
        self.folder.make()
        self._look()
        self._done = self.folder.done()
        self._recover()
        self._sums.recover(self._done, None)
        if self._labelling is not None:
            self._begin_model(self._labelling)
        if not self.folder.shared.exists():
            table = self._known_of_all()
            if table is not None and "mask" in table:
                share(self.recipe, table)
        if self.folder.shared.exists():
            self._tasks.on_each_worker(warm_up, recipe=self.recipe)
        self.source.begin(self.folder.path, self._done)

    def _known_of_all(self, geometry: int = 0) -> xr.Dataset | None:
        """Give what is known of all frames of a geometry, if anything."""
        return self._shared if self._shared is not None else self.source.shared(geometry)

    def _recover(self) -> None:
        """Count what earlier processes did, on the workers."""
        for report in self._reports(report_of_all, sorted(self._done)):
            self.figures.recover(report)
        for aside in self.folder.asides():
            # what failed is tried again
            if aside.reason != "failed":
                self.figures.set_aside(aside.reason, aside.frames)

    def _reports(self, task: Callable[..., Any], names: list[str], **words: Any) -> list[Report]:
        """Have workers report on batches that were done before."""
        parts = [names[first : first + _REPORTED] for first in range(0, len(names), _REPORTED)]
        found = self._tasks.gather(task, parts, recipe=self.recipe, **words)
        if refusal := next((each for each in found if isinstance(each, Refusal)), None):
            raise InputError(refusal.message)
        return found

    def _work(self) -> None:
        """Do what there is to do until that is all."""
        while not self._over():
            with suppress(queue.Empty):
                self._to_do.get(timeout=_PATIENCE)()
            self._look()
            waiting = len(self._running) > self._tasks.lanes
            if self._ending != "leave" and not waiting:
                self._earlier.work()
            self.figures.remember()

    def _over(self) -> bool:
        """Tell whether all is done that is to be done."""
        if not self._source_ended or self._running or not self._to_do.empty():
            return False
        if self._earlier.running or self._sums.running:
            return False
        if self._ending == "leave":
            self._left = True
            return True
        return not self._earlier and not (self._held and self._ending is None)

    def _end_source(self) -> None:
        self._source_ended = True

    def _raise(self, error: BaseException) -> None:
        raise error

    def _look(self) -> None:
        """Look, now and then, how many workers there are and how far the source is ahead."""
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        self._tasks.look()
        self._asking.set_room(_AHEAD * self._tasks.lanes)
        self.figures.waiting = self.source.waiting() if self._done or self._running else 0
        self.figures.missing = getattr(self.source, "missing", 0)

    def _measure(self, batch: Batch) -> None:
        """Have a batch measured."""
        if not self.folder.shared_of(batch.geometry).exists() and not self._share(batch):
            return
        self._running.add(batch.name)
        self._tasks.submit(
            "measure",
            batch.name,
            lambda ended: self._to_do.put(partial(self._measured, batch, ended)),
            measure_batch,
            replace(batch, parts=()),
            recipe=self.recipe,
            labelling=self._labelling,
            bars=self.figures.bars,
        )

    def _share(self, batch: Batch) -> bool:
        """Write down what the frames of a geometry share, as the first ones come.

        Returns
        -------
        bool
            Whether they can be measured; if not, they are set aside.
        """
        try:
            table = shared_by_frames(self._known_of_all(batch.geometry), batch)
        except InputError as error:
            self._refused(batch, str(error))
            return False
        share(self.recipe, table, batch.geometry)
        return True

    def _measured(self, batch: Batch, future: Future) -> None:
        found = self._tasks.outcome(future)
        if isinstance(found, Refusal):
            self._refused(batch, found.message)
        else:
            self._asking.settled()
            self._take(batch, found)
        # who sees that nothing runs any more has been told of everything
        self._running.remove(batch.name)

    def _refused(self, batch: Batch, words: str) -> None:
        """Try the files of a batch one by one, or set it aside."""
        if batch.parts:
            self._asking.add(len(batch.parts) - 1)
            for part in batch.parts:
                self._measure(part)
        else:
            self._asking.settled()
            self._fail(batch, words)

    def _take(self, batch: Batch, found: Report) -> None:
        """Take what was found of a batch."""
        self._done.add(batch.name)
        self.source.settled(batch)
        for frame_id in self.figures.measured(found, batch.arrived):
            self.folder.drop_picture(frame_id)
        self._announcement.advance(found.frames)
        self._sums.part(batch.name, None)
        if found.model is not None:
            self._sums.part(batch.name, found.model)
        if self._labelling is not None and found.trouble is not None:
            self._tell(f"model {self._labelling.model}: {found.trouble}")
        elif self._labelling is not None and found.model != self._labelling.model:
            self._earlier.add(batch.name)
        for hear in self._listeners:
            hear(batch.name, found)

    def _fail(self, batch: Batch, words: str) -> None:
        """Set a batch aside that could not be measured."""
        self._set_aside(Aside("failed", f"frames {batch.name}", batch.frames, words))
        self._failed += 1
        if not self._done and self._failed >= _HOPELESS:
            raise InputError(
                f"{self.source.words}: the first {_HOPELESS} batches of frames all failed: {words}"
            )

    def _set_aside(self, aside: Aside) -> None:
        self.folder.set_aside(aside)
        self.figures.set_aside(aside.reason, aside.frames)

    def _tell(self, words: str) -> None:
        if self._say is not None:
            self._say(words)

    def _add_up(self, token: Token, files: list[Path], total: Total) -> None:
        self._tasks.submit(
            "sum",
            f"{token.total} {token.model} {files[0].stem}",
            lambda ended: self._to_do.put(partial(self._added, token, ended)),
            add_up,
            files,
            total,
        )

    def _added(self, token: Token, future: Future) -> None:
        found = self._tasks.outcome(future)
        if isinstance(found, Refusal):
            raise InputError(f"{self.folder.path}, sums of {token.total}: {found.message}")
        self._sums.added(token, found)

    def _begin_model(self, labelling: Labelling) -> None:
        """Have a model label what comes, and put what it has not labelled on its list."""
        self._labelling = labelling
        self.figures.begin_model(labelling)
        labelled = self.folder.labelled(labelling.model) & self._done
        for report in self._reports(labels_of_all, sorted(labelled), labelling=labelling):
            self.figures.labelled(report)
        self._sums.recover(labelled, labelling.model)
        self._earlier.begin(labelling, sorted(self._done - labelled))

    def _labelled(self, model: str, names: list[str], found: Report | Refusal) -> None:
        """Take labels of earlier batches."""
        if isinstance(found, Refusal):
            where = f"frames {names[0]} to {names[-1]}"
            self._tell(f"model {model} cannot label {where}: {found.message}")
            return
        self.figures.labelled(found)
        self.figures.add_seconds(found)
        for name in names:
            self._sums.part(name, model)
