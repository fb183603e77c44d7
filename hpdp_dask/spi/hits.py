"""Which frames are hits: lit pixels, photons, and the likelihood of the background alone.

Two passes: the frames are measured once; what is usual, and who is above it, is told from the
columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.columns import measure_images
from hpdp_dask.errors import InputError
from hpdp_dask.spi.frame_groups import FrameGroups, dimmer_part, group_frames, usual_values
from hpdp_dask.spi.hit_measures import LambdaScore, LitPixels, good_pixels
from hpdp_dask.stacks.frame_schema import check_frames
from hpdp_dask.stacks.frames import add_variables, open_frames

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Degree of the curve of background photons over pulse energy, and misses that it needs.
_DEGREE = 3
_TURNS = 3
_FEWEST_FOR_CURVE = 50


@dataclass(frozen=True)
class HitRule:
    """When a frame is a hit.

    Attributes
    ----------
    by : {"lit_pixels", "lambda_score"}
        What is compared with the others of its group.
    sigmas : float
        By so many standard deviations a hit is above the median.
    min_median, min_sigma : float
        A group with less of either has no hits: no beam, no jet.
    min_pulse_energy : float
        J; a weaker pulse makes no hits. Matters where the energy is known.
    """

    by: Literal["lit_pixels", "lambda_score"] = "lit_pixels"
    sigmas: float = 4.0
    min_median: float = 0.0
    min_sigma: float = 0.0
    min_pulse_energy: float = 0.0


@dataclass(frozen=True)
class Hits:
    """What was found.

    Attributes
    ----------
    number, hits : int
    median, sigma, threshold : float
        Of the groups of frames, their medians.
    groups : str
        What the groups are.
    misses : int
        Frames that were chosen for the background; 0 if none were asked for.
    lit_pixels, photon_count : float
        Medians of the hits; NaN without any.
    scored : bool
        Whether there is a lambda score.
    """

    number: int
    hits: int
    median: float
    sigma: float
    threshold: float
    groups: str
    misses: int
    lit_pixels: float
    photon_count: float
    scored: bool


def find_hits(
    stack_path: str | Path,
    rule: HitRule | None = None,
    *,
    lit_from: int = 1,
    window: int | None = None,
    choose_misses: bool = False,
    seed: int = 0,
    client: Client | None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Hits:
    """Find hits, and add what tells them to the stack.

    Adds `lit_pixels`, `photon_count`, `hit_score`, `hit`; `lambda_score` if there is a
    background; `miss` if asked for.

    Parameters
    ----------
    stack_path : str or Path
    rule : HitRule, optional
    lit_from : int, optional
        A pixel with so many photons is lit.
    window : int, optional
        Frames that are compared with each other; 0 for all, by default those of a train.
    choose_misses : bool, optional
        Choose as many frames that are no hits as there are hits, at random, for the background.
    seed : int, optional
        Of this choice.
    client : distributed.Client or None
        Where the work runs; None for this process.
    overwrite : bool, optional
        Replace what is there.
    history : mapping, optional
        Kept with the stack.
    progress : Progress, optional

    Returns
    -------
    Hits

    Raises
    ------
    InputError
        The stack has no photons, all pixels are masked, or there are hits already.
    """
    rule = rule or HitRule()
    stack = open_frames(stack_path)
    check_frames(stack, ("photons",))
    _check_rule(stack, rule)
    if "hit" in stack and not overwrite:
        raise InputError(f"{stack.attrs['path']}: has hit already; --overwrite replaces it.")
    lit, likelihood = LitPixels(lit_from), None
    good = good_pixels(stack)
    if "background" in stack:
        expected = float(stack["background"].values[good].sum())
        likelihood = LambdaScore((max(expected, 1.0),))
    # without a hit, the columns are what an interrupted run left
    measure_images(
        stack_path,
        [lit, likelihood] if likelihood else [lit],
        client=client,
        overwrite=True,
        history=history,
        progress=progress,
    )
    stack = open_frames(stack_path)
    found, variables = _judge(stack, rule, likelihood, group_frames(stack, window))
    if choose_misses:
        variables["miss"] = _choose_misses(variables["hit"], group_frames(stack, window), seed)
        found = replace(found, misses=int(variables["miss"].sum()))
    elif "miss" in stack:
        # chosen among the misses of another rule
        variables["miss"] = np.zeros(found.number, np.uint8)
    add_variables(
        stack_path,
        {name: (("frame",), values) for name, values in variables.items()},
        overwrite=True,
        history={**(history or {}), **asdict(rule), "groups": found.groups, "seed": seed},
    )
    return found


def _check_rule(stack: xr.Dataset, rule: HitRule) -> None:
    path = stack.attrs["path"]
    if rule.by == "lambda_score" and "background" not in stack:
        raise InputError(
            f"{path}: the lambda score compares with a background, which is not known yet; find "
            "hits by lit pixels first, then run hpdp spi background."
        )
    if rule.min_pulse_energy > 0 and "pulse_energy" not in stack:
        raise InputError(
            f"{path}: no pulse_energy, so no least pulse energy can be asked for; leave out "
            "--min-pulse-energy."
        )


def _judge(
    stack: xr.Dataset, rule: HitRule, likelihood: LambdaScore | None, groups: FrameGroups
) -> tuple[Hits, dict[str, np.ndarray]]:
    """Tell hits from the columns of a stack: what was found, and columns to add."""
    lit = stack["lit_pixels"].values.astype(np.float64)
    energy = _pulse_energies(stack)
    dim = dimmer_part(lit)
    if dim is not None:
        words = f"the {dim.sum():,} dimmest frames, since most are hits"
        groups = FrameGroups(np.zeros(len(lit), np.int64), 1, words)
    median, sigma = _usual(lit, groups, dim)
    # counted things scatter by the root of their number at least
    sigma = np.maximum(sigma, np.sqrt(np.maximum(median, 1.0)))
    alive = (median >= rule.min_median) & (sigma >= rule.min_sigma)
    score = (lit - median[groups.member]) / sigma[groups.member]
    hit = score > rule.sigmas
    variables = {}
    if likelihood is not None:
        variables["lambda_score"] = _rescored(stack, likelihood, energy, ~hit)
    if likelihood is not None and rule.by == "lambda_score":
        # which frames are misses is told by lit pixels first, then by what follows from that
        for _ in range(_TURNS):
            values = _rescored(stack, likelihood, energy, ~hit)
            left = values - _by_energy(values, energy, ~hit, 1)
            median, sigma = _usual(left, groups, dim)
            sigma = np.maximum(sigma, 1e-6)
            score = (left - median[groups.member]) / sigma[groups.member]
            hit = score > rule.sigmas
            variables["lambda_score"] = values
    hit &= alive[groups.member]
    if rule.min_pulse_energy > 0:
        hit &= stack["pulse_energy"].values > rule.min_pulse_energy
    variables |= {"hit_score": score.astype(np.float32), "hit": hit.astype(np.uint8)}
    counts = stack["photon_count"].values
    found = Hits(
        number=len(hit),
        hits=int(hit.sum()),
        median=float(np.median(median)),
        sigma=float(np.median(sigma)),
        threshold=float(np.median(median + rule.sigmas * sigma)),
        groups=groups.words,
        misses=0,
        lit_pixels=float(np.median(lit[hit])) if hit.any() else float("nan"),
        photon_count=float(np.median(counts[hit])) if hit.any() else float("nan"),
        scored=likelihood is not None,
    )
    return found, variables


def _usual(
    values: np.ndarray, groups: FrameGroups, dim: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Give what is usual in each group, or among the dimmest frames, as `usual_values` does."""
    if dim is None:
        return usual_values(values, groups)
    return usual_values(values[dim], FrameGroups(groups.member[dim], 1, groups.words))


