"""Which frames have labels, and whether they suffice to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.errors import InputError

#: Of each class: one to learn from while the other is held out for the calibration.
LEAST_LABELS = 2


@dataclass(frozen=True)
class Labelled:
    """The frames of a set that have labels.

    Attributes
    ----------
    frames : (m,) ndarray of int
        Places of the labelled frames in the set.
    indices : (m,) ndarray of int
        Class of each, along `classes`.
    classes : tuple of str
        Names, sorted.
    """

    frames: np.ndarray
    indices: np.ndarray
    classes: tuple[str, ...]

    @property
    def counts(self) -> np.ndarray:
        """Labelled frames of each class, (k,)."""
        return np.bincount(self.indices, minlength=len(self.classes))


def find_labelled(labels: np.ndarray, name: str = "the labels") -> Labelled:
    """Find the labelled frames and check that a classifier can learn from them.

    Parameters
    ----------
    labels : (n,) ndarray of str
        Empty for a frame without a label.
    name : str, optional
        Where the labels are from, for messages.

    Returns
    -------
    Labelled

    Raises
    ------
    InputError
        No frame has a label, all have the same, or a class has too few: how many more.
    """
    labels = np.asarray(labels, dtype=np.str_)
    frames = np.flatnonzero(labels != "")
    if not len(frames):
        raise InputError(
            f"{name}: no frame has a label; label {LEAST_LABELS} or more of each class."
        )
    classes, indices = np.unique(labels[frames], return_inverse=True)
    if len(classes) == 1:
        raise InputError(
            f"{name}: all {len(frames)} labelled frames are {classes[0]}; expected two classes or "
            f"more, label {LEAST_LABELS} or more frames of another."
        )
    lacking = {
        str(each): LEAST_LABELS - count
        for each, count in zip(classes, np.bincount(indices).tolist(), strict=True)
        if count < LEAST_LABELS
    }
    if lacking:
        more = ", ".join(f"{count} more of {each}" for each, count in lacking.items())
        raise InputError(
            f"{name}: fewer labels than the {LEAST_LABELS} of each class that are needed; label "
            f"{more}."
        )
    return Labelled(frames, indices, tuple(map(str, classes)))
