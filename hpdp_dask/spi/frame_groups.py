"""Frames that were recorded under the same conditions, and what is usual among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

#: Trains with fewer frames are taken together with those that follow.
FEWEST_IN_TRAIN = 20

#: So many standard deviations above the median of the dimmer part that of the others is.
APART = 4.0

#: The standard deviation of a normal distribution over the distance of its quartiles to its median.
TO_SIGMA = 1.4826


@dataclass(frozen=True)
class FrameGroups:
    """Which group each frame belongs to.

    Attributes
    ----------
    member : (n,) ndarray of int64
        From 0, in the order of the frames.
    number : int
        Groups.
    words : str
        What they are.
    """

    member: np.ndarray
    number: int
    words: str

    def mean(self, values: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Average values over the chosen frames of each group: (groups,) means and numbers.

        NaN where a group has none.
        """
        number = np.bincount(self.member[chosen], minlength=self.number)
        total = np.bincount(self.member[chosen], values[chosen], self.number)
        return np.where(number > 0, total / np.maximum(number, 1), np.nan), number


def group_frames(stack: xr.Dataset, window: int | None = None) -> FrameGroups:
    """Group frames by their trains, or by windows of frames that follow each other.

    Parameters
    ----------
    stack : xarray.Dataset
    window : int, optional
        Frames of a window; 0 for the whole stack. By default a train is a group if trains have
        `FEWEST_IN_TRAIN` frames or more, and else the whole stack.

    Returns
    -------
    FrameGroups
    """
    number = stack.sizes["frame"]
    if window:
        # the last one would be too short
        groups = max(1, number // window)
        member = np.minimum(np.arange(number) // window, groups - 1)
        return FrameGroups(member, groups, f"windows of {window:,} frames")
    if window is None and "train_id" in stack:
        trains, member = np.unique(stack["train_id"].values, return_inverse=True)
        if number >= FEWEST_IN_TRAIN * len(trains):
            return FrameGroups(member.reshape(-1), len(trains), f"{len(trains):,} trains")
    return FrameGroups(np.zeros(number, np.int64), 1, "the whole stack")


def usual_values(values: np.ndarray, groups: FrameGroups) -> tuple[np.ndarray, np.ndarray]:
    """Give median and spread of each group, from the lower half, where there are no hits.

    Parameters
    ----------
    values : (n,) ndarray
    groups : FrameGroups

    Returns
    -------
    median, sigma : (groups,) ndarray of float64
        `sigma` is 1.4826 times the distance of the lower quartile to the median.
    """
    order = np.lexsort((values, groups.member))
    ordered = values[order].astype(np.float64)
    number = np.bincount(groups.member, minlength=groups.number)
    first = np.cumsum(number) - number

    def quantile(share: float) -> np.ndarray:
        place = first + share * (number - 1)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, first + number - 1)
        return np.asarray(ordered[below] + (place - below) * (ordered[above] - ordered[below]))

    median = quantile(0.5)
    return median, TO_SIGMA * (median - quantile(0.25))


def dimmer_part(values: np.ndarray) -> np.ndarray | None:
    """Find the frames without a particle where most frames have one.

    The logarithms are split where the parts differ most (Otsu 1979, IEEE Trans. Syst. Man Cybern.
    9, 62). What is usual is told from the median as long as that is a miss; so the lower part is
    of interest only if it is the smaller one, and only if it stands apart from the upper.

    Parameters
    ----------
    values : (n,) ndarray
        From 0.

    Returns
    -------
    (n,) ndarray of bool, or None
        The lower part; None if the median tells what is usual.
    """
    ordered = np.sort(np.log1p(values.astype(np.float64)))
    number = len(ordered)
    if number < 2 * FEWEST_IN_TRAIN:
        return None
    below = np.arange(1, number)
    sums = np.cumsum(ordered)
    difference = (sums[-1] - sums[:-1]) / (number - below) - sums[:-1] / below
    split = int(np.argmax(below * (number - below) * difference**2)) + 1
    if not FEWEST_IN_TRAIN <= split < number / 2:
        return None
    found: np.ndarray = np.log1p(values) < ordered[split]
    whole = FrameGroups(np.zeros(int(found.sum()), np.int64), 1, "")
    median, sigma = usual_values(values[found], whole)
    sigma = np.maximum(sigma, np.sqrt(np.maximum(median, 1.0)))
    return found if median[0] + APART * sigma[0] < np.median(values[~found]) else None
