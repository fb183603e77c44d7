"""The loop of a classification, as `dataflow.iterate` runs it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hpdp_dask.cryoem.classify.expectation import Expectation
from hpdp_dask.cryoem.classify.model import Model
from hpdp_dask.cryoem.classify.schedule import Settings, State


@dataclass(frozen=True)
class ClassLoop:
    """Passes from the first model to the last; see `dataflow.loops.Loop`.

    Attributes
    ----------
    settings : Settings
    first_model : Path
        The folder of the first model.
    """

    settings: Settings
    first_model: Path
    name: str = "classify2d"
    state_type: type[State] = State

    def begin(self, folder: Path) -> State:
        """Take over the first model."""
        Model.load(self.first_model).save(folder)
        settings = self.settings
        return State(
            iteration=0,
            radius=settings.first_radius,
            shift_sigma=settings.shift_range / 2.0,
            class_share=[1.0 / settings.classes] * settings.classes,
            shells=[0] * settings.classes,
        )

    def is_done(self, state: State) -> bool:
        """Tell whether all passes are done."""
        return state.iteration >= self.settings.iterations

    def expectation(self, state: State, folder: Path, following: Path) -> Expectation:
        """Give the pass that follows a state."""
        return Expectation(self.settings, state, folder, following)

    def largest(self, state: State, folder: Path) -> Expectation:
        """Give the pass that takes the most memory: the last, to the last shell."""
        last = replace(state, iteration=self.settings.iterations - 1, radius=self.settings.limit)
        return Expectation(self.settings, last, folder, folder)
