"""How far the domain of each particle is turned: over a range, or in a few states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.errors import InputError

#: Angles that stand for a range in its mean map.
_STEPS = 24


@dataclass(frozen=True)
class HingeRange:
    """Any angle between two, equally likely.

    Attributes
    ----------
    first, last : float
        Degrees.

    Raises
    ------
    InputError
        An angle is not a finite number.
    """

    first: float
    last: float

    def __post_init__(self) -> None:
        if not np.isfinite([self.first, self.last]).all():
            raise InputError(
                f"simulate: the domain shall turn from {self.first} to {self.last} degrees, "
                "expected finite numbers."
            )

    @property
    def landmarks(self) -> tuple[float, ...]:
        """Angles to make maps at: the ends and the middle."""
        return (self.first, (self.first + self.last) / 2.0, self.last)

    def distribution(self) -> tuple[np.ndarray, np.ndarray]:
        """Give angles and weights whose mean is that over the range."""
        middles = (np.arange(_STEPS) + 0.5) / _STEPS
        return self.first + (self.last - self.first) * middles, np.full(_STEPS, 1.0 / _STEPS)

    def draw(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw the angle and the class (from 1) of so many particles."""
        return rng.uniform(self.first, self.last, number), np.ones(number, np.int64)


@dataclass(frozen=True)
class HingeStates:
    """A mixture of conformations.

    Attributes
    ----------
    angles : tuple of float
        Of each state, degrees.
    weights : tuple of float
        How often each occurs; need not sum to 1.

    Raises
    ------
    InputError
        There are no states, an angle is not finite, or a weight is not positive.
    """

    angles: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, dtype=np.float64)
        sound = np.isfinite([*self.angles, *weights]).all() and bool((weights > 0).all())
        if not sound or len(weights) != len(self.angles) or not len(weights):
            raise InputError(
                f"simulate: the states at {self.angles} degrees have the weights {self.weights}, "
                "expected a positive weight for each of one or more states."
            )

    @property
    def landmarks(self) -> tuple[float, ...]:
        """Angles to make maps at: those of the states."""
        return self.angles

    def distribution(self) -> tuple[np.ndarray, np.ndarray]:
        """Give the angles and the weights, which sum to 1."""
        weights = np.asarray(self.weights, dtype=np.float64)
        return np.asarray(self.angles, dtype=np.float64), weights / weights.sum()

    def draw(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw the angle and the class (from 1) of so many particles."""
        angles, weights = self.distribution()
        state = rng.choice(len(angles), number, p=weights)
        return angles[state], state + 1


Conformations = HingeRange | HingeStates
