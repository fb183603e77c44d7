"""Training by any of the six methods, and what comes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify.clusters import Clusters, fit_kmeans, fit_spectral
from hpdp_dask.spi.classify.labelled import find_labelled
from hpdp_dask.spi.classify.networks import Network, check_torch, fit_network
from hpdp_dask.spi.classify.svm import SupportVectors, fit_support_vectors

FEATURE_METHODS = ("svm-threshold", "svm", "kmeans", "spectral")
PICTURE_METHODS = ("mlp", "cnn")
METHODS = FEATURE_METHODS + PICTURE_METHODS

#: Probability that a class must have for a frame to be accepted.
DEFAULT_THRESHOLD = 0.75

#: What a method has learnt: arrays, and probabilities from them.
Fitted = SupportVectors | Clusters | Network

#: How each method learns from features.
_FITS: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray, int], Fitted]] = {
    "svm-threshold": fit_support_vectors,
    "svm": fit_support_vectors,
    "kmeans": fit_kmeans,
    "spectral": fit_spectral,
}

#: Frames that are classified at once: each is compared with up to 2,000 others.
_AT_ONCE = 4096

#: Frames without a label that features are learnt from, at most.
_MOST_UNLABELLED = 10_000


@dataclass(frozen=True)
class Model:
    """A trained classifier.

    Attributes
    ----------
    method : str
        One of `METHODS`.
    classes : tuple of str
        Names, sorted; indices everywhere are along it.
    threshold : float
        Probability from which a frame is accepted; 0 for methods that accept all.
    recipe : dict
        How the features or pictures that it learnt from were made.
    seed : int
    labelled : tuple of int
        Labelled frames of each class that it learnt from.
    fitted : SupportVectors, Clusters or Network
    metrics : dict
        How good it is, as far as that was found out: `validation`.
    """

    method: str
    classes: tuple[str, ...]
    threshold: float
    recipe: Mapping[str, Any]
    seed: int
    labelled: tuple[int, ...]
    fitted: Fitted
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wants(self) -> str:
        """What it looks at: `features` or `pictures`."""
        return "pictures" if self.method in PICTURE_METHODS else "features"

    @property
    def digest(self) -> str:
        """A digest of the recipe."""
        return digest_of(self.recipe)

    @property
    def described(self) -> dict[str, Any]:
        """What the history of frames that it was applied to should tell."""
        return {
            "method": self.method,
            "threshold": self.threshold,
            "labelled": dict(zip(self.classes, self.labelled, strict=True)),
            "seed": self.seed,
        }

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """Give the probability of each class.

        Parameters
        ----------
        inputs : (n, f) or (n, side, side) ndarray
            Features, or pictures of a `PictureMaker`.

        Returns
        -------
        (n, k) ndarray of float64
            Along `classes`; rows add up to 1.
        """
        found = np.zeros((len(inputs), len(self.classes)))
        for first in range(0, len(inputs), _AT_ONCE):
            rows = slice(first, first + _AT_ONCE)
            # what cannot be computed of a frame must not spoil the others of its block
            known = np.nan_to_num(inputs[rows], posinf=0.0, neginf=0.0)
            found[rows] = self.fitted.probabilities(known)
        return found

    def decide(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give the likeliest class of each frame, its probability, and whether that suffices.

        Returns
        -------
        tuple of ndarray
            (n,) indices along `classes`, int; (n,) float; (n,) bool.
        """
        each = self.probabilities(inputs)
        index = np.argmax(each, axis=1)
        probability = np.max(each, axis=1)
        return index, probability, probability >= self.threshold

    def predict(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the class of each frame by name, empty where it is rejected, and its probability.

        Returns
        -------
        tuple of ndarray
            (n,) str; (n,) float.
        """
        index, probability, accepted = self.decide(inputs)
        return np.where(accepted, np.array(self.classes)[index], ""), probability


def train(
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    method: str = "svm-threshold",
    threshold: float = DEFAULT_THRESHOLD,
    seed: int = 0,
    recipe: Mapping[str, Any] | None = None,
    name: str = "the labels",
) -> Model:
    """Train a classifier.

    Parameters
    ----------
    inputs : (n, f) or (n, side, side) ndarray
        Features for svm, svm-threshold, kmeans and spectral; frames without a label help these to
        see how features vary. Pictures, of a `PictureMaker`, for mlp and cnn.
    labels : (n,) ndarray of str
        Class of each frame, empty where it is not known.
    method : str, optional
        One of `METHODS`.
    threshold : float, optional
        For svm-threshold: the probability that a class must have. All other methods accept every
        frame.
    seed : int, optional
    recipe : mapping, optional
        How the inputs were made, to be kept with the model.
    name : str, optional
        Where the labels are from, for messages.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        The labels do not suffice, the method is not known, or it needs a package that is not
        installed.
    """
    if method not in METHODS:
        raise InputError(f"{method}: no such method; there are {', '.join(METHODS)}.")
    if not 0.0 <= threshold <= 1.0:
        raise InputError(f"the threshold is {threshold:g}; expected a probability from 0 to 1.")
    if len(inputs) != len(labels):
        raise ValueError(f"{len(inputs)} frames and {len(labels)} labels")
    known = find_labelled(labels, name)
    if method in PICTURE_METHODS:
        check_torch()
        fitted: Fitted = fit_network(method, inputs[known.frames], known.indices, seed)
    else:
        rows = rows_to_learn(len(inputs), known.frames, seed)
        fitted = _FITS[method](
            np.nan_to_num(np.asarray(inputs[rows], np.float64), posinf=0.0, neginf=0.0),
            np.searchsorted(rows, known.frames),
            known.indices,
            seed,
        )
    return Model(
        method=method,
        classes=known.classes,
        threshold=threshold if method == "svm-threshold" else 0.0,
        recipe=dict(recipe or {}),
        seed=seed,
        labelled=tuple(known.counts.tolist()),
        fitted=fitted,
    )


def digest_of(recipe: Mapping[str, Any]) -> str:
    """Give a digest of a recipe, which is the same for equal ones."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def rows_to_learn(number: int, labelled: np.ndarray, seed: int) -> np.ndarray:
    """Choose the frames to learn from, sorted: the labelled ones, and others up to 10,000."""
    others = np.setdiff1d(np.arange(number), labelled)
    if len(others) > _MOST_UNLABELLED:
        others = np.random.default_rng(seed).choice(others, _MOST_UNLABELLED, replace=False)
    return np.sort(np.concatenate([labelled, others]))
