"""A model on disk: a folder with weights, what they are, and a card for people.

`model.safetensors` has the weights, `model.json` the network, the tasks, the preprocessing and
the calibration, `README.md` is the model card. Nothing is pickled, so that a model from elsewhere
can be opened without trust.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.quadrants import MOST_COUNTS, PREPROCESSING_VERSION, SIDE

if TYPE_CHECKING:
    from hpdp_dask.crystallography.networks import QuadrantNetwork

DESCRIPTION_FILE, WEIGHTS_FILE, CARD_FILE = "model.json", "model.safetensors", "README.md"
_KIND, _VERSION = "crystals model", 1

#: What a model may be trained for.
TASKS = ("resolution", "lattices", "hit")

#: Models that come with the package.
_SHIPPED = Path(__file__).parent / "models"

#: How quadrants are made, as it is told in the file.
PREPROCESSING = {"version": PREPROCESSING_VERSION, "side": SIDE, "most_counts": MOST_COUNTS}


@dataclass(frozen=True)
class Calibration:
    """What makes probabilities and intervals of a network's outputs.

    Attributes
    ----------
    hit_temperature, lattices_temperature : float
        Logits are divided by it (Guo et al. 2017, ICML, 1321).
    spread_factor : float
        Of 90 % of held-back shots, 1/d is not farther off than this times the error that the
        network expects (split conformal prediction, Lei et al. 2018, JASA 113, 1094).
    """

    hit_temperature: float = 1.0
    lattices_temperature: float = 1.0
    spread_factor: float = 1.645


@dataclass(frozen=True)
class Model:
    """A network with what is known of it.

    Attributes
    ----------
    network : QuadrantNetwork
    tasks : tuple of str
        Of `TASKS`: what it was trained for; other outputs mean nothing.
    calibration : Calibration
    training, metrics : mapping
        For people: data, recipe, seed; what was measured on held-back shots.
    """

    network: QuadrantNetwork
    tasks: tuple[str, ...] = TASKS
    calibration: Calibration = Calibration()
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


def check_torch() -> None:
    """Check that PyTorch and safetensors are there.

    Raises
    ------
    InputError
        One is not; says how to install it.
    """
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"networks need {error.name}, which is not installed; pip install hpdp-dask[learn] "
            "brings it."
        ) from error


def shipped_models() -> list[str]:
    """Give the names of the models that come with the package."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{DESCRIPTION_FILE}"))


def find_model(name: str | Path) -> Path:
    """Find a model by the name of one that comes with the package, or by its folder.

    Raises
    ------
    InputError
        It is neither.
    """
    folder = Path(name)
    if (folder / DESCRIPTION_FILE).is_file():
        return folder.absolute()
    if str(name) in shipped_models():
        return _SHIPPED / str(name)
    known = ", ".join(shipped_models()) or "none"
    raise InputError(
        f"{name}: no model; expected a folder with {DESCRIPTION_FILE}, as hpdp crystals train "
        f"makes it, or one that comes with the package ({known})."
    )


def save_model(folder: str | Path, model: Model, card: str) -> None:
    """Write a model into a folder, which exists.

    Parameters
    ----------
    folder : path
    model : Model
        The weights are written as they are, so the batch norms should not have been folded.
    card : str
        Markdown: what the model is, data, metrics, limits.
    """
    from safetensors.torch import save

    folder = Path(folder)
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in model.network.state_dict().items()
    }
    written = save(weights)
    described = {
        "kind": _KIND,
        "version": _VERSION,
        "network": model.network.name,
        "tasks": list(model.tasks),
        "preprocessing": PREPROCESSING,
        "calibration": asdict(model.calibration),
        "weights_sha256": hashlib.sha256(written).hexdigest(),
        "training": dict(model.training),
        "metrics": dict(model.metrics),
    }
    (folder / WEIGHTS_FILE).write_bytes(written)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    # last, since it is what tells of a model
    (folder / DESCRIPTION_FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def describe_model(folder: str | Path) -> dict[str, Any]:
    """Read what `model.json` says, and check that this version can use the model.

    Parameters
    ----------
    folder : path

    Returns
    -------
    dict

    Raises
    ------
    InputError
        It cannot be read, is no model, or is one for images made ready in another way.
    """
    path = Path(folder) / DESCRIPTION_FILE
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error}); train the model again.") from error
    if not isinstance(described, dict) or described.get("kind") != _KIND:
        raise InputError(f"{path}: describes no model of hpdp crystals train.")
    if described.get("version") != _VERSION:
        raise InputError(
            f"{path}: version is {described.get('version')}, this hpdp reads {_VERSION}; train the "
            "model again."
        )
    if described.get("preprocessing") != PREPROCESSING:
        raise InputError(
            f"{path}: preprocessing is {described.get('preprocessing')}, this hpdp makes quadrants "
            f"by {PREPROCESSING}; train the model again, or use the hpdp it was trained with."
        )
    return described


def load_model(name: str | Path) -> Model:
    """Open a model, its network ready to predict.

    Parameters
    ----------
    name : str or path
        Its folder, or the name of one that comes with the package.

    Raises
    ------
    InputError
        There is none, PyTorch is missing, the weights are damaged or of another network, or the
        model is for images made ready in another way.
    """
    folder = find_model(name)
    described = describe_model(folder)
    check_torch()
    from safetensors.torch import load

    from hpdp_dask.crystallography.networks import build_network

    path = folder / WEIGHTS_FILE
    try:
        written = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error
    if hashlib.sha256(written).hexdigest() != described.get("weights_sha256"):
        raise InputError(
            f"{path}: is not what {DESCRIPTION_FILE} tells of; copy both of them again."
        )
    network = build_network(described["network"])
    try:
        network.load_state_dict(load(written))
        calibration = Calibration(**described["calibration"])
        tasks = tuple(task for task in TASKS if task in described["tasks"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: is not as this hpdp writes models ({str(error).splitlines()[0]}); train "
            "the model again."
        ) from error
    return Model(network.eval(), tasks, calibration, described["training"], described["metrics"])
