"""How a classifier comes to be beside a stream: settings, training, models in its folder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpdp_dask.dataflow.stream.folder import StreamFolder
from hpdp_dask.dataflow.stream.task import Labelling
from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify import (
    DEFAULT_THRESHOLD,
    FEATURE_METHODS,
    METHODS,
    Model,
    load_model,
    save_model,
    train,
)
from hpdp_dask.spi.classify.pictures import plan_pictures
from hpdp_dask.spi.features import Features
from hpdp_dask.spi.stream.pool import Pool
from hpdp_dask.spi.stream.recipe import labelling_of
from hpdp_dask.stacks.frames import detector_of, open_frames
from hpdp_dask.stacks.store import clear_folder

#: With fewer hits there is nothing to learn from.
FEWEST = 4


@dataclass(frozen=True)
class Settings:
    """How a classifier comes to be.

    Attributes
    ----------
    classes : tuple of str
        What people may label frames as; none if nobody is asked.
    known : dict of int to str, optional
        Labels by id of frame that are known beforehand, and stand for a person.
    method : str
        One of `spi.classify.METHODS`.
    threshold : float
        Probability from which a label is accepted.
    training_size : int
        So many labelled frames make a training set.
    seed : int
    """

    classes: tuple[str, ...] = ()
    known: dict[int, str] | None = None
    method: str = "svm-threshold"
    threshold: float = DEFAULT_THRESHOLD
    training_size: int = 40
    seed: int = 0

    @property
    def learns(self) -> bool:
        """Tell whether a classifier is to be trained at all."""
        return bool(self.classes) or self.known is not None

    def check(self) -> None:
        """Check that they make sense.

        Raises
        ------
        InputError
        """
        if self.method not in METHODS:
            raise InputError(f"{self.method}: no such method; there are {', '.join(METHODS)}.")
        if self.training_size < FEWEST:
            raise InputError(
                f"a training set of {self.training_size} frames is too small; give {FEWEST} or "
                "more."
            )
        if self.known is not None and len(set(self.known.values())) < 2:
            raise InputError(
                f"the labels are of {len(set(self.known.values()))} class; expected two or more."
            )


@dataclass(frozen=True)
class Trained:
    """A model that was trained: its name, on how many labels, in how many seconds."""

    name: str
    labels: int
    seconds: float


def train_model(
    pool: Pool, labels: np.ndarray, settings: Settings, folder: Path
) -> tuple[Labelling, Trained]:
    """Train a model and keep it in the folder of a stream.

    Parameters
    ----------
    pool : Pool
        Frames without a label in it show how features vary.
    labels : (n,) ndarray of str
        Of the first frames of the pool; empty for none.
    settings : Settings
    folder : Path
        Of the stream.

    Returns
    -------
    tuple
        The model as the stream takes it, and what was done.

    Raises
    ------
    InputError
        The labels do not suffice.
    """
    began = time.monotonic()
    model = _fit(pool, labels, settings, folder)
    name = f"{1 + len(_models(folder)):03d}"
    unfinished = folder / "models" / f".{name}"
    unfinished.mkdir(parents=True, exist_ok=True)
    clear_folder(unfinished)
    save_model(unfinished, model)
    unfinished.rename(unfinished.with_name(name))
    labelling = labelling_of(name, model)
    return labelling, Trained(name, sum(model.labelled), time.monotonic() - began)


def _fit(pool: Pool, labels: np.ndarray, settings: Settings, folder: Path) -> Model:
    frames = np.arange(len(labels))
    if settings.method in FEATURE_METHODS:
        inputs, recipe = pool.features(frames), Features().recipe
    else:
        pictures = plan_pictures(detector_of(open_frames(StreamFolder(folder).shared)))
        inputs, recipe = pictures(pool.read(frames)), pictures.recipe
    return train(
        inputs,
        labels,
        method=settings.method,
        threshold=settings.threshold,
        seed=settings.seed,
        recipe=recipe,
        name="the labels of the stream",
    )


def _models(folder: Path) -> list[Path]:
    return sorted((folder / "models").glob("[0-9]*"))


def trained_before(folder: Path) -> list[Trained]:
    """Tell which models earlier processes trained for a stream."""
    return [Trained(path.name, sum(load_model(path).labelled), 0.0) for path in _models(folder)]


def newest_model(folder: Path) -> Labelling | None:
    """Give the model that a stream was left with, if it had one.

    Parameters
    ----------
    folder : Path
        Of the stream.
    """
    models = _models(folder)
    return labelling_of(models[-1].name, load_model(models[-1])) if models else None
