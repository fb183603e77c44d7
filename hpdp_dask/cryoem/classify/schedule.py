"""Which images, shells, angles and shifts a pass takes; and the state between passes.

The first passes take a part of the images, enough for a rough average of each class, so that the
averages change often; the last take all. The resolution grows a few shells beyond what the
classes resolve, and angles and shifts get finer with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hpdp_dask.cryoem.classify.turned import TurnLevel
from hpdp_dask.cryoem.search import ShiftPrior
from hpdp_dask.numerics.fourier import half_plane

#: Å; nothing finer is compared in the first pass.
FIRST_RESOLUTION = 40.0

#: Steps of the in-plane angle, degrees, coarsest first, and the longest arc that a step may take
#: at the rim of the mask, in units of the resolution (RELION's value for classes).
STEPS = (12.0, 6.0, 3.0)
ARC_PER_RESOLUTION = 1.5

#: Passes that take a part of the images take at most so many a class, this share of all, and this
#: number; but so many a class at least. And the share of passes that take all.
IMAGES_PER_CLASS = 250
PART = 0.5
MOST_IMAGES = 3000
LEAST_PER_CLASS = 50
FULL_SHARE = 0.2

#: Shells compared beyond those that the better classes resolve.
SHELLS_BEYOND = 4

#: How far a particle may be off the centre, as a share of the box; and in units of the step of
#: the grid of shifts about where the image was found in the last full pass.
SHIFT_RANGE = 0.08
NEAR_STEPS = 2.0

#: The step of the grid of shifts in units of the resolution, if that is more than a pixel; and
#: the longest on the coarsest level.
SHIFT_STEP = 0.25
LONGEST_SHIFT_STEP = 0.31

#: Coarse levels of a search compare this share of the shells at most.
COARSE_SHARE = 0.6


@dataclass(frozen=True)
class Settings:
    """What a classification depends on, besides the images.

    Attributes
    ----------
    classes, iterations : int
    seed : int
    number : int
        Images.
    box : int
        Their side, pixels; even.
    pixel_size : float
        Å.
    groups : int
        Optics groups.
    mask_diameter : float
        Å, of the soft circle that averages are cut to.
    """

    classes: int
    iterations: int
    seed: int
    number: int
    box: int
    pixel_size: float
    groups: int
    mask_diameter: float

    @property
    def extent(self) -> float:
        """Side of the images, Å."""
        return self.box * self.pixel_size

    @property
    def shift_range(self) -> float:
        """How far off the centre a particle is looked for, Å."""
        return SHIFT_RANGE * self.extent

    @property
    def limit(self) -> int:
        """The last shell that may be compared: below Nyquist's, resolved by the finest step."""
        finest = arc(STEPS[-1], self.mask_diameter) / ARC_PER_RESOLUTION
        return max(self.first_radius, min(self.box // 2 - 1, int(self.extent / finest)))

    @property
    def first_radius(self) -> int:
        """The last shell of the first pass."""
        return min(self.box // 2 - 1, max(3, int(np.ceil(self.extent / FIRST_RESOLUTION))))

    @property
    def part(self) -> float:
        """The share of the images in a pass that takes a part of them."""
        most = min(IMAGES_PER_CLASS * self.classes, PART * self.number, MOST_IMAGES)
        return min(1.0, max(LEAST_PER_CLASS * self.classes, most) / self.number)

    def settles(self, iteration: int) -> bool:
        """Tell whether a pass, counted from 0, is one of the last: no class begins anew."""
        return iteration >= self.iterations - max(1, round(FULL_SHARE * self.iterations))

    def is_full(self, iteration: int) -> bool:
        """Tell whether a pass, counted from 0, takes all images: the last, and all of a few."""
        return self.part >= 1.0 or self.settles(iteration)

    def step_for(self, radius: int) -> float:
        """Give the step of the in-plane angle for a last shell, degrees."""
        longest = ARC_PER_RESOLUTION * self.extent / radius
        return next((step for step in STEPS if arc(step, self.mask_diameter) <= longest), STEPS[-1])

    def levels(self, radius: int, iteration: int) -> list[TurnLevel]:
        """Give the levels of the search of a pass, angles moved at random by up to a step.

        From the coarsest step of angles to that for the last shell, halved each time.
        """
        step = self.step_for(radius)
        begin = self._random(iteration).random() * step
        angles = begin + np.arange(round(360.0 / step)) * step
        found = [(radius, angles)]
        while step < STEPS[0]:
            step, angles = 2 * step, angles.reshape(-1, 2).mean(axis=1)
            permitted = ARC_PER_RESOLUTION * self.extent / arc(step, self.mask_diameter)
            reach = min(int(COARSE_SHARE * radius), int(permitted))
            found.append((min(radius, max(self.first_radius, reach)), angles))
        shift_step = 2 ** (len(found) - 1) * max(1.0, SHIFT_STEP * self.box / radius)
        if len(found) > 1:
            shift_step = min(shift_step, LONGEST_SHIFT_STEP * self.box / found[-1][0])
        return [
            TurnLevel(half_plane(self.box, last), shift_step / 2**place, turns)
            for place, (last, turns) in enumerate(reversed(found))
        ]

    def shift_prior(self, level: TurnLevel, sigma: float, near: bool) -> ShiftPrior:
        """Give where particles may be.

        Parameters
        ----------
        level : TurnLevel
            The last.
        sigma : float
            Å.
        near : bool
            About where each image was found before, not about the centre.
        """
        reach = NEAR_STEPS * level.shift_step if near else SHIFT_RANGE * self.box
        return ShiftPrior(max(reach, level.shift_step), sigma / self.pixel_size)

    def offset(self, level: TurnLevel, iteration: int) -> np.ndarray:
        """Give what the shifts of a pass are moved by at random, up to half a step, pixels."""
        moved: np.ndarray = (self._random(iteration).random(3)[1:] - 0.5) * level.shift_step
        return moved

    def _random(self, iteration: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, iteration))


@dataclass(frozen=True)
class State:
    """Where a classification stands; small and plain, kept as JSON.

    Attributes
    ----------
    iteration : int
        Passes done.
    radius : int
        The last shell of the next pass.
    shift_sigma : float
        Å, of the shifts along x and y.
    class_share : list of float
        Of the images.
    shells : list of int
        That each class resolves.
    history : list of dict
        Of each pass: `images`, `resolution` of the better classes and `compared` to, Å, `step`
        in degrees, `changed`, the share of the images that changed their class (None if unknown),
        and `certainty`, the mean probability of the best pose.
    """

    iteration: int
    radius: int
    shift_sigma: float
    class_share: list[float]
    shells: list[int]
    history: list[dict[str, float | None]] = field(default_factory=list)


def arc(step: float, diameter: float) -> float:
    """Give the arc of a step in degrees at the rim of a circle, Å."""
    return float(np.pi * diameter * step / 360.0)
