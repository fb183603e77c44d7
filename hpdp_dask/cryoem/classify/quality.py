"""How good classes are: what they resolve, what they show, whether they show the same molecule.

The score of a class, from 0 to 1, is the product of two numbers.

*Clarity* says that there is something at all: 2 p - 1 with p the mean probability, over the images
of the class, that the image holds what the average shows and not noise alone, both being as
likely beforehand (the evidence for the averages over that for an empty image). Images of nothing
gather in an empty average, whose clarity is 0.

*Agreement* says that it is the molecule that most images show. Projections of one molecule have,
two by two, a central line of their transforms in common (Crowther, DeRosier & Klug 1970, Proc. R.
Soc. A 317, 319), which is also to say that they have the same mass. The disagreement of two
averages is the least squared difference of any two lines, over the power of both; that of a class
is the median of its disagreements with all images' classes. Where it is as large as usual, the
agreement is near 1; where it is `USUAL_TIMES` as large it is a half. Of few images the
averages are noisy and agree with nothing; of fewer than `FEWEST_TO_COMPARE` classes none is usual.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.cryoem.classify.schedule import Settings, State
from hpdp_dask.numerics.fourier import half_plane
from hpdp_dask.numerics.planar import in_plane_rotations, transform_averages

#: What `select` keeps by default: classes of this score or more.
DEFAULT_SCORE = 0.5

#: A disagreement of so many times the usual makes an agreement of a half.
USUAL_TIMES = 2.5
_STEEPNESS = 4.0

#: Classes that show something, for any to be usual.
FEWEST_TO_COMPARE = 4

#: Lines are compared at so many angles, moved by up to a share of the box.
_LINES = 90
_MOVES = 9
_MOVE_SHARE = 0.03


@dataclass(frozen=True)
class ClassTable:
    """The classes of a classification, the best first.

    Attributes
    ----------
    particles : (k,) ndarray of int
        Whose best pose is in the class.
    resolution : (k,) ndarray of float64
        Å, of the last shell with more signal than noise; infinity if there is none.
    score : (k,) ndarray of float64
        From 0 to 1.
    """

    particles: np.ndarray
    resolution: np.ndarray
    score: np.ndarray


def resolved_shells(ssnr: np.ndarray) -> np.ndarray:
    """Count the shells from 1 on in which averages have more signal than noise.

    Parameters
    ----------
    ssnr : (k, shells) ndarray
        Of the averages, from shell 0.

    Returns
    -------
    (k,) ndarray of int
        The last of the shells that all have a ratio of 1 or more; 0 if the first has not.
    """
    below = np.concatenate([ssnr[:, 1:] < 1.0, np.ones((len(ssnr), 1), bool)], axis=1)
    return below.argmax(axis=1)


def rank_classes(
    settings: Settings, state: State, averages: np.ndarray, results: dict[str, np.ndarray]
) -> tuple[ClassTable, np.ndarray]:
    """Score classes and put them in order.

    Parameters
    ----------
    settings : Settings
    state : State
        The last.
    averages : (k, N, N) ndarray of float32
    results : dict of arrays
        Of the last pass.

    Returns
    -------
    ClassTable
    order : (k,) ndarray of int
        The classes as they are ranked: by score in steps of a tenth, then by particles, so that
        small differences do not put a class of a few images first.
    """
    shells = np.array(state.shells)
    particles = np.bincount(results["class_number"], minlength=settings.classes)
    clarity = clarity_of(results["evidence"], results["class_number"], settings.classes)
    clarity[shells == 0] = 0.0
    score = clarity * agreement_of(averages, particles, shells)
    order = np.lexsort((-particles, -np.round(score, 1)))
    with np.errstate(divide="ignore"):
        resolution = settings.extent / shells
    return ClassTable(particles[order], resolution[order], score[order]), order


def clarity_of(evidence: np.ndarray, class_number: np.ndarray, classes: int) -> np.ndarray:
    """Say how clearly the images of each class hold something; see above.

    Parameters
    ----------
    evidence : (n,) ndarray
        Log of the likelihood under the classes over that of an empty image.
    class_number : (n,) ndarray of int
        From 0.
    classes : int

    Returns
    -------
    (classes,) ndarray of float64
        From 0 to 1; 0 for a class without images.
    """
    holds = 0.5 * (1.0 + np.tanh(0.5 * evidence))
    members = np.bincount(class_number, minlength=classes)
    sums = np.bincount(class_number, weights=holds, minlength=classes)
    return np.clip(2.0 * sums / np.maximum(members, 1) - 1.0, 0.0, 1.0)


def agreement_of(averages: np.ndarray, particles: np.ndarray, shells: np.ndarray) -> np.ndarray:
    """Say how well each class agrees with the others; see above.

    Parameters
    ----------
    averages : (k, N, N) ndarray of float32
    particles, shells : (k,) ndarray of int
        How many images each has and how many shells it resolves.

    Returns
    -------
    (k,) ndarray of float64
        From 0 to 1; 1 for classes that resolve nothing or have no images, and for all if too few
        can be compared.
    """
    agreement = np.ones(len(averages))
    shown = np.flatnonzero((shells > 0) & (particles > 0))
    if len(shown) < FEWEST_TO_COMPARE:
        return agreement
    pairs = disagreements(averages[shown], int(np.median(shells[shown])))
    weights = particles[shown].astype(np.float64)
    of_class = np.array(
        [_weighted_median(np.delete(pairs[i], i), np.delete(weights, i)) for i in range(len(shown))]
    )
    usual = _weighted_median(of_class, weights)
    agreement[shown] = 1.0 / (1.0 + (of_class / (USUAL_TIMES * usual)) ** _STEEPNESS)
    return agreement


def disagreements(averages: np.ndarray, radius: int) -> np.ndarray:
    """Compare the central lines of averages, two by two.

    Parameters
    ----------
    averages : (k, N, N) ndarray of float32
    radius : int
        Shells to compare.

    Returns
    -------
    (k, k) ndarray of float64
        The least squared difference of two lines over the power of both: 0 for the same line, 1
        for lines that have nothing in common.
    """
    box = averages.shape[-1]
    plane = half_plane(box, radius)
    turns = in_plane_rotations(box, radius, np.arange(_LINES) * 360.0 / _LINES)
    rows = turns.extract(transform_averages(averages, radius))
    along = np.flatnonzero((plane.y == 0) & (plane.x > 0))
    along = along[np.argsort(plane.x[along])]
    lines = rows.reshape(len(averages), _LINES, -1)[:, :, along]
    moves = np.linspace(-_MOVE_SHARE, _MOVE_SHARE, _MOVES)
    phases = np.exp(-2j * np.pi * np.outer(moves, plane.x[along])).astype(np.complex64)
    power = np.square(np.abs(lines)).sum(axis=2)
    least = np.zeros((len(averages), len(averages)))
    for one, of_one in enumerate(lines):
        # a line and its opposite are each other's conjugates, in both averages at once
        moved = (of_one[: _LINES // 2, None] * phases).reshape(-1, len(along))
        own = np.repeat(power[one, : _LINES // 2], _MOVES)[:, None]
        for other in range(one):
            product = (moved @ lines[other].conj().T).real
            both = np.maximum(own + power[other], np.finfo(np.float32).tiny)
            least[one, other] = least[other, one] = 1.0 - (2.0 * product / both).max()
    return least


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(reached, 0.5 * reached[-1])]])
