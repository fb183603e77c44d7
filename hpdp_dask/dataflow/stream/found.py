"""What a stream found of each frame: all columns of a batch, and its frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.stream.batches import FRAME_ID
from hpdp_dask.dataflow.stream.folder import CHOSEN, StreamFolder, rows_of_chosen
from hpdp_dask.dataflow.stream.task import Labelling

#: What a frame has in a column that knows nothing of it; NaN for real numbers, else 0.
_UNKNOWN = {"label": -1}

Again = Callable[[str], Callable[[], xr.Dataset]]


@dataclass(frozen=True)
class Found:
    """Where the results of a stream are.

    Attributes
    ----------
    folder : StreamFolder
    labelling : Labelling or None
        Whose labels count.
    again : callable or None
        Gives, for the name of a batch, what reads its frames again; None: photons are kept.
    """

    folder: StreamFolder
    labelling: Labelling | None = None
    again: Again | None = None

    def columns(self, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Give all columns of a batch, a row for each frame, and which frames were chosen."""
        results = self.folder.results(name)
        rows, number = rows_of_chosen(results), len(results[FRAME_ID])
        before = list(results).index(CHOSEN) if CHOSEN in results else len(results)
        columns = {
            key: values if place < before else spread(key, values, rows, number)
            for place, (key, values) in enumerate(results.items())
            if key != CHOSEN and not key.startswith("aside_")
        }
        if self.labelling is not None:
            if self.folder.label_file(self.labelling.model, name).exists():
                found = self.folder.labels(self.labelling.model, name)
                del found[FRAME_ID]
            else:
                found = _no_labels(self.labelling, len(rows))
            columns |= {key: spread(key, found[key], rows, number) for key in found}
        return rows, columns

    def photons(self, name: str, ids: np.ndarray) -> np.ndarray:
        """Give the photons of the chosen frames of a batch, which have these ids."""
        if self.again is None:
            return self.folder.kept(name)
        block = self.again(name)()
        photons: np.ndarray = block["photons"].values[np.isin(block[FRAME_ID].values, ids)]
        return photons


def spread(name: str, values: np.ndarray, rows: np.ndarray, number: int) -> np.ndarray:
    """Give values of some frames a row for each frame."""
    if len(rows) == number:
        return values
    filled = nothing(name, (number, *values.shape[1:]), values.dtype)
    filled[rows] = values
    return filled


def nothing(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Give a column of frames of which nothing is known."""
    return np.full(shape, np.nan if dtype.kind == "f" else _UNKNOWN.get(name, 0), dtype)


def _no_labels(labelling: Labelling, number: int) -> dict[str, np.ndarray]:
    """Give the columns of frames that a model could not label."""
    return {
        name: nothing(name, (number, *column.shape), np.dtype(column.dtype))
        for name, column in labelling.measure.columns.items()
    }
