"""What is trained, and how: the contract between a craft and the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    import torch

#: What images and rows become before a network sees them; all have the images' axis first.
Batch = Mapping[str, Any]

#: How numbers are kept while a network computes; weights are float32 always. `fastest` is
#: bfloat16 on GPUs, and on processors that multiply it.
PRECISIONS = ("float32", "bfloat16", "fastest")

#: Settings that may be others when a training goes on from a checkpoint.
ADJUSTABLE = ("rate", "threads")

#: Names, in the rows that `Learner.prepare` is given: where in the stack each image is, from 0;
#: and how many steps of the whole training came before, in which it is not applied only.
PLACE, STEP = "place", "step"


class Learner(Protocol):
    """A network and what it should learn.

    Pickled to each worker, so it holds names and numbers; hashable, as a frozen dataclass is.

    Attributes
    ----------
    name : str
        One word, which the dashboard and the progress bar show.
    needs : tuple of str
        Variables of images that are read with them.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    def build(self) -> torch.nn.Module:
        """Make the network with its first weights, from torch's generator as it is seeded."""
        ...

    def prepare(
        self,
        images: np.ndarray,
        rows: Mapping[str, np.ndarray],
        randoms: Sequence[np.random.Generator] | None,
    ) -> dict[str, np.ndarray]:
        """Make a batch of images as stored, in threads that run ahead of the training.

        Parameters
        ----------
        images : (n, y, x) ndarray
        rows : mapping
            Of the names in `needs`; `PLACE`; and, with generators, `STEP`.
        randoms : sequence of Generator, or None
            One for each image, to change it by chance; None where nothing is left to chance.
        """
        ...

    def losses(self, network: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Give the parts of the loss of each image, (n,) each; what is minimised is their sum.

        All parameters of the network must take part, if only with a factor of 0, or the workers
        would wait for gradients that never come.
        """
        ...

    def outputs(self, network: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Give what the network says of each image, (n, ...) each."""
        ...

    def judge(
        self, outputs: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Give figures of how good outputs are."""
        ...


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    The order of images and what is changed in them by chance depend on these numbers alone: not on
    the number of workers, nor on interruptions. What the network itself leaves to chance (dropout)
    is drawn by each worker for its part of a batch, so it depends on their number too.

    Attributes
    ----------
    epochs : int
        Passes over the images.
    batch : int
        Images a step, of all workers together.
    rate : float
        Highest rate of learning. It rises over the share `warm_up` of all steps and falls to zero
        as a cosine (Loshchilov and Hutter, 2017).
    decay : float
        Of weights, decoupled from the gradient (AdamW; Loshchilov and Hutter, 2019).
    warm_up : float
    longest_gradient : float
        Longer ones are shortened to this.
    precision : {"float32", "bfloat16", "fastest"}
        Of what the network computes.
    window_bytes : int
        Images, as stored, that a worker mixes and holds in memory.
    threads : int
        That prepare batches.
    seed : int
    """

    epochs: int = 10
    batch: int = 32
    rate: float = 1e-3
    decay: float = 1e-2
    warm_up: float = 0.05
    longest_gradient: float = 1.0
    precision: str = "float32"
    window_bytes: int = 256 * 2**20
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("--epochs", "--batch", "--threads", "window_bytes"):
            value = getattr(self, name.removeprefix("--"))
            if value < 1:
                raise InputError(f"{name} is {value}, expected 1 or more.")
        if self.epochs > 999:
            raise InputError(f"--epochs is {self.epochs}, expected at most 999.")
        if not self.rate > 0:
            raise InputError(f"--rate is {self.rate}, expected a number above 0; 0.001 is usual.")
        if self.precision not in PRECISIONS:
            raise InputError(
                f"--precision is {self.precision!r}, expected one of {', '.join(PRECISIONS)}."
            )
