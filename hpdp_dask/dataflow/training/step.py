"""One step of a training: from a batch to gradients, in as many pieces as memory asks for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from hpdp_dask.dataflow.training.apply import computing
from hpdp_dask.dataflow.training.feed import to_device
from hpdp_dask.dataflow.training.learner import Learner, TrainingSettings

if TYPE_CHECKING:
    import torch


class TooLarge(Exception):
    """The GPU has not memory enough for so many images at once.

    Attributes
    ----------
    images : int
    """

    def __init__(self, images: int) -> None:
        super().__init__(f"{images} images at once are too many for the GPU's memory")
        self.images = images

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.images,)


class Stepper:
    """Takes steps.

    Parameters
    ----------
    learner : Learner
    settings : TrainingSettings
    network : torch.nn.Module
        On its device.
    optimizer : torch.optim.Optimizer
    ranks : int
        Workers, with a process group of torch if there are several.
    at_once : int, optional
        So many images go through the network at a time; by default the batch.
    """

    def __init__(
        self,
        learner: Learner,
        settings: TrainingSettings,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        ranks: int = 1,
        at_once: int | None = None,
    ) -> None:
        import torch

        self._learner, self._settings, self._optimizer = learner, settings, optimizer
        self._network = self._trained = network
        self._device = next(network.parameters()).device.type
        self._at_once, self._fewest = at_once or settings.batch, fewest_images(network)
        if ranks > 1:
            # gradients are averaged while they are still being computed; buffers, which no gradient
            # depends on, are those of the first worker in the end, without a wait in each step
            self._trained = torch.nn.parallel.DistributedDataParallel(
                network, broadcast_buffers=False
            )
        # torch averages gradients over workers, whose parts may differ in size
        self._share = ranks / settings.batch

    def take(
        self, tensors: Mapping[str, Any], rate: float
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Learn from a batch.

        Parameters
        ----------
        tensors : mapping
            This worker's part of it, on the CPU.
        rate : float
            Of learning.

        Returns
        -------
        losses : dict of str to (n,) tensor
            The parts of the loss of each image.
        length : () tensor
            Of the gradient, before it was shortened. Weights are spoilt where it is not finite.

        Raises
        ------
        TooLarge
            The GPU's memory is too small; go on from a checkpoint.
        """
        import torch

        count = len(next(iter(tensors.values())))
        pieces = min(-(-count // self._at_once), max(1, count // self._fewest))
        # what failed is let go of with the exception of torch, before ours is raised
        with suppress(torch.OutOfMemoryError):
            return self._taken(tensors, rate, count, pieces)
        raise TooLarge(-(-count // pieces))

    def _taken(
        self, tensors: Mapping[str, Any], rate: float, count: int, pieces: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        import torch

        self._optimizer.zero_grad(set_to_none=True)
        found = []
        for piece in range(pieces):
            part = slice(count * piece // pieces, count * (piece + 1) // pieces)
            found.append(self._gradients(tensors, part, last=piece == pieces - 1))
        length = torch.nn.utils.clip_grad_norm_(
            self._network.parameters(), self._settings.longest_gradient
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        return {name: torch.cat([each[name] for each in found]) for name in found[0]}, length

    def _gradients(
        self, tensors: Mapping[str, Any], part: slice, last: bool
    ) -> dict[str, torch.Tensor]:
        """Add the gradients of a piece; the last one brings those of all workers together."""
        import torch

        piece = to_device({name: values[part] for name, values in tensors.items()}, self._device)
        alone = nullcontext() if last or self._trained is self._network else self._trained.no_sync()
        with alone:
            with computing(self._settings.precision, self._device):
                losses = self._learner.losses(self._trained, piece)
            total = torch.stack([each.float().sum() for each in losses.values()]).sum()
            (total * self._share).backward()
        return {name: each.detach().float() for name, each in losses.items()}


def fewest_images(network: torch.nn.Module) -> int:
    """Give the smallest number of images that a network learns from at once.

    That is two where it takes means over images alone: one image has no spread.
    """
    import torch

    means = any(isinstance(each, torch.nn.BatchNorm1d) for each in network.modules())
    return 2 if means else 1
