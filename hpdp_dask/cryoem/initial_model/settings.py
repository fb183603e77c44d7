"""What is asked of a search, and what each of its passes does."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hpdp_dask.numerics import grids
from hpdp_dask.numerics.rotations import euler_to_matrix
from hpdp_dask.numerics.symmetry import point_group

#: The first and the last resolution, as a share of the particle's diameter: 36 and 15 Å for
#: 180 Å. The last needs no finer grid than that of 15°, which moves from pass to pass.
_FIRST_DETAIL, _LAST_DETAIL = 1 / 5, 1 / 12

#: Å. Finer than needed to begin a refinement; and pixels a period, below Nyquist's frequency.
_FINEST, _LEAST_PERIOD = 8.0, 2.5

#: Images of the first and of the last pass, for each class.
_FIRST_IMAGES, _LAST_IMAGES = 200, 400

#: What of the sums each pass replaces: at first, and at least.
_FIRST_SHARE, _LAST_SHARE = 0.5, 0.15

#: Shifts that are tried: at least so far in Å, or as a share of the diameter.
_SHIFT, _SHIFT_SHARE = 10.0, 0.05

#: Order of the grid of orientations; and, at the last resolution, of a finer one if symmetry leaves
#: few enough of its points. (In a map found without symmetry each view has mates that the coarse
#: grid, which has not the symmetry, comes near by chance; with it they are gone.)
_ORDER, _FINE_ORDER, _MOST_ORIENTATIONS = 2, 3, 5000


@dataclass(frozen=True)
class Pass:
    """What one pass does.

    Attributes
    ----------
    radius : int
        The last shell, cycles per box.
    resolution : float
        Å
    images : int
        How many take part, about.
    share : float
        Of the sums, that the pass replaces.
    inflation : float
        Factor on the power of the noise, which keeps the first passes from deciding too early.
    """

    radius: int
    resolution: float
    images: int
    share: float
    inflation: float


@dataclass(frozen=True)
class Settings:
    """A search.

    Attributes
    ----------
    box : int
        Side of the images, pixels.
    pixel_size : float
        Å.
    diameter : float
        Of the sphere that holds the particle, Å.
    number : int
        Particles in the stack.
    groups : int
        Optics groups.
    symmetries : tuple of str
        The point group that is imposed on each class.
    seed : int
    iterations : int
        Passes after the first, random one.
    from_coarse : bool
        Whether the resolution grows from the first to the last; else it is the last throughout.
    all_at_end : bool
        Whether all images take part in the last pass, so that each gets its class.
    """

    box: int
    pixel_size: float
    diameter: float
    number: int
    groups: int
    symmetries: tuple[str, ...]
    seed: int
    iterations: int
    from_coarse: bool = True
    all_at_end: bool = False

    @property
    def classes(self) -> int:
        """How many maps are searched for."""
        return len(self.symmetries)

    @property
    def extent(self) -> float:
        """Side of the images, Å."""
        return self.box * self.pixel_size

    @cached_property
    def operators(self) -> tuple[np.ndarray, ...]:
        """The operators of each class."""
        return tuple(point_group(symmetry) for symmetry in self.symmetries)

    @property
    def last_radius(self) -> int:
        """The last shell of the last pass."""
        finest = max(self.diameter * _LAST_DETAIL, _FINEST, _LEAST_PERIOD * self.pixel_size)
        return max(4, min(self.box // 2 - 2, round(self.extent / finest)))

    @property
    def small_box(self) -> int:
        """The box of maps in work: of the same extent, with pixels as large as can be."""
        return min(self.box, 2 * self.last_radius + 16)

    @property
    def mask_radius(self) -> float:
        """Of the sphere that holds the particle, pixels of the small box."""
        return 0.5 * self.diameter * self.small_box / self.extent

    def at(self, iteration: int) -> Pass:
        """Say what the pass that follows a state does."""
        along = min(1.0, iteration / max(1, self.iterations)) if self.from_coarse else 1.0
        # the last fifth stays at the last resolution
        grown = min(1.0, along / 0.8)
        last = self.extent / self.last_radius
        first = max(last, self.diameter * _FIRST_DETAIL)
        resolution = 1.0 / ((1.0 - grown) / first + grown / last)
        images = _FIRST_IMAGES + along * (_LAST_IMAGES - _FIRST_IMAGES)
        return Pass(
            radius=min(self.last_radius, max(3, round(self.extent / resolution))),
            resolution=resolution,
            images=min(self.number, round(images * self.classes)),
            share=max(_LAST_SHARE, _FIRST_SHARE * (1.0 - along)),
            inflation=1.0 + (1.0 - along) ** 2,
        )

    def takes_all(self, iteration: int) -> bool:
        """Tell whether the pass that follows a state takes all images."""
        return self.all_at_end and iteration == self.iterations

    def shifts(self, iteration: int) -> np.ndarray:
        """Give the shifts that a pass tries, (t, 2), pixels."""
        reach = max(_SHIFT, _SHIFT_SHARE * self.diameter)
        step = max(self.at(iteration).resolution / 4.0, self.pixel_size)
        return grids.shifts_on_disc(reach, step) / self.pixel_size

    def orientations(self, iteration: int) -> list[np.ndarray]:
        """Give the orientations that a pass tries for each class, (r, 3, 3) each.

        The grid is turned at random, so that what falls between its points in one pass does not
        in the next.
        """
        generator = np.random.default_rng((self.seed, iteration))
        found = []
        for operators in self.operators:
            few = 72 * 8**_FINE_ORDER / len(operators) <= _MOST_ORIENTATIONS
            order = _FINE_ORDER if few and not self.from_coarse else _ORDER
            turn = grids.random_perturbation(order, generator)
            indices = np.arange(72 * 8**order)
            if len(operators) > 1:
                directions = grids.asymmetric_directions(order, turn @ operators @ turn.T)
                indices = grids.orientations_along(order, directions).ravel()
            found.append(euler_to_matrix(grids.orientations(order, indices)) @ turn)
        return found


@dataclass(frozen=True)
class State:
    """Where a search stands.

    Attributes
    ----------
    iteration : int
        Passes that are done, the first, random one included.
    class_share : list of float
        Of the images of the last pass, by class.
    history : list of dict
        Of each pass: `iteration`, `resolution` (Å), `images`, `evidence` (the mean
        log-likelihood of an image over that of an empty map), `certainty` (the mean probability
        of the best pose).
    """

    iteration: int
    class_share: list[float]
    history: list[dict[str, float]] = field(default_factory=list)
