"""Frames that were measured before there was a model get their labels when workers have time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from hpdp_dask.dataflow.futures import Refusal
from hpdp_dask.dataflow.stream.batches import Source, ids_of
from hpdp_dask.dataflow.stream.report import Report
from hpdp_dask.dataflow.stream.task import Labelling, Recipe, label_batches
from hpdp_dask.dataflow.stream.tasks import Tasks

if TYPE_CHECKING:
    from distributed import Future

#: Below that of tasks that measure frames.
_PRIORITY = -10

#: So many frames a task.
_FRAMES = 1024


class Earlier:
    """The batches that a model has not labelled yet.

    Parameters
    ----------
    source : Source
    recipe : Recipe
    tasks : Tasks
    labelled : callable
        Told of batches that were labelled: the model, their names, the report, or the reason why
        they could not be.
    later : callable
        Has something done in the thread that everything here is called in.
    """

    def __init__(
        self,
        source: Source,
        recipe: Recipe,
        tasks: Tasks,
        labelled: Callable[[str, list[str], Report | Refusal], None],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self._source = source
        self._recipe = recipe
        self._tasks = tasks
        self._labelled = labelled
        self._later = later
        self._left: deque[str] = deque()
        self._labelling: Labelling | None = None
        self.running = 0

    def begin(self, labelling: Labelling, names: Iterable[str]) -> None:
        """Begin with a model, which has to label these batches; others are forgotten."""
        self._labelling = labelling
        self._left = deque(names)

    def add(self, name: str) -> None:
        """Add a batch that was measured without the model."""
        self._left.append(name)

    def __len__(self) -> int:
        return len(self._left)

    def work(self) -> None:
        """Submit as many tasks as there are threads of workers, together with those that run."""
        while self._labelling is not None and self._left and self.running < self._tasks.lanes:
            names: list[str] = []
            frames = 0
            while self._left and frames < _FRAMES:
                names.append(self._left.popleft())
                first, last = ids_of(names[-1])
                frames += last - first + 1
            self._submit(names, self._labelling)

    def _submit(self, names: list[str], labelling: Labelling) -> None:
        again = self._source.again if self._source.keeps_frames else None
        self.running += 1
        self._tasks.submit(
            "label",
            f"{labelling.model} {names[0]}",
            lambda ended: self._later(partial(self._ended, labelling.model, names, ended)),
            label_batches,
            [(name, None if again is None else again(name)) for name in names],
            recipe=self._recipe,
            labelling=labelling,
            priority=_PRIORITY,
        )

    def _ended(self, model: str, names: list[str], future: Future) -> None:
        self.running -= 1
        self._labelled(model, names, self._tasks.outcome(future))
