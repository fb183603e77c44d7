"""Training from the first epoch to the last: in this process, or by all workers together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.training.apply import read_rows
from hpdp_dask.dataflow.training.checkpoints import ended, last_checkpoint, own_checkpoints
from hpdp_dask.dataflow.training.learner import Learner, TrainingSettings
from hpdp_dask.dataflow.training.loop import Job, load_network, plan_order, run_rank
from hpdp_dask.dataflow.training.ranks import run_ranks
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    import torch
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


@dataclass(frozen=True)
class Trained:
    """Where a training ended.

    Attributes
    ----------
    network : torch.nn.Module
        On the CPU, to be applied.
    history : list of dict
        Of each epoch: `epoch`, `seconds`, `images_per_second`, `waited` (share of the time that
        was spent waiting for images), `losses` (mean of each part), `scores` (of what was held
        back).
    """

    network: torch.nn.Module
    history: list[dict[str, Any]]


def train_network(
    stack_path: str | Path,
    learner: Learner,
    settings: TrainingSettings,
    folder: Path,
    *,
    train: tuple[int, int] | None = None,
    held_back: tuple[int, int] = (0, 0),
    client: Client | None = None,
    progress: Progress | None = None,
    tell: Callable[[dict[str, Any]], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Trained:
    """Train a network on the images of a stack.

    On a cluster each worker computes a part of every batch, and gradients are averaged over
    workers (DistributedDataParallel; gloo, or NCCL between GPUs). When one dies the others go on
    from the last epoch with it.

    Parameters
    ----------
    stack_path : path
        On a file system that the workers see too.
    learner : Learner
    settings : TrainingSettings
    folder : Path
        For checkpoints, on that file system too. From those that an interrupted run of the same
        training left there it goes on, to the network of an unbroken one.
    train, held_back : tuple of int, optional
        First image and the one after the last of what is learnt from, by default all, and of what
        each epoch is judged by.
    client : distributed.Client, optional
        By default this process trains alone, with as many threads as torch may use.
    progress : Progress, optional
        Told of images.
    tell : callable, optional
        Told of each epoch's row of the history.
    say : callable, optional
        Told in words of workers that died.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        PyTorch is not installed; there is no such stack, or it has not the variables that are
        needed or too few images for a batch; a shard is damaged; the loss is not a number any
        more (the last good checkpoint stays); the folder holds another training.
    """
    check_torch()
    reader = ImageReader(stack_path)
    path, folder = reader.layout.path, folder.absolute()
    train = (0, reader.number) if train is None else train
    job = Job(path, learner, settings, folder, train, held_back)
    steps = plan_order(job, reader).steps
    if not steps:
        raise InputError(
            f"{path}: {train[1] - train[0]} images to learn from do not fill one batch of "
            f"{settings.batch}; simulate more, or make the batch smaller."
        )
    read_rows(path, learner.needs)
    own_checkpoints(
        folder, {"settings": asdict(settings), "train": train, "learner": repr(learner)}
    )
    before = last_checkpoint(folder, tensors=False)
    told = _Telling(folder, tell, len(before.history) if before else 0)
    images = steps * settings.batch
    left = (settings.epochs - (before.epoch if before else 0)) * images
    with shown(f"train {learner.name}", left, client=client, progress=progress) as advance:
        if client is None:

            def done(number: int) -> None:
                advance(number)
                told.look()

            run_rank(job, 0, 1, done)
        else:
            run_ranks(job, client, images, advance, told.look, say)
    told.look()
    network, history = load_network(job)
    return Trained(network, history)


def check_torch() -> None:
    """Check that PyTorch is there.

    Raises
    ------
    InputError
        It is not; says how to install it.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise InputError(
            "training needs PyTorch, which is not installed; pip install hpdp-dask[learn] "
            "brings it."
        ) from None


class _Telling:
    """Tells of epochs that have ended since somebody looked last."""

    def __init__(
        self, folder: Path, tell: Callable[[dict[str, Any]], None] | None, known: int
    ) -> None:
        self._folder, self._tell, self._known = folder, tell, known

    def look(self) -> None:
        """Look whether there is a checkpoint of the epoch that comes next."""
        if self._tell is None or not ended(self._folder, self._known + 1):
            return
        found = last_checkpoint(self._folder, tensors=False)
        rows = found.history[self._known :] if found else []
        self._known += len(rows)
        for row in rows:
            self._tell(row)
