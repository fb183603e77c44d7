"""Frames that lie in files: what every reader of frames makes, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import BAD, ENERGY_WAVELENGTH, GOOD, Detector

Unit = Literal["photons", "adu"]

#: What reads frames from `start` to before `stop`; pickled into tasks, so it holds names and
#: numbers only.
Reader = Callable[[int, int], np.ndarray]

#: Joules of an electronvolt.
ELECTRONVOLT = 1.602176634e-19


@dataclass(frozen=True)
class PartialDetector:
    """What a file knows of its detector without saying where each pixel is.

    Attributes
    ----------
    mask : (y, x) ndarray of uint8 or None
        As a detector has it.
    wavelength : float
        Å; this and the others are NaN where they are not known.
    pixel_size, distance : float
        m.
    center : tuple of float or None
        Where the beam meets the frame: column and row, pixels from the centre of the first.
    """

    mask: np.ndarray | None = None
    wavelength: float = float("nan")
    pixel_size: float = float("nan")
    distance: float = float("nan")
    center: tuple[float, float] | None = None


@dataclass(frozen=True)
class StoredFrames:
    """Frames of a file or a run: a `FrameSource`.

    Attributes
    ----------
    path : Path
        Where they come from, for messages.
    number : int
    shape : tuple of int
        Rows and columns.
    dtype : dtype
        Of what `read` gives.
    unit : {"photons", "adu"}
    reader : callable
        Gives frames from one to before another; all that tasks need.
    detector : Detector or None
        Geometry, mask and beam, where the file knows the geometry.
    partial : PartialDetector
        What it knows otherwise.
    columns : mapping of str to ndarray
        Of each frame, and `class_name` beside `label`.
    notes : sequence of str
    modules : int
        Modules of the detector, which lie one after another along the rows.
    flat : bool
        The file knows the number of pixels only; `shape` is a guess.
    saturation : float
        Numbers from this one on are of pixels that counted no further; NaN if not known.
    """

    path: Path
    number: int
    shape: tuple[int, int]
    dtype: np.dtype
    unit: Unit
    reader: Reader
    detector: Detector | None = None
    partial: PartialDetector = PartialDetector()
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: Sequence[str] = ()
    modules: int = 1
    flat: bool = False
    saturation: float = float("nan")

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read frames that follow each other.

        Raises
        ------
        InputError
            The file is damaged there.
        IndexError
            The range is not inside the source.
        """
        if not 0 <= start <= stop <= self.number:
            raise IndexError(f"frames {start}:{stop} of {self.number}")
        return self.reader(start, stop)


def unit_of_numbers(dtype: np.dtype) -> Unit:
    """Say what numbers are where nobody does: integers are photons, real numbers ADU."""
    return "photons" if dtype.kind in "iub" else "adu"


def wavelength_of(energy: float) -> float:
    """Give the wavelength, Å, of photons of an energy in eV; NaN where there is none."""
    return ENERGY_WAVELENGTH / energy if energy > 0 else float("nan")


def label_columns(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Turn labels as files have them into an index and the names of classes.

    Parameters
    ----------
    labels : (n,) ndarray
        Text, empty for none; or integers, negative for none; or booleans.

    Returns
    -------
    dict
        `label`, -1 where there is none, and `class_name`, sorted.
    """
    if labels.dtype.kind in "SOUT":
        given = np.array(
            [item.decode() if isinstance(item, bytes) else str(item) for item in labels.tolist()],
            object,
        )
        known = given != ""
    else:
        given = labels.astype(np.int64)
        known = given >= 0
    names, index = np.unique(given[known], return_inverse=True)
    label = np.full(len(labels), -1, np.int32)
    label[known] = index
    return {"label": label, "class_name": np.array([str(name) for name in names], object)}


#: Columns by the names that files give them.
_COLUMNS = {
    "train_id": ("train_id", "trainId"),
    "pulse_id": ("pulse_id", "pulseId"),
    "cell_id": ("cell_id", "cellId"),
    "pulse_energy": ("pulse_energy",),
    "particle_size": ("particle_size",),
    "size_score": ("size_score",),
    "fluence": ("fluence",),
}
_LABELS = ("label", "labels")


def known_columns(found: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """Choose of what lies beside frames the columns that the schema knows.

    Parameters
    ----------
    found : mapping of str to ndarray
        By the names of the file.
    number : int
        Frames.

    Returns
    -------
    dict
        `label` as `label_columns` gives it; with `class_name` of the file where it has one.
    """
    columns: dict[str, np.ndarray] = {}
    for name, others in _COLUMNS.items():
        values = next((found[other] for other in others if other in found), None)
        if values is not None and values.shape == (number,) and values.dtype.kind in "iuf":
            integers = name.endswith("_id")
            columns[name] = values.astype(np.int64 if integers else np.float64)
    labels = next((found[name] for name in _LABELS if name in found), None)
    if labels is not None and labels.shape == (number,) and labels.dtype.kind in "iubSOUT":
        columns |= label_columns(labels)
    return columns


def merged_mask(path: Path, found: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray | None:
    """Turn a mask as files have it, 0 for good and anything else for bad, into that of a detector.

    Parameters
    ----------
    path : Path
        Its file, for messages.
    found : ndarray or None
        As many pixels as a frame.
    shape : tuple of int
        Of a frame; modules lie one after another.

    Returns
    -------
    (y, x) ndarray of uint8 or None

    Raises
    ------
    InputError
        It has another shape, or all pixels are bad.
    """
    if found is None:
        return None
    if found.ndim == 3 and found.shape[-1] == shape[1]:
        found = found.reshape(-1, shape[1])
    check_pixels(path, found, shape, "the mask")
    mask = np.where(found == 0, GOOD, BAD).astype(np.uint8)
    if not (mask == GOOD).any():
        raise InputError(
            f"{path}: the mask leaves no pixel (0 is good, anything else bad); is it the other "
            "way round?"
        )
    return mask


def spoken_frames(start: int, stop: int) -> str:
    """Name frames from one to before another, for messages."""
    return f"frame {start}" if stop == start + 1 else f"frames {start} to {stop - 1}"


def check_pixels(path: Path, mask: np.ndarray, shape: tuple[int, int], what: str) -> None:
    """Check that something of the detector has the shape of the frames.

    Raises
    ------
    InputError
        It has another.
    """
    if mask.shape != shape:
        found = " x ".join(map(str, mask.shape))
        raise InputError(
            f"{path}: {what} is of {found} pixels, the frames of {shape[0]} x {shape[1]}; give "
            "that of this detector."
        )
