"""How far a training is, for who follows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpdp_dask.dataflow.training.checkpoints import last_checkpoint


class Course:
    """Tells of images that were learnt from, and of epochs that have ended.

    Parameters
    ----------
    folder : Path
        Of the checkpoints.
    steps, batch : int
        Of an epoch, and images of a step.
    advance : callable
        Told of images that are done; negative for those that must be shown again.
    tell : callable or None
        Told of each epoch's row of the history.

    Attributes
    ----------
    begun : int
        Images that were done at the last checkpoint when `restart` was called last.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        batch: int,
        advance: Callable[[int], None],
        tell: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self._folder, self._steps, self._batch = folder, steps, batch
        self._advance, self._tell = advance, tell
        found = last_checkpoint(folder, tensors=False)
        self._known = len(found.history) if found else 0
        self.begun = self._shown = self._at_checkpoint()

    def _at_checkpoint(self) -> int:
        found = last_checkpoint(self._folder, tensors=False)
        return found.steps(self._steps) * self._batch if found else 0

    def restart(self) -> None:
        """Take note that the training goes on from the last checkpoint."""
        self.begun = self._at_checkpoint()
        self.reached(0)

    def reached(self, number: int) -> None:
        """Take note that so many images were learnt from since `restart`."""
        self._advance(self.begun + number - self._shown)
        self._shown = self.begun + number
        self.look()

    def place(self) -> str:
        """Say where the last checkpoint is."""
        found = last_checkpoint(self._folder, tensors=False)
        epoch, step = (found.epoch, found.step) if found else (0, 0)
        if not (epoch or step):
            return "the beginning"
        return f"step {step} of epoch {epoch + 1}" if step else f"epoch {epoch}"

    def look(self) -> None:
        """Look whether more epochs have ended."""
        if self._tell is None:
            return
        found = last_checkpoint(self._folder, tensors=False)
        rows = found.history[self._known :] if found else []
        self._known += len(rows)
        for row in rows:
            self._tell(row)
