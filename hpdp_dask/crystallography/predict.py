"""What a trained network says of each frame: a measure, for stored frames and for live ones.

The quadrants of a frame are looked at one by one, and their answers put together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from hpdp_dask.crystallography.model_file import (
    DESCRIPTION_FILE,
    Calibration,
    check_torch,
    describe_model,
    find_model,
    load_model,
)
from hpdp_dask.dataflow.columns import Column
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.arrays import Array, fast_namespace, to_host
from hpdp_dask.numerics.quadrants import SIDE, QuadrantPlan, plan_quadrants, pool_quadrants
from hpdp_dask.stacks.frames import detector_of, unit_of

if TYPE_CHECKING:
    from hpdp_dask.crystallography.inference import Answers, Predictor

#: Less of a quadrant than this on the detector says nothing.
_LEAST_COVERED = 0.1

#: The mean square root of counts of a frame of which half the pixels are saturated.
_SATURATED = 127.5

#: Columns of simulated shots, as networks take them: Å, m, m.
SHOT_GEOMETRY = ("shot_wavelength", "shot_distance", "shot_pixel_size")

#: From this probability on a frame is a hit.
HIT_FROM = 0.5

#: 1/Å: where an interval would end at infinity, it ends at 100 Å.
_LEAST_INVERSE = 0.01

#: What a model trained for a task gives.
_COLUMNS = {
    "resolution": ("resolution", "resolution_low", "resolution_high"),
    "lattices": ("several_lattices_probability",),
    "hit": ("hit_probability",),
}


@dataclass(frozen=True)
class Predict:
    """Resolution, probability of several lattices and of a hit, by a trained network.

    A frame that is no hit has no resolution and no lattices: they are NaN. A quadrant that is
    empty or saturated is not looked at, and of a frame without any other all is NaN.

    Attributes
    ----------
    folder : Path
        Of the model, which workers see too.
    digest : str
        Of what the folder describes, so that another model under its name is read anew.
    tasks : tuple of str
        What the model was trained for.
    quadrants : int
        How many of each frame are looked at: 1, 2 or 4.
    shots : bool
        Frames are quadrants already, each with a geometry of its own, as simulated shots are.
    """

    folder: Path
    digest: str
    tasks: tuple[str, ...]
    quadrants: int = 4
    shots: bool = False

    name = "predict"
    images = ("photons", "adu")

    @property
    def needs(self) -> tuple[str, ...]:
        """The geometry of each shot, where it differs."""
        return SHOT_GEOMETRY if self.shots else ()

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it was trained for, and how many quadrants were good."""
        names = [name for task in self.tasks for name in _COLUMNS[task]]
        return {name: Column(np.float32) for name in names} | {"quadrants_used": Column(np.int8)}

    def prepare(self, stack: xr.Dataset) -> _Prepared:
        """Open the model and plan the quadrants.

        Raises
        ------
        InputError
            The geometry is not known, the detector covers too little, or the model is gone.
        """
        from hpdp_dask.crystallography.inference import Predictor

        model = load_model(self.folder)
        prepared = _Prepared(Predictor(model.network, model.tasks), model.calibration)
        return prepared if self.shots else prepared._replace(view=_plan(stack, self.quadrants))

    def measure(self, block: xr.Dataset, prepared: _Prepared) -> Mapping[str, np.ndarray]:
        """Predict for each frame."""
        xp = fast_namespace()
        frames = xp.asarray(block[unit_of(block)].values)
        if prepared.view is None:
            quadrants, covered = frames[:, None], np.ones(1)
            geometry = np.stack([block[name].values for name in SHOT_GEOMETRY], axis=1)
        else:
            plan, chosen, shared = prepared.view
            quadrants = pool_quadrants(frames, plan, chosen)
            covered, geometry = plan.covered[list(chosen)], np.tile(shared, (len(frames), 1))
        used = usable(quadrants, covered)
        answers = prepared.predictor(
            quadrants[xp.asarray(used)], np.repeat(geometry, used.sum(axis=1), axis=0)
        )
        found = combine(answers, used, prepared.calibration, self.tasks)
        return {name: found[name] for name in self.columns}


class _View(NamedTuple):
    """Where the quadrants of a detector are: the plan, which ones, wavelength, distance, size."""

    plan: QuadrantPlan
    chosen: tuple[int, ...]
    geometry: np.ndarray


class _Prepared(NamedTuple):
    """What all frames share; no view where frames are quadrants already."""

    predictor: Predictor
    calibration: Calibration
    view: _View | None = None


def _plan(stack: xr.Dataset, number: int) -> _View:
    """Plan the quadrants of a stack's detector."""
    detector = detector_of(stack)
    plan = plan_quadrants(
        *(detector.pixel_x, detector.pixel_y, detector.pixel_z),
        *(detector.mask, detector.pixel_size),
    )
    chosen = choose_quadrants(plan.covered, number)
    if not chosen:
        raise InputError(
            f"{stack.attrs.get('path', 'the frames')}: good pixels cover less than "
            f"{_LEAST_COVERED:.0%} of every quadrant of {1e3 * SIDE * plan.pixel_size:.0f} mm; are "
            "the mask and the centre of the beam right?"
        )
    return _View(
        plan, chosen, np.array([detector.wavelength, plan.distance, plan.pixel_size], np.float32)
    )


