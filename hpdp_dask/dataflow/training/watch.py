"""What steps gave: added up over steps and workers, and seen to be numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.dataflow.training.order import Step

if TYPE_CHECKING:
    import torch

#: To ask a GPU for a number is to wait for it, so it is done once in so many steps.
_STEPS_ON_GPU = 16

#: Images that a message names.
_NAMED = 5


@dataclass
class Tally:
    """What the steps of an epoch gave so far, of all workers.

    Attributes
    ----------
    seconds : float
    waited : float
        Of these, waiting for batches; the mean of the workers.
    losses : dict of str to float
        Sums over images.
    """

    seconds: float = 0.0
    waited: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)


class NotFinite(Exception):
    """A loss or the gradient is not a number any more.

    Attributes
    ----------
    step : Step
    images : tuple of int
        Places of the images whose loss it is; empty if it is the gradient alone.
    """

    def __init__(self, step: Step, images: tuple[int, ...]) -> None:
        super().__init__(step.number)
        self.step, self.images = step, images

    def sentence(self) -> str:
        """Name the images."""
        if not self.images:
            return f"the gradient of the batch of images {_listed(self.step.images.tolist())}"
        one = len(self.images) == 1
        return f"the loss of image{'' if one else 's'} {_listed(list(self.images))}"


def _listed(places: list[int]) -> str:
    more = len(places) - _NAMED
    named = ", ".join(map(str, places[:_NAMED]))
    return f"{named}{f' and {more} more' if more > 0 else ''} (counted from 0)"


class Watch:
    """Looks at what steps gave.

    Parameters
    ----------
    ranks : int
        Workers, with a process group of torch if there are several.
    device : str
    """

    def __init__(self, ranks: int, device: str) -> None:
        self._ranks = ranks
        self._every = 1 if device == "cpu" else _STEPS_ON_GPU
        self._seen: list[tuple[Step, np.ndarray, Mapping[str, torch.Tensor], torch.Tensor]] = []

    def saw(
        self,
        step: Step,
        mine: np.ndarray,
        losses: Mapping[str, torch.Tensor],
        length: torch.Tensor,
    ) -> bool:
        """Keep what a step gave; tell whether it is time to look."""
        self._seen.append((step, mine, losses, length))
        return len(self._seen) >= self._every

    def look(self, tally: Tally, waited: float, wish: bool) -> bool:
        """Add what was seen to a tally; all workers look after the same steps.

        Parameters
        ----------
        tally : Tally
        waited : float
            Seconds that this worker has waited for batches meanwhile.
        wish : bool
            Something this worker would have all know.

        Returns
        -------
        bool
            Whether any worker wishes it.

        Raises
        ------
        NotFinite
            On all workers.
        """
        import torch

        names = list(self._seen[0][2])
        sums = [
            torch.stack([losses[name].sum() for _, _, losses, _ in self._seen]).sum()
            for name in names
        ]
        lengths = torch.stack([length for *_, length in self._seen]).sum()
        others = torch.tensor([waited, float(wish)], device=lengths.device)
        vector = torch.cat([torch.stack([*sums, lengths]).float(), others]).double()
        if self._ranks > 1:
            torch.distributed.all_reduce(vector)
        *values, length, all_waited, wishes = vector.tolist()
        if not all(map(math.isfinite, (*values, length))):
            raise self._not_finite()
        self._seen.clear()
        for name, value in zip(names, values, strict=True):
            tally.losses[name] = tally.losses.get(name, 0.0) + value
        tally.waited += all_waited / self._ranks
        return wishes > 0

    def _not_finite(self) -> NotFinite:
        """Find the first step that was wrong, and the images that all workers know of."""
        import torch

        found: dict[int, list[int]] = {}
        for place, (_, mine, losses, length) in enumerate(self._seen):
            total = torch.stack(list(losses.values())).sum(0)
            wrong = mine[~torch.isfinite(total).cpu().numpy()]
            if len(wrong) or not torch.isfinite(length):
                found[place] = wrong.tolist()
        everyone: list[Any] = [found]
        if self._ranks > 1:
            everyone = [None] * self._ranks
            torch.distributed.all_gather_object(everyone, found)
        first = min(place for each in everyone for place in each)
        images = sorted(image for each in everyone for image in each.get(first, ()))
        return NotFinite(self._seen[first][0], tuple(images))
