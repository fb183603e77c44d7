"""All methods on the same labelled frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify.model import DEFAULT_THRESHOLD, METHODS, PICTURE_METHODS
from hpdp_dask.spi.classify.networks import check_torch
from hpdp_dask.spi.classify.scores import Scores
from hpdp_dask.spi.classify.stage import read_learning_set
from hpdp_dask.spi.classify.validation import can_validate, cross_validate

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: What the methods are called in tables.
TITLES = {
    "svm-threshold": "SVM on features, with threshold",
    "svm": "SVM on features",
    "kmeans": "k-means on features",
    "spectral": "spectral clustering on features",
    "mlp": "three-layer perceptron on images",
    "cnn": "convolutional network on images",
}


@dataclass(frozen=True)
class Comparison:
    """What all methods reach on labelled frames that were held out.

    Attributes
    ----------
    classes : tuple of str
    labelled : tuple of int
        Frames of each class.
    scores : dict of str to Scores
        By method; svm-threshold rejects, and what it rejects counts as missed.
    missing : str
        Why some methods were left out; empty if none was.
    """

    classes: tuple[str, ...]
    labelled: tuple[int, ...]
    scores: dict[str, Scores]
    missing: str


def compare(
    stack_path: Path,
    labels_path: Path,
    *,
    methods: Sequence[str] = METHODS,
    threshold: float = DEFAULT_THRESHOLD,
    seed: int = 0,
    client: Client | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Cross-validate all methods on the labelled frames of a stack.

    Parameters
    ----------
    stack_path : Path
        Frames with features.
    labels_path : Path
    methods : sequence of str, optional
        By default all; svm comes with svm-threshold at no cost.
    threshold : float, optional
        For svm-threshold.
    seed : int, optional
    client : distributed.Client, optional
    progress : Progress, optional

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        The stack lacks what methods look at, or the labels do not suffice.
    """
    features = read_learning_set(stack_path, labels_path, "svm", seed)
    lacking = can_validate(features.labelled)
    if lacking:
        raise InputError(
            f"{labels_path}: too few labels to cross-validate, which takes three of each class; "
            f"label {lacking}."
        )
    missing, pictures = "", None
    if set(methods) & set(PICTURE_METHODS):
        try:
            check_torch()
            pictures = read_learning_set(stack_path, labels_path, "cnn", seed)
        except InputError as error:
            missing = str(error)
    scores: dict[str, Scores] = {}
    for method in methods:
        learning = pictures if method in PICTURE_METHODS else features
        if learning is None or method in scores:
            continue
        found = cross_validate(
            method,
            learning.inputs,
            learning.labels,
            learning.labelled,
            seed=seed,
            client=client,
            progress=progress,
        )
        if method == "svm-threshold":
            scores["svm-threshold"] = found.score(threshold)
            scores["svm"] = found.score(0.0)
        else:
            scores[method] = found.score(0.0)
    labelled = tuple(features.labelled.counts.tolist())
    return Comparison(features.labelled.classes, labelled, scores, missing)
