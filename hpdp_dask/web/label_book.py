"""What all visitors of a label page share: the labels, the orders of frames, the estimate."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.spi.choose import choose_frames, describe_by_columns, draw_candidates
from hpdp_dask.spi.label_estimate import Estimate, estimate, missing_labels
from hpdp_dask.spi.labels import Act, LabelLog, check_inside
from hpdp_dask.stacks.frame_schema import FRAME_VARIABLES
from hpdp_dask.web.label_orders import arrange, name_filters, name_orders, passing
from hpdp_dask.web.label_source import LabelSource

#: Keys that set labels are 1 to 9.
MOST_CLASSES = 9

#: Columns that are told first of a frame.
_NUMBERS = {
    name: place
    for place, name in enumerate(
        (
            *("lit_pixels", "photon_count", "particle_size", "size_score", "hit", "hit_score"),
            *("lambda_score", "background_scale", "train_id", "pulse_id", "cell_id"),
        )
    )
}

#: Frames without a label on which the accepted share is found.
_ESTIMATED = 2000

#: Least seconds between two looks at the file of labels.
_LOOK = 0.4


class LabelBook:
    """The labels of a set of frames, and in which order to show the frames.

    May be asked from several threads.

    Parameters
    ----------
    source : LabelSource
    classes : sequence of str
        In the order of their keys.
    log : LabelLog
    threshold : float
        Probability from which on a frame is accepted, for the estimate.
    seed : int
        Of random orders and of the choice.

    Raises
    ------
    InputError
        The classes are fewer than two, or more than there are keys, or the log has labels of
        frames that are not there.
    """

    def __init__(
        self,
        source: LabelSource,
        classes: Sequence[str],
        log: LabelLog,
        *,
        threshold: float = 0.75,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.log = log
        self._threshold = threshold
        self._seed = seed
        #: All acts in their order; what a page has not seen of it, it is told.
        self.acts: list[Act] = []
        #: Changes when the log was replaced and pages must begin anew.
        self.epoch = 0
        self._lock = threading.RLock()
        self._looked = 0.0
        self._written: set[str] = set()
        self._pools: dict[tuple[str, int], tuple[np.ndarray, np.ndarray | None]] = {}
        self.look(now=True)
        given = [name.strip() for name in classes]
        found = sorted(set(self.log.labels.values()) - set(given))
        self.classes = _check_classes([*given, *found])

    def look(self, *, now: bool = False) -> None:
        """Read what others have added to the log.

        Parameters
        ----------
        now : bool, optional
            Even if that was done a moment ago.

        Raises
        ------
        InputError
            The log has become unreadable, or has labels of frames that are not there.
        """
        with self._lock:
            if not now and time.monotonic() - self._looked < _LOOK:
                return
            self._looked = time.monotonic()
            before = self.log.identity
            found = self.log.refresh()
            if before is not None and self.log.identity != before:
                self.acts = []
                self.epoch += 1
            self.acts += found
            check_inside({act.frame: None for act in found}, self.source.number, self.log.path)

    def save(self, acts: Iterable[tuple[str, int, str | None]], person: str) -> None:
        """Write acts; those that were written already are left out.

        Parameters
        ----------
        acts : iterable of (str, int, str or None)
            A name of the act that no other has, the frame, and the label.
        person : str

        Raises
        ------
        OSError
            They could not be written.
        InputError
            A frame or a label is not there.
        """
        with self._lock:
            new = {name: (frame, label) for name, frame, label in acts if name not in self._written}
            for frame, label in new.values():
                if not 0 <= frame < self.source.number or label not in (None, *self.classes):
                    raise InputError(f"There is no frame {frame}, or no class {label}.")
            if new:
                self.log.write(list(new.values()), person)
                self._written.update(new)
            self.look(now=True)

    @property
    def revision(self) -> tuple[int, int]:
        """Changes with every act."""
        return self.epoch, len(self.acts)

    def labels(self) -> np.ndarray:
        """Give the labels of all frames, (n,) of str; empty for none."""
        with self._lock:
            held = self.log.labels
            number = self.source.number
        longest = max(map(len, [*held.values(), *self.classes]))
        labels = np.full(number, "", dtype=f"<U{longest}")
        inside = [frame for frame in held if frame < number]
        labels[inside] = [held[frame] for frame in inside]
        return labels

    def orders(self) -> dict[str, str]:
        """Name the orders that there are, by their keys."""
        return name_orders(self.source.columns)

    def filters(self) -> dict[str, str]:
        """Name the filters that there are, by their keys."""
        return name_filters(self.source.columns, self.classes)

    def arrange(self, order: str, only: str) -> np.ndarray:
        """Put frames in an order; not that of instruction, which changes with each label.

        Parameters
        ----------
        order, only : str
            Keys of `orders` and `filters`.

        Returns
        -------
        (m,) ndarray of int
        """
        labels = self.labels()
        frames = np.flatnonzero(passing(only, self.source.columns, labels))
        if order == "review":
            with self._lock:
                last = {act.frame: place for place, act in enumerate(self.acts)}
            held = frames[labels[frames] != ""].tolist()
            return np.array(sorted(held, key=lambda frame: -last[frame]), np.int64)
        return arrange(order, frames, self.source.columns, self._seed)

    def instructive(self, only: str, number: int, taken: Iterable[int] = ()) -> np.ndarray:
        """Choose frames that teach most.

        Parameters
        ----------
        only : str
            Key of `filters`.
        number : int
        taken : iterable of int, optional
            Frames that somebody has before him already.

        Returns
        -------
        (number,) ndarray of int
            Fewer where there are no more.
        """
        pool, features = self._pool(only)
        labels = self.labels()
        keep = passing(only, self.source.columns, labels) & (labels == "")
        keep[[frame for frame in taken if 0 <= frame < len(keep)]] = False
        labelled = np.setdiff1d(np.flatnonzero(labels != ""), pool)
        if features is not None and len(labelled):
            added = self._features_of(labelled)
            assert added is not None
            features = np.concatenate([features, added])
        among = np.concatenate([pool, labelled])
        chosen = choose_frames(
            features, labels[among], number, excluded=~keep[among], seed=self._seed
        )
        return among[chosen]

    def estimate(self) -> tuple[Estimate | None, str]:
        """Estimate the precision with the labels that there are, or say what is lacking."""
        labels = self.labels()
        labelled = np.flatnonzero(labels != "")
        pool, features = self._pool("")
        if features is None or self.source.features(pool[:1]) is None:
            return None, "no estimate without features (hpdp spi features)"
        lacking = missing_labels(labels, self.classes)
        if lacking:
            words = " and ".join(f"{more} more {name}" for name, more in lacking.items())
            return None, f"an estimate needs {words}"
        others = np.random.default_rng(self._seed).permutation(np.setdiff1d(pool, labelled))
        among = np.concatenate([labelled, others[:_ESTIMATED]])
        found = self._features_of(among)
        assert found is not None
        return estimate(found, labels[among], threshold=self._threshold, seed=self._seed), ""

    def numbers(self, frame: int) -> list[tuple[str, str]]:
        """Tell what is known of a frame, as names and values with units."""
        columns = self.source.columns
        order = sorted(columns, key=lambda name: (_NUMBERS.get(name, len(_NUMBERS)), name))
        told = []
        for name in order:
            spec = FRAME_VARIABLES.get(name)
            unit = f" {spec.unit}" if spec is not None and spec.unit in ("Å", "J") else ""
            value = _spoken(columns[name][frame])
            if value:
                title = name.replace("label", "predicted", 1).replace("_", " ")
                told.append((title, value + unit))
        return told

    def _pool(self, only: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Give the frames among which is chosen and what describes them; read once."""
        only = only if only.startswith(("hit", "predicted")) else ""  # those without labels
        key = only, self.source.number
        if key not in self._pools:
            self._pools = {kept: found for kept, found in self._pools.items() if kept[1] == key[1]}
            allowed = passing(only, self.source.columns, np.full(key[1], ""))
            pool = draw_candidates(np.flatnonzero(allowed), self._seed)
            self._pools[key] = pool, self._features_of(pool)
        return self._pools[key]

    def _features_of(self, frames: np.ndarray) -> np.ndarray | None:
        found = self.source.features(frames)
        if found is None:
            columns = {name: values[frames] for name, values in self.source.columns.items()}
            found = describe_by_columns(columns)
        return None if found is None else np.asarray(found, np.float64)


def _check_classes(classes: Sequence[str]) -> tuple[str, ...]:
    names = ", ".join(classes)
    if len(classes) < 2 or not all(classes):
        raise InputError(
            f"The classes are {names or 'none'}; expected two or more words, as in "
            "--classes single,other."
        )
    if len(set(classes)) < len(classes):
        raise InputError(f"The classes are {names}; expected each of them once.")
    if len(classes) > MOST_CLASSES:
        raise InputError(
            f"There are {len(classes)} classes with those in the log ({names}); expected "
            f"{MOST_CLASSES} or fewer, one for each key from 1 to {MOST_CLASSES}."
        )
    return tuple(classes)


def _spoken(value: Any) -> str:
    """Write a value for people; nothing if it is not known."""
    if isinstance(value, str):
        return value
    if isinstance(value, np.floating | float):
        return f"{value:.4g}" if np.isfinite(value) else ""
    return str(value)
