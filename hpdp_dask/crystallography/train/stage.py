"""From simulated shots to a model: learn, calibrate, and judge by shots that were held back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.crystallography.model_file import Calibration, Model, check_torch
from hpdp_dask.crystallography.train.calibrate import calibrate, calibration_error
from hpdp_dask.crystallography.train.learner import GEOMETRY, TRUTHS, QuadrantLearner
from hpdp_dask.crystallography.train.scores import score
from hpdp_dask.dataflow.training import TrainingSettings, apply_network, train_network
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.quadrants import PREPROCESSING_VERSION, SIDE
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.stacks.layout import read_layout
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    import torch
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Share of the shots that is held back: half of it calibrates, half of it judges.
HELD_BACK = 0.1

#: Shots whose features are made at once.
_AT_ONCE = 16


@dataclass(frozen=True)
class Learnt:
    """A model, and how it did on shots that it had no part in.

    Attributes
    ----------
    model : Model
        With its metrics.
    history : list of dict
        As `dataflow.training.Trained` has it.
    outputs, truths : dict of str to (n,) ndarray
        Of the shots that judged.
    """

    model: Model
    history: list[dict[str, Any]]
    outputs: dict[str, np.ndarray]
    truths: dict[str, np.ndarray]


def check_shots(path: Path) -> int:
    """Check that a stack holds simulated shots that this version can learn from; count them.

    Raises
    ------
    InputError
        It does not: says what is missing.
    """
    layout = read_layout(path)
    stack = open_frames(path)
    if layout.image_shape != (SIDE, SIDE) or layout.dtype != np.uint8:
        raise InputError(
            f"{path}: frames of {layout.image_shape[0]} x {layout.image_shape[1]} {layout.dtype}, "
            f"expected quadrants of {SIDE} x {SIDE} bytes, as hpdp crystals simulate makes them "
            "without --whole."
        )
    version = stack.attrs.get("preprocessing")
    if isinstance(version, Mapping):
        version = version.get("version")
    if version != PREPROCESSING_VERSION:
        raise InputError(
            f"{path}: quadrants of preprocessing {version}, this hpdp makes "
            f"{PREPROCESSING_VERSION}; simulate them again."
        )
    missing = [name for name in (*TRUTHS, *GEOMETRY) if name not in stack]
    if missing:
        raise InputError(
            f"{path}: no {', '.join(missing)}, which the training needs; make shots with hpdp "
            "crystals simulate."
        )
    return layout.number


def train_model(
    stack_path: Path,
    learner: QuadrantLearner,
    settings: TrainingSettings,
    folder: Path,
    *,
    images: int | None = None,
    client: Client | None = None,
    progress: Progress | None = None,
    tell: Callable[[dict[str, Any]], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Learnt:
    """Train a model on simulated shots.

    The last tenth of the stack is held back, whatever number of images is learnt from, so that
    trainings on more and fewer images are judged alike.

    Parameters
    ----------
    stack_path : Path
        As `hpdp crystals simulate` makes it.
    learner : QuadrantLearner
    settings : TrainingSettings
    folder : Path
        For checkpoints.
    images : int, optional
        How many to learn from; by default all that are not held back.
    client, progress, tell, say
        As for `dataflow.training.train_network`.

    Returns
    -------
    Learnt

    Raises
    ------
    InputError
        See `check_shots` and `train_network`; or more images are asked for than there are.
    """
    check_torch()
    number = check_shots(stack_path)
    held = max(2, round(HELD_BACK * number))
    start, middle = number - held, number - held // 2
    wanted = start if images is None else images
    if not 0 < wanted <= start:
        raise InputError(
            f"{stack_path}: {wanted} images to learn from are asked for, there are {start} beside "
            f"the {held} that are held back."
        )
    trained = train_network(
        stack_path,
        learner,
        settings,
        folder,
        train=(0, wanted),
        held_back=(start, middle),
        client=client,
        progress=progress,
        tell=tell,
        say=say,
    )
    stack = open_frames(stack_path)
    rows = {name: stack[name].values for name in learner.needs}
    if learner.lattices_apart and "lattices" in learner.tasks:
        fit_apart(trained.network, learner, stack_path, rows, wanted)
    outputs = apply_network(trained.network, learner, stack_path, start, number, rows=rows)
    truths = {name: rows[name][start:] for name in TRUTHS}
    early = slice(0, middle - start), slice(middle - start, None)
    (outputs_a, truths_a), (outputs_b, truths_b) = (
        (
            {name: each[part] for name, each in outputs.items()},
            {n: t[part] for n, t in truths.items()},
        )
        for part in early
    )
    calibration = calibrate(outputs_a, truths_a)
    metrics: dict[str, Any] = {
        "shots_learnt_from": wanted,
        "shots_judged": number - middle,
        **score(outputs_b, truths_b, learner.tasks),
        **judge_calibration(outputs_b, truths_b, calibration, learner.tasks),
    }
    model = Model(trained.network, learner.tasks, calibration, {}, metrics)
    return Learnt(model, trained.history, outputs_b, truths_b)


def fit_apart(
    network: torch.nn.Module,
    learner: QuadrantLearner,
    stack_path: Path,
    rows: Mapping[str, np.ndarray],
    number: int,
) -> None:
    """Fit the head for several lattices to the first shots of a stack, those that are hits."""
    from hpdp_dask.crystallography.lattice_head import features_of, fit_lattices

    reader = ImageReader(stack_path)
    geometry = np.stack([rows[name][:number] for name in GEOMETRY], axis=1)
    starts = range(0, number, _AT_ONCE)
    batches = (
        (reader.read(start, min(start + _AT_ONCE, number)), geometry[start : start + _AT_ONCE])
        for start in starts
    )
    features = features_of(batches)
    hit = rows["true_hit"][:number] == 1
    fit_lattices(network, features[hit], rows["true_lattices"][:number][hit] > 1, learner.seed)


def judge_calibration(
    outputs: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
    calibration: Calibration,
    tasks: tuple[str, ...],
) -> dict[str, float]:
    """Tell how well intervals and probabilities keep what they say.

    Returns
    -------
    dict
        `interval_coverage`, the share of 1/d of hits inside the interval of 90 %;
        `hit_calibration` and `lattices_calibration`, mean difference of probabilities and what
        came true.
    """
    hit = truths["true_hit"] == 1
    found: dict[str, float] = {}
    if "resolution" in tasks:
        distance = np.abs(
            outputs["inverse_resolution"] - 1.0 / np.where(hit, truths["true_resolution"], 1.0)
        )
        within = distance <= calibration.spread_factor * np.exp(outputs["log_spread"])
        found["interval_coverage"] = float(within[hit].mean())
    if "lattices" in tasks:
        probability = probabilities(outputs["several_lattices"], calibration.lattices_temperature)
        several = truths["true_lattices"] > 1
        found["lattices_calibration"] = calibration_error(probability[hit], several[hit])
    if "hit" in tasks:
        probability = probabilities(outputs["hit"], calibration.hit_temperature)
        found["hit_calibration"] = calibration_error(probability, hit)
    return found


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Make probabilities of logits."""
    from scipy.special import expit

    return np.asarray(expit(logits.astype(np.float64) / temperature))
