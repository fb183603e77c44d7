"""Probabilities and intervals that mean what they say, from shots that were held back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize_scalar

from hpdp_dask.crystallography.model_file import Calibration

#: Share of shots whose 1/d an interval should hold.
COVERAGE = 0.9


def calibrate(outputs: Mapping[str, np.ndarray], truths: Mapping[str, np.ndarray]) -> Calibration:
    """Calibrate a network by shots that it did not learn from.

    Parameters
    ----------
    outputs : mapping
        By the names of `networks.Outputs`, (n,) each.
    truths : mapping
        `true_hit`, `true_resolution`, `true_lattices`.
    """
    hit = truths["true_hit"] == 1
    distance = np.abs(outputs["inverse_resolution"][hit] - 1.0 / truths["true_resolution"][hit])
    return Calibration(
        hit_temperature=fit_temperature(outputs["hit"], hit),
        lattices_temperature=fit_temperature(
            outputs["several_lattices"][hit], truths["true_lattices"][hit] > 1
        ),
        spread_factor=conformal_factor(distance, np.exp(outputs["log_spread"][hit])),
    )


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """Find what logits must be divided by to be most likely (Guo et al. 2017, ICML, 1321).

    Parameters
    ----------
    logits : (n,) ndarray
    truth : (n,) ndarray of bool

    Returns
    -------
    float
        Between 0.05 and 20; 1 if all shots are of one kind, since that tells nothing.
    """
    if truth.all() or not truth.any():
        return 1.0
    signed = np.where(truth, logits, -logits).astype(np.float64)

    def cost(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -signed / np.exp(log_temperature)).mean())

    found = minimize_scalar(cost, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def conformal_factor(distance: np.ndarray, spread: np.ndarray, coverage: float = COVERAGE) -> float:
    """Find how many expected errors hold a share of the true ones.

    Split conformal prediction with normalised residuals (Lei et al. 2018, JASA 113, 1094): of
    further shots of the same kind at least that share will be within.

    Parameters
    ----------
    distance, spread : (n,) ndarray
        Of an answer from the truth, and what was expected of it.
    coverage : float, optional

    Returns
    -------
    float
        1.645, as of a normal distribution, if there is nothing to go by.
    """
    if not len(distance):
        return 1.645
    place = min(len(distance), int(np.ceil((len(distance) + 1) * coverage))) - 1
    return float(np.sort(distance / spread)[place])


def calibration_error(probability: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Give the mean difference between probabilities and what came true, in bins of probability.

    Parameters
    ----------
    probability : (n,) ndarray
    truth : (n,) ndarray of bool
    bins : int, optional
    """
    place = np.minimum((probability * bins).astype(int), bins - 1)
    number = np.bincount(place, minlength=bins)
    difference = np.bincount(place, probability - truth, minlength=bins)
    return float(np.abs(difference).sum() / max(1, number.sum()))
