"""The scenario beside a stream: a training set gathers, is labelled, and a classifier learns.

It watches what the stream measures and gives it a model when there is one; the stream never waits
for it, but with its end. All it knows is in the folder of the stream: the frames of the pool, the
log of labels, the models.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hpdp_dask.dataflow.stream.driver import Stream
from hpdp_dask.dataflow.stream.found import Found
from hpdp_dask.dataflow.stream.report import Report
from hpdp_dask.errors import InputError
from hpdp_dask.spi.choose import choose_frames
from hpdp_dask.spi.labels import LabelLog
from hpdp_dask.spi.stream.pool import Pool
from hpdp_dask.spi.stream.training import (
    FEWEST,
    Settings,
    Trained,
    train_model,
    trained_before,
)

State = Literal["measuring", "gathering", "labelling", "training", "classifying", "ended"]

#: Hits in the pool for each frame of the training set before people are asked to label, so that
#: there is something to choose from; and hits of a batch that are taken after that.
_CHOICE, _LATER = 5, 1

#: Frames that a person who stands for one is shown at a time.
_SHOWN = 8

#: When there are so many times the labels that a model learnt from, another one is trained.
_GROWTH = 1.5

#: Seconds between two looks.
_LOOK = 0.25

#: The log of labels, in the folder of the stream.
LABELS = "labels.jsonl"


@dataclass(frozen=True)
class Status:
    """Where the scenario is.

    Attributes
    ----------
    state : str
    words : str
        The same, for a person.
    gathered, labelled, wanted : int
        Hits in the pool, those with a label, labels that a training set needs.
    trained : tuple of Trained
    """

    state: State
    words: str
    gathered: int
    labelled: int
    wanted: int
    trained: tuple[Trained, ...]


class Scenario:
    """Gathering, labelling and training beside a stream; runs in a thread of its own.

    Parameters
    ----------
    stream : Stream
        Made with `hold` if `settings.learns`.
    settings : Settings
    found : Found
        The results of the stream.
    ask : callable, optional
        Called once, with the pool and the log of labels, when people may begin to label.
    say : callable, optional
        Told in words how far it is.

    Attributes
    ----------
    pool : Pool
    error : BaseException or None
        What ended it before its time.
    """

    def __init__(
        self,
        stream: Stream,
        settings: Settings,
        found: Found,
        *,
        ask: Callable[[Pool, Path], None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.pool = Pool(found, settings.seed)
        self.error: BaseException | None = None
        self._stream = stream
        self._settings = settings
        self._ask = ask
        self._say = say or (lambda words: None)
        self._folder = found.folder.path
        self._log = LabelLog(self._folder / LABELS)
        self._batches: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._asked = False
        self._again = threading.Event()
        self._trained = trained_before(self._folder)
        self._refused = (-1, "")
        self._labelled = 0
        self._answered = np.zeros(0, np.str_)
        self._state: State = "gathering" if settings.learns else "measuring"
        self._thread = threading.Thread(target=self._run, name="hpdp-scenario", daemon=True)
        stream.listen(self._hear)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait until it has ended, with the stream.

        Raises
        ------
        BaseException
            What ended it.
        """
        self._thread.join()
        if self.error is not None:
            raise self.error

    def train_again(self) -> None:
        """Train another model with the labels that there are now."""
        self._again.set()

    @property
    def status(self) -> Status:
        """Where it is."""
        words = {
            "measuring": "measuring frames; no classifier was asked for",
            "gathering": "gathering hits to label",
            "labelling": "waiting for labels",
            "training": "training a classifier",
            "classifying": "classifying all frames",
            "ended": "ended",
        }[self._state]
        if not self._trained and self._refused[1]:
            words += f": {self._refused[1]}"
        return Status(
            self._state,
            words,
            self.pool.number,
            self._labelled,
            self._settings.training_size,
            tuple(self._trained),
        )

    @property
    def trouble(self) -> str:
        """Why there is no model though one was asked for; empty if there is."""
        return "" if self._trained else self._refused[1]

    def labels_by_id(self) -> dict[int, str]:
        """Give the labels of the pool by the ids of frames."""
        pairs = zip(self.pool.ids.tolist(), self._labels().tolist(), strict=True)
        return {frame: label for frame, label in pairs if label}

    def _hear(self, name: str, report: Report) -> None:
        if report.chosen:
            self._batches.put(name)

    def _run(self) -> None:
        try:
            if self._settings.learns:
                self._recover()
                while not self._stream.ended.is_set():
                    self._gather()
                    self._learn()
                    self._stream.ended.wait(_LOOK)
        except BaseException as error:
            self.error = error
            self._stream.stop("leave")
        finally:
            self._state = "ended"

    def _recover(self) -> None:
        """Take up the pool again, and what was measured before if it is not full."""
        self.pool.recover()
        for name in sorted(self._stream.folder.done() - self.pool.batches):
            if self.pool.number >= self._enough or self._stream.ended.is_set():
                return
            self._take(name)

    @property
    def _enough(self) -> int:
        """Tell how many hits make a pool to choose from."""
        wanted, known = self._settings.training_size, self._settings.known
        few = known is not None and len(known) < _CHOICE * wanted
        return wanted if few else _CHOICE * wanted

    def _take(self, name: str) -> None:
        """Take hits of a batch: all at first, later few."""
        among = None if self._settings.known is None else np.array(list(self._settings.known))
        if self.pool.number < self._enough:
            self.pool.add(name, among=among)
        elif among is None:
            self.pool.add(name, most=_LATER)

    def _gather(self) -> None:
        """Take hits of the batches that have come into the pool."""
        while not self._batches.empty():
            name = self._batches.get()
            if name not in self.pool.batches and not self.pool.is_full:
                self._take(name)
        if self._state == "gathering" and self._is_gathered():
            self._state = "labelling"
        if self._state != "gathering" and not self._asked and self.pool.number:
            self._asked = True
            if self._ask is not None:
                self._ask(self.pool, self._folder / LABELS)

    @property
    def _no_more(self) -> bool:
        """Tell whether all hits there will be have come."""
        return self._stream.source_ended and self._batches.empty()

    def _is_gathered(self) -> bool:
        """Tell whether there are hits enough, or no more will come."""
        return self.pool.number >= self._enough or self._no_more

    def _labels(self) -> np.ndarray:
        """Give the labels of the frames of the pool, (n,) of str; empty for none."""
        if self._settings.known is not None:
            return self._answer(np.array([self._settings.known[frame] for frame in self.pool.ids]))
        self._log.refresh()
        labels = self._log.labels
        return np.array([labels.get(place, "") for place in range(self.pool.number)], np.str_)

    def _answer(self, known: np.ndarray) -> np.ndarray:
        """Label as a person would whom the page shows the frames that teach most, a few a time.

        Parameters
        ----------
        known : (n,) ndarray of str
            What the person would say.

        Returns
        -------
        (n,) ndarray of str
            Empty but for a training set.
        """
        if len(self._answered) != len(known):
            features = self.pool.features(np.arange(len(known)))
            labels = np.full_like(known, "")
            wanted = min(self._settings.training_size, len(known))
            while (left := wanted - int(np.count_nonzero(labels != ""))) > 0:
                shown = choose_frames(features, labels, min(left, _SHOWN), seed=self._settings.seed)
                labels[shown] = known[shown]
            self._answered = labels
        return self._answered

    def _learn(self) -> None:
        """Train a classifier if there are labels enough, or more than before."""
        if self._state == "gathering":
            return
        labels = self._labels()
        self._labelled = number = int(np.count_nonzero(labels != ""))
        asked = self._again.is_set()
        if number != self._refused[0] and (asked or self._is_due(number)):
            self._again.clear()
            self._state = "training"
            try:
                self._train(labels)
                self._refused = -1, ""
            except InputError as error:
                self._refused = number, str(error)
            self._state = "classifying" if self._trained else "labelling"
        if self._trained or self._is_hopeless():
            self._stream.release()

    def _is_due(self, labels: int) -> bool:
        """Tell whether so many labels are enough for a model, or for a better one."""
        if self._trained:
            grown = labels >= _GROWTH * self._trained[-1].labels
            return grown and self._settings.known is None
        wanted = self._settings.training_size
        if self._no_more:
            wanted = min(wanted, self.pool.number)
        return labels >= wanted

    def _is_hopeless(self) -> bool:
        """Tell whether there will be no model: nobody will say more about what has come."""
        if not self._no_more:
            return False
        if self.pool.number < FEWEST:
            self._refused = self._labelled, f"only {self.pool.number} hits can be labelled"
            return True
        return self._settings.known is not None and self._refused[0] == self._labelled

    def _train(self, labels: np.ndarray) -> None:
        labelling, trained = train_model(
            self.pool, labels, self._settings, self._stream.folder.path
        )
        self._stream.put_model(labelling)
        self._trained.append(trained)
        self._say(
            f"Model {trained.name}: trained on {trained.labels} labels in {trained.seconds:.1f} s; "
            "frames are classified as they come, and those before when there is time"
        )
