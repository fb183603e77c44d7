"""Do the particles differ, and along how many directions? A judgement of held-out evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from hpdp_dask.cryoem.heterogeneity.held_out import Found

#: Chance that homogeneous particles are called heterogeneous, at most.
LEVEL = 0.01

#: Share of the images, those that gain most, without which a gain must still be one.
_OUTLIERS = 0.01


@dataclass(frozen=True)
class HalfVerdict:
    """What the directions of one half-set are worth in the images of the other.

    Attributes
    ----------
    images : int
        Of the other half-set.
    gains, errors : (q,) ndarray
        Mean gain of an image in evidence by each direction, nats, and its standard error.
    controls : (q,) ndarray
        The mean gain by the same directions from a wrong side.
    p_values : (q,) ndarray
        Of the hypothesis that a direction gains nothing, for q such questions.
    """

    images: int
    gains: np.ndarray
    errors: np.ndarray
    controls: np.ndarray
    p_values: np.ndarray

    @property
    def carrying(self) -> np.ndarray:
        """Tell which directions carry evidence; (q,) of bool."""
        return np.asarray(self.p_values < LEVEL)


@dataclass(frozen=True)
class Verdict:
    """Whether the particles of a stack differ.

    Attributes
    ----------
    halves : tuple of HalfVerdict
    p_value : float
        Of the hypothesis that they do not.
    """

    halves: tuple[HalfVerdict, HalfVerdict]
    p_value: float

    @property
    def heterogeneous(self) -> bool:
        """Tell whether the hypothesis that particles are all alike is refused."""
        return self.p_value < LEVEL

    @property
    def directions(self) -> int:
        """Count the directions that carry evidence, in the half-set that has fewer of them."""
        return min(int(half.carrying.sum()) for half in self.halves) if self.heterogeneous else 0

    @property
    def gain(self) -> float:
        """Give the mean gain of an image by the directions that carry evidence, nats."""
        gained = [half.gains[half.carrying].sum() * half.images for half in self.halves]
        return float(sum(gained) / sum(half.images for half in self.halves))


def judge(found: Found) -> Verdict:
    """Judge whether particles differ.

    A direction carries evidence if three things hold of the images that it was not found in: it
    gains, it gains more than it does from a wrong side, and it still gains when the hundredth of
    the images that gain most is left out. Each is asked by the mean over its standard error; the
    largest p-value of the three counts (Berger 1982, Technometrics 24, 295), times the number of
    directions (Bonferroni). Particles differ if both half-sets say so: the p-value is the sum of
    those of the half-sets, which may depend on each other (twice their mean: Vovk & Wang 2020,
    Biometrika 107, 791).

    Of homogeneous particles the expected gain is negative, so the true chance to call them
    heterogeneous is far below `LEVEL`.

    Parameters
    ----------
    found : Found

    Returns
    -------
    Verdict
    """
    first, second = (_judge_half(found, half_set) for half_set in (0, 1))
    least = [half.p_values.min() for half in (first, second)]
    return Verdict((first, second), min(1.0, float(sum(least))))


def _judge_half(found: Found, half_set: int) -> HalfVerdict:
    """Judge the directions of a half-set by the images of the other."""
    others = found.half_set != half_set
    gains, controls = found.gains[others], found.controls[others]
    most = np.quantile(gains, 1.0 - _OUTLIERS, axis=0)
    p_values = np.empty(gains.shape[1])
    for k in range(gains.shape[1]):
        asked = (gains[:, k], gains[:, k] - controls[:, k], gains[gains[:, k] <= most[k], k])
        p_values[k] = max(_chance_of(each) for each in asked)
    return HalfVerdict(
        len(gains),
        gains.mean(0),
        gains.std(0) / np.sqrt(len(gains)),
        controls.mean(0),
        np.minimum(1.0, len(p_values) * p_values),
    )


def _chance_of(values: np.ndarray) -> float:
    """Give the chance of so large a mean, or a larger one, if the true one is 0."""
    error = values.std() / np.sqrt(len(values))
    return float(norm.sf(values.mean() / max(float(error), 1e-300)))