def predict_measure(model: str | Path, quadrants: int = 4) -> Predict:
    """Make the measure of a model.

    Parameters
    ----------
    model : str or path
        A folder, or the name of a model that comes with the package.
    quadrants : int, optional
        How many of each frame are looked at.

    Returns
    -------
    Predict

    Raises
    ------
    InputError
        There is no such model, it cannot be used, or PyTorch is missing.
    """
    if quadrants not in (1, 2, 4):
        raise InputError(f"{quadrants} quadrants of each image; expected 1, 2 or 4.")
    folder = find_model(model)
    described = describe_model(folder)
    check_torch()
    digest = hashlib.sha256((folder / DESCRIPTION_FILE).read_bytes()).hexdigest()
    return Predict(folder, digest, tuple(described["tasks"]), quadrants)


def of_shots(measure: Predict) -> Predict:
    """Give the measure for frames that are quadrants, each with its geometry."""
    return replace(measure, shots=True)


def choose_quadrants(covered: np.ndarray, number: int) -> tuple[int, ...]:
    """Choose quadrants: those that the detector covers best, two of them across the beam.

    Parameters
    ----------
    covered : (4,) ndarray
        Share of each quadrant's cells that have a pixel.
    number : int
        1, 2 or 4.

    Returns
    -------
    tuple of int
        Fewer if the detector covers too little of some.
    """
    # the same of equal ones, whatever the last digit
    best = int(np.argmax(np.round(covered, 3)))
    order = (best, (best + 2) % 4, (best + 1) % 4, (best + 3) % 4)
    return tuple(place for place in order[:number] if covered[place] >= _LEAST_COVERED)


def usable(quadrants: Array, covered: np.ndarray) -> np.ndarray:
    """Tell which quadrants show something: they are neither empty nor saturated for the most.

    Parameters
    ----------
    quadrants : (n, k, SIDE, SIDE) array of uint8
    covered : (k,) ndarray
        Share of the cells of each that have a pixel.

    Returns
    -------
    (n, k) ndarray of bool
    """
    brightness = to_host(quadrants.sum(axis=(2, 3), dtype=np.int32)) / quadrants[0, 0].size
    return (brightness > 0) & (brightness < _SATURATED * covered)


def combine(
    answers: Answers, used: np.ndarray, calibration: Calibration, tasks: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Put the answers for the quadrants of each frame together.

    A frame is a hit if any quadrant is one. The others are asked no further: 1/d is the mean of
    the quadrants, each weighted by the inverse square of the error it expects of itself, and
    that of several lattices the mean of the logits. As the quadrants are of one crystal, their
    errors go together: the interval is not narrower for there being four.

    Parameters
    ----------
    answers : Answers
        Of the quadrants that are used, in order.
    used : (n, k) ndarray of bool
        Which of the quadrants of each frame.
    calibration : Calibration
    tasks : tuple of str
        What the model was trained for.

    Returns
    -------
    dict of str to (n,) ndarray
        All columns of all tasks, NaN where nothing is known, and `quadrants_used`.
    """
    logit = _spread(answers.hit / calibration.hit_temperature, used)
    hit = np.where(used.any(axis=1), _sigmoid(np.where(used, logit, -np.inf).max(axis=1)), np.nan)
    seen = used
    if "hit" in tasks:
        seen = used & (_sigmoid(logit) >= HIT_FROM)
    error = np.exp(_spread(answers.log_spread, used))
    weight = np.where(seen, 1.0 / error**2, 0.0)
    total = weight.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight /= total[:, None]
        inverse = (weight * _spread(answers.inverse_resolution, used)).sum(axis=1)
        half = calibration.spread_factor * (weight * error).sum(axis=1)
        several = _spread(answers.several_lattices / calibration.lattices_temperature, used)
        several = (several * seen).sum(axis=1) / seen.sum(axis=1)
        return {
            "resolution": 1.0 / np.maximum(inverse, _LEAST_INVERSE),
            "resolution_low": 1.0 / np.maximum(inverse - half, _LEAST_INVERSE),
            "resolution_high": 1.0 / np.maximum(inverse + half, _LEAST_INVERSE),
            "several_lattices_probability": _sigmoid(several),
            "hit_probability": hit,
            "quadrants_used": used.sum(axis=1),
        }


def _spread(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Put values of the quadrants that are used to their places, others being 0, (n, k)."""
    found = np.zeros(used.shape)
    found[used] = values
    return found


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    result: np.ndarray = 0.5 * (1.0 + np.tanh(0.5 * logit))
    return result