def _pulse_energies(stack: xr.Dataset) -> np.ndarray | None:
    """Give the pulse energies, the median where one is not known; None if none is."""
    if "pulse_energy" not in stack:
        return None
    energy = stack["pulse_energy"].values.astype(np.float64)
    known = np.isfinite(energy)
    return np.where(known, energy, np.median(energy[known])) if known.any() else None


def _rescored(
    stack: xr.Dataset, measure: LambdaScore, energy: np.ndarray | None, misses: np.ndarray
) -> np.ndarray:
    """Give the lambda scores with the photons that misses of the same pulse energy have."""
    counts = stack["photon_count"].values.astype(np.float64)
    number = _by_energy(counts, energy, misses, _DEGREE)
    change = np.log(measure.expected[0]) - np.log(np.maximum(number, 1.0))
    return np.asarray(stack["lambda_score"].values + counts * change, np.float32)


def _by_energy(
    values: np.ndarray, energy: np.ndarray | None, misses: np.ndarray, degree: int
) -> np.ndarray:
    """Give what misses of each frame's pulse energy have: a polynomial, or the mean of them."""
    if not misses.any():
        misses = np.ones(len(values), bool)
    if energy is None or misses.sum() < _FEWEST_FOR_CURVE or np.ptp(energy[misses]) == 0:
        return np.full(len(values), values[misses].mean())
    return np.asarray(np.polyval(np.polyfit(energy[misses], values[misses], degree), energy))


def _choose_misses(hit: np.ndarray, groups: FrameGroups, seed: int) -> np.ndarray:
    """Choose as many misses as there are hits in each group, at random."""
    random = np.random.default_rng(seed).random(len(hit))
    order = np.lexsort((random, hit, groups.member))
    number = np.bincount(groups.member, minlength=groups.number)
    first = np.cumsum(number) - number
    hits = np.bincount(groups.member, hit, groups.number).astype(np.int64)
    place = np.arange(len(hit)) - first[groups.member[order]]
    miss = np.zeros(len(hit), np.uint8)
    miss[order] = (hit[order] == 0) & (place < hits[groups.member[order]])
    return miss
