"""The frames of a stream from which a training set is labelled."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hpdp_dask.dataflow.stream.batches import FRAME_ID
from hpdp_dask.dataflow.stream.found import Found
from hpdp_dask.stacks.frames import open_frames

#: Bytes of photons in the pool at most, and frames.
_MOST_BYTES, _MOST = 256 * 2**20, 5000

#: Which frames are in the pool, in the folder of the stream.
_LIST = "training.jsonl"


class Pool:
    """Hits of a stream, held in memory for the label page: a `LabelSource` that grows.

    Which ones they are is written down, so that they have the same numbers after a restart, which
    labels go by.

    Parameters
    ----------
    found : Found
        The results of the stream.
    seed : int
        For the choice among the hits of a batch.

    Attributes
    ----------
    batches : set of str
        Of which frames were taken.
    """

    def __init__(self, found: Found, seed: int) -> None:
        self.name = "hits of the stream"
        self._found = found
        self._seed = seed
        self._list: Path = found.folder.path / _LIST
        self._lock = threading.Lock()
        self._parts: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
        self._numbers: list[int] = []
        self.batches: set[str] = set()
        self.number = 0

    def recover(self) -> None:
        """Take the frames again that were taken before.

        Raises
        ------
        InputError
            Frames cannot be read again.
        """
        if self._list.exists():
            whole, _, _ = self._list.read_text(encoding="utf-8").rpartition("\n")
            for line in whole.splitlines():
                taken = json.loads(line)
                self._take(taken["batch"], np.array(taken["ids"]))
            self._list.write_text(whole + "\n" if whole else "", encoding="utf-8")

    @property
    def is_full(self) -> bool:
        """Tell whether no more frames are taken."""
        held = sum(photons.nbytes for photons, _ in self._parts)
        return held >= _MOST_BYTES or self.number >= _MOST

    def add(self, batch: str, most: int | None = None, among: np.ndarray | None = None) -> None:
        """Take hits of a batch, or some of them.

        Parameters
        ----------
        batch : str
            Its name; it has results.
        most : int, optional
            So many at most, drawn at random.
        among : (n,) ndarray of int, optional
            Only frames of these ids.
        """
        rows, columns = self._found.columns(batch)
        ids = columns[FRAME_ID][rows]
        if among is not None:
            ids = ids[np.isin(ids, among)]
        if most is not None and len(ids) > most:
            generator = np.random.default_rng([self._seed, int(ids[0])])
            ids = np.sort(generator.choice(ids, most, replace=False))
        if len(ids):
            self._take(batch, ids)
            with self._list.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"batch": batch, "ids": ids.tolist()}) + "\n")

    def _take(self, batch: str, ids: np.ndarray) -> None:
        rows, columns = self._found.columns(batch)
        hits = columns[FRAME_ID][rows]
        chosen = np.flatnonzero(np.isin(hits, ids))
        photons = self._found.photons(batch, hits)[chosen]
        with self._lock:
            self._parts.append(
                (photons, {name: values[rows][chosen] for name, values in columns.items()})
            )
            self._numbers.append(len(chosen))
            self.batches.add(batch)
            self.number += len(chosen)

    @property
    def ids(self) -> np.ndarray:
        """The ids of its frames in the stream."""
        return self._column(FRAME_ID)

    @property
    def mask(self) -> np.ndarray:
        """0 for good pixels."""
        return np.asarray(open_frames(self._found.folder.shared)["mask"].values)

    @property
    def positions(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Where the pixels are, if that is known."""
        shared = open_frames(self._found.folder.shared)
        if "pixel_x" not in shared:
            return None
        return shared["pixel_x"].values, shared["pixel_y"].values

    @property
    def columns(self) -> Mapping[str, np.ndarray]:
        """What is known of each frame, one number each."""
        with self._lock:
            parts = [columns for _, columns in self._parts]
        names = [name for name, values in (parts[0] if parts else {}).items() if values.ndim == 1]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def read(self, frames: np.ndarray) -> np.ndarray:
        """Give photons of frames by number."""
        with self._lock:
            parts = [photons for photons, _ in self._parts]
            ends = np.cumsum(self._numbers)
        frames = np.asarray(frames, np.int64)
        which = np.searchsorted(ends, frames, side="right")
        begins = ends - np.array([len(part) for part in parts])
        return np.stack(
            [parts[part][frame - begins[part]] for part, frame in zip(which, frames, strict=True)]
        )

    def features(self, frames: np.ndarray) -> np.ndarray:
        """Give feature vectors of frames by number."""
        return self._column("features")[frames]

    def _column(self, name: str) -> np.ndarray:
        with self._lock:
            parts = [columns[name] for _, columns in self._parts]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)
