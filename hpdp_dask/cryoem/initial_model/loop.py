"""The loop of a search, as `dataflow.iterate` runs it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hpdp_dask.cryoem.initial_model.expectation import Expectation
from hpdp_dask.cryoem.initial_model.first import FirstPass
from hpdp_dask.cryoem.initial_model.model import Model
from hpdp_dask.cryoem.initial_model.settings import Settings, State


@dataclass(frozen=True)
class Search:
    """Passes from random orientations, or from a model; see `dataflow.loops.Loop`.

    Attributes
    ----------
    settings : Settings
    start : Path or None
        Folder of a model to begin with.
    """

    settings: Settings
    start: Path | None = None
    name: str = "initial-model"
    state_type: type[State] = State

    def begin(self, folder: Path) -> State:
        """Take over the model to begin with, if there is one."""
        shares = [1.0 / self.settings.classes] * self.settings.classes
        if self.start is not None:
            Model.load(self.start).save(folder)
        return State(0, shares)

    def is_done(self, state: State) -> bool:
        """Tell whether all passes are done."""
        return state.iteration > self.settings.iterations

    def expectation(self, state: State, folder: Path, following: Path) -> FirstPass | Expectation:
        """Give the pass that follows a state."""
        if state.iteration == 0 and self.start is None:
            return FirstPass(self.settings, following)
        return Expectation(self.settings, state, folder, following)

    def largest(self, state: State, folder: Path) -> Expectation:
        """Give the pass that takes the most memory: the last."""
        last = replace(state, iteration=self.settings.iterations)
        return Expectation(self.settings, last, folder, folder)
