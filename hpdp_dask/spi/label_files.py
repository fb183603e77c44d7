"""Labels of frames from tables and arrays of other programs: CSV, `.npz`, `.npy`."""

from __future__ import annotations

import csv
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from hpdp_dask.errors import InputError

#: Names that arrays go by.
_FRAME_NAMES, _LABEL_NAMES = ("frame", "frames"), ("label", "labels")


def read_label_file(path: Path, number: int) -> dict[int, str]:
    """Read labels that are no log.

    Parameters
    ----------
    path : Path
        `.npz`, `.npy`, or anything else as CSV.
    number : int
        Frames of the stack.

    Returns
    -------
    dict of int to str
        Labels by frame; frames without one are absent.

    Raises
    ------
    InputError
        It cannot be read, or holds something else than labels of frames.
    """
    if path.suffix.lower() in (".npz", ".npy"):
        return _read_arrays(path, number)
    return _read_table(path)


def _read_table(path: Path) -> dict[int, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            names = [name.strip().lower() for name in rows.fieldnames or ()]
            if not {"frame", "label"} <= set(names):
                raise InputError(
                    f"{path}: the first line is {','.join(rows.fieldnames or ()) or 'empty'}, "
                    "expected columns frame and label."
                )
            rows.fieldnames = names
            found: dict[int, str] = {}
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                try:
                    frame = int(row["frame"])
                except (TypeError, ValueError):
                    raise InputError(
                        f"{where}: the frame is {row['frame']!r}, expected a whole number."
                    ) from None
                label = (row["label"] or "").strip()
                if label and found.setdefault(frame, label) != label:
                    raise InputError(
                        f"{where}: frame {frame} is {label}, but {found[frame]} further up; keep "
                        "one of them."
                    )
            return found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table of labels ({error}).") from error


def _read_arrays(path: Path, number: int) -> dict[int, str]:
    try:
        arrays = _load(path)
    except (OSError, ValueError, BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as NumPy's arrays ({error}).") from error
    labels = next((arrays[name] for name in _LABEL_NAMES if name in arrays), None)
    frames = next((arrays[name] for name in _FRAME_NAMES if name in arrays), None)
    if labels is None:
        raise InputError(f"{path}: no array label, expected it, and frame for a part of a stack.")
    expected = (number,) if frames is None else frames.shape
    if labels.ndim != 1 or labels.shape != expected:
        of_what = f"{number} frames of the stack" if frames is None else f"{expected} of frame"
        raise InputError(
            f"{path}: label has the shape {labels.shape}, expected one for each of the {of_what}."
        )
    if frames is None:
        frames = np.arange(number)
    elif frames.dtype.kind not in "iu":
        raise InputError(f"{path}: frame holds {frames.dtype}, expected whole numbers.")
    found: dict[int, str] = {}
    for frame, label in zip(frames.tolist(), _words(labels, path), strict=True):
        if label and found.setdefault(frame, label) != label:
            raise InputError(
                f"{path}: frame {frame} is both {found[frame]} and {label}; keep one of them."
            )
    return found


def _load(path: Path) -> dict[str, np.ndarray]:
    """Read arrays of frames and labels, and no others, which may be large."""
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {"label": loaded}
    with loaded:
        names = (*_FRAME_NAMES, *_LABEL_NAMES)
        return {name: loaded[name] for name in names if name in loaded.files}


def _words(labels: np.ndarray, path: Path) -> list[str]:
    """Give labels as words, empty for none."""
    if labels.dtype.kind == "U":
        return [label.strip() for label in labels.tolist()]
    if labels.dtype.kind == "S":
        return [label.decode("utf-8", "replace").strip() for label in labels.tolist()]
    if labels.dtype.kind == "b":
        return [str(int(label)) for label in labels.tolist()]
    if labels.dtype.kind == "f":
        known = labels[~np.isnan(labels)]
        if np.all(known == np.rint(known)) and np.all(np.abs(known) < 2**53):
            labels = np.where(np.isnan(labels), -1, labels).astype(np.int64)
    if labels.dtype.kind in "iu":
        return ["" if label < 0 else str(label) for label in labels.tolist()]
    raise InputError(f"{path}: label holds {labels.dtype}, expected words or whole numbers.")
