"""A model on disk: `model.json` for people and `model.npz` with its arrays; nothing is pickled."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify.clusters import Clusters
from hpdp_dask.spi.classify.model import METHODS, PICTURE_METHODS, Fitted, Model
from hpdp_dask.spi.classify.networks import Network
from hpdp_dask.spi.classify.svm import SupportVectors

_DESCRIPTION, _ARRAYS = "model.json", "model.npz"
_VERSION = 1

#: What arrays of the network's weights are called in the file.
_WEIGHT = "weights/"


def save_model(folder: Path, model: Model) -> None:
    """Write a model into a folder, which exists."""
    described = {
        "version": _VERSION,
        "method": model.method,
        "classes": list(model.classes),
        "threshold": model.threshold,
        "seed": model.seed,
        "labelled": dict(zip(model.classes, model.labelled, strict=True)),
        "recipe": dict(model.recipe),
        "recipe_digest": model.digest,
        "metrics": dict(model.metrics),
    }
    arrays: dict[str, np.ndarray] = {}
    for each in fields(model.fitted):
        value = getattr(model.fitted, each.name)
        if isinstance(value, dict):
            arrays |= {_WEIGHT + name: array for name, array in value.items()}
        elif isinstance(value, np.ndarray):
            arrays[each.name] = value
    with (folder / _ARRAYS).open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # mypy takes it for a flag
    (folder / _DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def load_model(folder: Path) -> Model:
    """Read a model.

    Parameters
    ----------
    folder : Path
        That `hpdp spi classify` made, or `save_model` wrote into.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        There is no model, or it is not as this version writes it.
    """
    folder = Path(folder)
    path = folder / _DESCRIPTION
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        with (folder / _ARRAYS).open("rb") as file:
            found = np.load(file, allow_pickle=False)
            arrays = {name: found[name] for name in found.files}
        if described["version"] != _VERSION:
            raise InputError(
                f"{path}: of version {described['version']}, this hpdp reads {_VERSION}; train the "
                "model again."
            )
        return _model_of(described, arrays)
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: {error.strerror}; expected a folder that "
            "hpdp spi classify --labels made."
        ) from None
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, BadZipFile) as error:
        raise InputError(
            f"{folder}: its model cannot be read ({error}); train it again with "
            "hpdp spi classify --labels."
        ) from None


def _model_of(described: dict[str, Any], arrays: dict[str, np.ndarray]) -> Model:
    """Put a model together."""
    method = described["method"]
    if method not in METHODS:
        raise ValueError(f"the method {method} is not known")
    fitted: Fitted
    if method in PICTURE_METHODS:
        weights = {
            name.removeprefix(_WEIGHT): array
            for name, array in arrays.items()
            if name.startswith(_WEIGHT)
        }
        fitted = Network(method, arrays["middle"], arrays["spread"], weights)
    elif method in ("svm", "svm-threshold"):
        fitted = SupportVectors(**arrays)
    else:
        fitted = Clusters(**arrays)
    return Model(
        method=method,
        classes=tuple(described["classes"]),
        threshold=float(described["threshold"]),
        recipe=described["recipe"],
        seed=int(described["seed"]),
        labelled=tuple(described["labelled"].values()),
        fitted=fitted,
        metrics=described["metrics"],
    )
