"""The folder of a stream: what is on disk is all that a stream knows, and what it goes on from.

A batch has one file of results, which is never written again, and one of labels for each model.
All of them take their names when they are whole, by rename, so a batch is done or not, and to do
it twice does no harm.

=====================  ==========================================================================
`results/NAME.npz`     what was measured of the frames of a batch; `write_results` has the columns
`kept/NAME.npz`        photons of the chosen frames, where the source does not keep them
`labels/MODEL/NAME…`   labels of the chosen frames by a model
`sums/TOTAL/…`         sums over images; see `totals`
`incoming/NAME.npz`    frames that came as messages and have no results yet
`shared.zarr`          geometry and mask: a stack without frames; `shared-1.zarr` ... others
`pictures/FRAME.npz`   small pictures of the frames that stand out
`set_aside.jsonl`      what was set aside, and why
=====================  ==========================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr
from numcodecs import Blosc

from hpdp_dask.dataflow.stream.batches import FRAME_ID, Aside
from hpdp_dask.formats.writing import write_whole

#: Which frames of a batch went on to all measures.
CHOSEN = "chosen"
#: Frames of a batch that were set aside for their values, and why.
ASIDE_ID, ASIDE_REASON = "aside_id", "aside_reason"

#: For frames that are read once or twice again: packed quickly.
_BLOSC = Blosc("lz4", 5, Blosc.BITSHUFFLE)


class StreamFolder:
    """Names of the files of a stream, and what is in them.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()

    @property
    def incoming(self) -> Path:
        """Where frames wait that came as messages."""
        return self.path / "incoming"

    @property
    def shared(self) -> Path:
        """Where geometry and mask are, of all frames or of the first."""
        return self.shared_of(0)

    def shared_of(self, geometry: int) -> Path:
        """Give where geometry and mask are, of frames of one of several geometries."""
        return self.path / (f"shared-{geometry}.zarr" if geometry else "shared.zarr")

    def make(self) -> None:
        """Make the folders that are there from the beginning."""
        for name in ("results", "kept", "labels", "sums", "pictures"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def result_file(self, name: str) -> Path:
        """Give the file of results of a batch."""
        return self.path / "results" / f"{name}.npz"

    def kept_file(self, name: str) -> Path:
        """Give the file of the photons of a batch."""
        return self.path / "kept" / f"{name}.npz"

    def label_file(self, model: str, name: str) -> Path:
        """Give the file of labels of a batch by a model."""
        return self.path / "labels" / model / f"{name}.npz"

    def done(self) -> set[str]:
        """Give the names of the batches that have results."""
        return {file.stem for file in (self.path / "results").glob("[0-9]*.npz")}

    def labelled(self, model: str) -> set[str]:
        """Give the names of the batches that a model has labelled."""
        return {file.stem for file in (self.path / "labels" / model).glob("[0-9]*.npz")}

    def write_results(
        self,
        name: str,
        frames: Mapping[str, np.ndarray],
        chosen: Mapping[str, np.ndarray],
        asides: Mapping[int, str],
    ) -> None:
        """Write the results of a batch.

        Parameters
        ----------
        name : str
            Of the batch.
        frames : mapping
            Columns with a row for each frame, `frame_id` and `chosen` among them.
        chosen : mapping
            Columns with a row for each frame of those that are chosen.
        asides : mapping of int to str
            Ids of frames that were set aside, and why; they are in no column.
        """
        ids = np.array(list(asides), np.int64)
        reasons = np.array(list(asides.values()), "U16")
        _save(
            self.result_file(name),
            {**frames, **chosen, ASIDE_ID: ids, ASIDE_REASON: reasons},
        )

    def results(self, name: str, *columns: str) -> dict[str, np.ndarray]:
        """Read results of a batch: some columns, or all."""
        return _load(self.result_file(name), columns)

    def ids(self, name: str) -> np.ndarray:
        """Give the ids of all frames of a batch, those that were set aside too."""
        found = self.results(name, FRAME_ID, ASIDE_ID)
        return np.concatenate([found[FRAME_ID], found[ASIDE_ID]])

    def write_labels(self, model: str, name: str, columns: Mapping[str, np.ndarray]) -> None:
        """Write the labels of the chosen frames of a batch."""
        file = self.label_file(model, name)
        file.parent.mkdir(exist_ok=True)
        _save(file, columns)

    def labels(self, model: str, name: str) -> dict[str, np.ndarray]:
        """Read the labels of the chosen frames of a batch."""
        return _load(self.label_file(model, name), ())

    def keep(self, name: str, photons: np.ndarray) -> None:
        """Keep the photons of the chosen frames of a batch."""
        packed = _BLOSC.encode(np.ascontiguousarray(photons))
        _save(
            self.kept_file(name),
            {
                "packed": np.frombuffer(packed, np.uint8),
                "shape": np.array(photons.shape),
                "dtype": np.array(photons.dtype.str),
            },
        )

    def kept(self, name: str) -> np.ndarray:
        """Read the photons of the chosen frames of a batch."""
        found = _load(self.kept_file(name), ())
        photons = np.empty(found["shape"], str(found["dtype"]))
        if photons.size:
            _BLOSC.decode(np.ascontiguousarray(found["packed"]), photons)
        return photons

    def kept_dtype(self, name: str) -> np.dtype:
        """Tell what numbers the photons of a batch are kept in."""
        return np.dtype(str(_load(self.kept_file(name), ("dtype",))["dtype"]))

    def picture_file(self, frame_id: int) -> Path:
        """Give the file of the picture of a frame."""
        return self.path / "pictures" / f"{frame_id:012d}.npz"

    def write_picture(self, frame_id: int, picture: np.ndarray) -> None:
        """Write the picture of a frame."""
        _save(self.picture_file(frame_id), {"picture": picture})

    def picture(self, frame_id: int) -> np.ndarray | None:
        """Read the picture of a frame, if there is one."""
        try:
            return _load(self.picture_file(frame_id), ())["picture"]
        except FileNotFoundError:
            return None

    def drop_picture(self, frame_id: int) -> None:
        """Remove the picture of a frame that stands out no more."""
        self.picture_file(frame_id).unlink(missing_ok=True)

    def set_aside(self, aside: Aside) -> None:
        """Write down what was set aside."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(aside)}
        with (self.path / "set_aside.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def asides(self) -> list[Aside]:
        """Read what was set aside, but for what is in the results of batches."""
        file = self.path / "set_aside.jsonl"
        if not file.exists():
            return []
        found = []
        for line in file.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # a line that was cut off when a process was killed
                each = json.loads(line)
                del each["time"]
                found.append(Aside(**each))
        return found


def rows_of_chosen(results: Mapping[str, np.ndarray]) -> np.ndarray:
    """Give the rows of the frames of a batch that were chosen; all, if nothing chose."""
    if CHOSEN in results:
        return np.flatnonzero(results[CHOSEN])
    return np.arange(len(results[FRAME_ID]))


def as_block(columns: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Make a dataset of columns that have a row for each frame."""
    return xr.Dataset(
        {
            name: (("frame", *(f"{name}_{axis}" for axis in range(1, values.ndim))), values)
            for name, values in columns.items()
        }
    )


def _save(file: Path, columns: Mapping[str, np.ndarray]) -> None:
    with write_whole(file, sum(values.nbytes for values in columns.values())) as stream:
        np.savez(stream, allow_pickle=False, **columns)


def _load(file: Path, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as found:
        return {name: found[name] for name in columns or found.files if name in found}
