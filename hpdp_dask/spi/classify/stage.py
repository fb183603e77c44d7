"""Classifying a stack of frames: what methods look at, and a model applied to all frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.columns import measure_images
from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify.labelled import Labelled, find_labelled
from hpdp_dask.spi.classify.measure import Classify
from hpdp_dask.spi.classify.model import (
    DEFAULT_THRESHOLD,
    PICTURE_METHODS,
    Model,
    rows_to_learn,
    train,
)
from hpdp_dask.spi.classify.networks import check_torch
from hpdp_dask.spi.classify.pictures import plan_pictures
from hpdp_dask.spi.classify.recipe import check_recipe, recipe_of_features
from hpdp_dask.spi.labels import read_labels
from hpdp_dask.stacks.frame_schema import check_frames
from hpdp_dask.stacks.frames import add_variables, detector_of, open_frames
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: What classifying adds to a stack.
LABEL_VARIABLES = ("label", "label_probability", "label_accepted", "class_name")

#: Bytes of frames that are in memory at once while pictures are made.
_FRAME_BYTES = 64 * 2**20


@dataclass(frozen=True)
class LearningSet:
    """What a method learns from.

    Attributes
    ----------
    inputs : (n, f) or (n, side, side) ndarray
        Features of the labelled frames and of others, or pictures of the labelled ones.
    labels : (n,) ndarray of str
        Empty where there is none.
    frames : (n,) ndarray of int
        Places in the stack.
    labelled : Labelled
        Of `labels`: its frames are places in `inputs`.
    recipe : dict
        How the inputs were made.
    """

    inputs: np.ndarray
    labels: np.ndarray
    frames: np.ndarray
    labelled: Labelled
    recipe: dict[str, Any]


def check_frames_for(stack: xr.Dataset, method: str) -> None:
    """Check that a stack has what a method looks at, and that the method can run.

    Raises
    ------
    InputError
        Names what is missing and the command that gives it.
    """
    if method in PICTURE_METHODS:
        check_torch()
        detector_of(stack)
        check_frames(stack, ("photons",))
    else:
        check_frames(stack, ("features", "photons"))
        _check_fresh(stack)


def _check_fresh(stack: xr.Dataset) -> None:
    """Check that the features are of the sizes and of the centre that are there now."""
    added = [step.get("added", []) for step in stack.attrs.get("history", [])]
    last = {name: place for place, names in enumerate(added) for name in names}
    for name in ("particle_size", "beam_center"):
        if last.get(name, -1) > last.get("features", len(added)):
            raise InputError(
                f"{stack.attrs['path']}: {name} was replaced after the features were computed; "
                "run hpdp spi features --overwrite."
            )


def check_unlabelled(stack: xr.Dataset, overwrite: bool) -> None:
    """Check that a stack may be given labels, before anything is trained.

    Raises
    ------
    InputError
        It has some, and they may not be replaced.
    """
    there = [name for name in LABEL_VARIABLES if name in stack]
    if there and not overwrite:
        came = "label_probability" not in stack
        origin = " (they came with the import; --labels takes that file too)" if came else ""
        raise InputError(
            f"{stack.attrs['path']}: has {', '.join(there)} already{origin}; --overwrite replaces "
            "them."
        )


def read_learning_set(stack_path: Path, labels_path: Path, method: str, seed: int) -> LearningSet:
    """Read what a method learns from.

    Parameters
    ----------
    stack_path : Path
    labels_path : Path
        As `spi.labels.read_labels` takes it.
    method : str
    seed : int
        Of the choice of frames without a label, where there are many.

    Returns
    -------
    LearningSet

    Raises
    ------
    InputError
        The stack lacks what the method looks at, or the labels do not suffice.
    """
    stack = open_frames(stack_path)
    check_frames_for(stack, method)
    labels = read_labels(labels_path, stack.sizes["frame"])
    known = find_labelled(labels, str(labels_path))
    if method in PICTURE_METHODS:
        maker = plan_pictures(detector_of(stack))
        reader = ImageReader(stack_path)
        step = max(1, _FRAME_BYTES // (4 * reader.image_shape[0] * reader.image_shape[1]))
        parts = [
            maker(reader.take(known.frames[first : first + step]))
            for first in range(0, len(known.frames), step)
        ]
        inputs, frames, recipe = np.concatenate(parts), known.frames, maker.recipe
    else:
        frames = rows_to_learn(len(labels), known.frames, seed)
        inputs = stack["features"].isel(frame=frames).values
        recipe = recipe_of_features(stack) or {}
    labels = labels[frames]
    return LearningSet(inputs, labels, frames, find_labelled(labels), recipe)


def train_on(learning: LearningSet, method: str, threshold: float, seed: int) -> Model:
    """Train a method on what was read for it."""
    return train(
        learning.inputs,
        learning.labels,
        method=method,
        threshold=threshold,
        seed=seed,
        recipe=learning.recipe,
    )


def learn_and_classify(
    stack_path: Path,
    labels_path: Path,
    *,
    method: str = "svm-threshold",
    threshold: float = DEFAULT_THRESHOLD,
    seed: int = 0,
    client: Client | None = None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Model:
    """Train on the labelled frames of a stack and classify all.

    Parameters
    ----------
    stack_path, labels_path : Path
    method : str, optional
    threshold : float, optional
        For svm-threshold.
    seed : int, optional
    client, overwrite, history, progress
        As for `classify_frames`.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        The stack lacks what the method looks at or has labels, or those given do not suffice.
    """
    check_unlabelled(open_frames(stack_path), overwrite)
    learning = read_learning_set(stack_path, labels_path, method, seed)
    model = train_on(learning, method, threshold, seed)
    classify_frames(
        stack_path,
        model,
        client=client,
        overwrite=overwrite,
        history={**(history or {}), **model.described},
        progress=progress,
    )
    return model


def count_labels(stack_path: Path) -> dict[str, int]:
    """Count the frames that were given each class and accepted, and those that were rejected."""
    stack = open_frames(stack_path)
    names = [str(name) for name in stack["class_name"].values]
    accepted = stack["label_accepted"].values == 1
    found = np.bincount(stack["label"].values[accepted], minlength=len(names))
    counts = dict(zip(names, found.tolist(), strict=True))
    rejected = int(np.sum(~accepted))
    return counts | ({"rejected": rejected} if rejected else {})


def classify_frames(
    stack_path: Path,
    model: Model,
    *,
    client: Client | None = None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Classify all frames of a stack by a model, and add the labels to it.

    Parameters
    ----------
    stack_path : Path
        It gets `label`, `label_probability`, `label_accepted` and `class_name`.
    model : Model
    client : distributed.Client, optional
    overwrite : bool, optional
        Replace labels that are there.
    history : mapping, optional
        Kept with the stack.
    progress : Progress, optional

    Raises
    ------
    InputError
        The stack lacks what the model looks at, its features or pictures are others than those
        the model learnt from, or it has labels.
    """
    stack = open_frames(stack_path)
    check_frames_for(stack, model.method)
    check_unlabelled(stack, overwrite)
    pictures = plan_pictures(detector_of(stack)) if model.wants == "pictures" else None
    check_recipe(model, stack, pictures)
    names = np.array(model.classes)
    add_variables(
        stack_path, {"class_name": (("classes",), names)}, overwrite=True, history=history
    )
    measure_images(
        stack_path,
        [Classify(model)],
        client=client,
        overwrite=overwrite,
        history=history,
        progress=progress,
    )
