"""Training from the first epoch to the last: in this process, or by all workers together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdp_dask.dataflow.announcements import shown
from hpdp_dask.dataflow.training.apply import read_rows
from hpdp_dask.dataflow.training.checkpoints import last_checkpoint, own_checkpoints
from hpdp_dask.dataflow.training.course import Course
from hpdp_dask.dataflow.training.learner import ADJUSTABLE, Learner, TrainingSettings
from hpdp_dask.dataflow.training.loop import Job, load_network, plan_order, run_rank, smaller
from hpdp_dask.dataflow.training.ranks import run_ranks, tell_smaller
from hpdp_dask.dataflow.training.step import TooLarge
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    import numpy as np
    import torch
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


#: Seconds from one checkpoint within an epoch to the next: so much work is lost when a worker dies.
_CHECKPOINT_SECONDS = 120.0


@dataclass(frozen=True)
class Trained:
    """Where a training ended.

    Attributes
    ----------
    network : torch.nn.Module
        On the CPU, to be applied.
    history : list of dict
        Of each epoch: `epoch`, `rate` (the highest of the schedule), `precision`, `seconds`,
        `images_per_second`, `waited` (share of the time that was spent waiting for images, mean
        of the workers), `losses` (mean of each part over all images), `scores` (of what was held
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
    checkpoint_seconds: float = _CHECKPOINT_SECONDS,
    client: Client | None = None,
    progress: Progress | None = None,
    tell: Callable[[dict[str, Any]], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Trained:
    """Train a network on the images of a stack.

    On a cluster each worker computes a part of every batch, and gradients are averaged over
    workers (DistributedDataParallel; gloo, or NCCL between GPUs). When one dies the others go on
    from the last checkpoint, and workers that come later are taken in. Where a GPU's memory is
    too small for a batch, it is computed in halves, or smaller pieces.

    Parameters
    ----------
    stack_path : path
        On a file system that the workers see too.
    learner : Learner
    settings : TrainingSettings
    folder : Path
        For checkpoints, on that file system too. From those that an interrupted run of the same
        training left there it goes on, to the network of an unbroken one. With another rate it
        goes on too, as if that had been the rate from the beginning of the schedule.
    train, held_back : tuple of int, optional
        First image and the one after the last of what is learnt from, by default all, and of what
        each epoch is judged by.
    checkpoint_seconds : float, optional
        There is a checkpoint at each epoch's end, and within an epoch after so long.
    client : distributed.Client, optional
        By default this process trains alone, with as many threads as torch may use.
    progress : Progress, optional
        Told of images.
    tell : callable, optional
        Told of each epoch's row of the history.
    say : callable, optional
        Told in words of workers that died or joined, and of memory that is too small.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        PyTorch is not installed; there is no such stack, or it has not the variables that are
        needed or too few images for a batch; a shard is damaged; the loss is not a number any
        more (the last good checkpoint stays); a GPU has not memory enough for one image; the
        folder holds another training, or one on another stack.
    """
    check_torch()
    reader = ImageReader(stack_path)
    path, folder = reader.layout.path, folder.absolute()
    train = (0, reader.number) if train is None else train
    job = Job(path, learner, settings, folder, train, held_back, checkpoint_seconds)
    steps = plan_order(job, reader).steps
    if not steps:
        raise InputError(
            f"{path}: {train[1] - train[0]} images to learn from do not fill one batch of "
            f"{settings.batch}; give more, or make the batch smaller."
        )
    rows = read_rows(path, learner.needs)
    fixed = {name: each for name, each in asdict(settings).items() if name not in ADJUSTABLE}
    owner = {"settings": fixed, "train": train, "learner": repr(learner)}
    own_checkpoints(folder, owner | {"stack": _digest(reader, rows)})
    before = last_checkpoint(folder, tensors=False)
    left = (settings.epochs * steps - (before.steps(steps) if before else 0)) * settings.batch
    with shown(f"train {learner.name}", left, client=client, progress=progress) as advance:
        told = Course(folder, steps, settings.batch, advance, tell)
        if client is None:
            _run_here(job, told, say)
        else:
            run_ranks(job, client, told, say)
    told.look()
    network, history = load_network(job)
    return Trained(network, history)


def _run_here(job: Job, course: Course, say: Callable[[str], None] | None) -> None:
    """Train in this process."""
    while True:
        course.restart()
        number = 0

        def done(images: int) -> None:
            nonlocal number
            number += images
            course.reached(number)

        try:
            run_rank(job, 0, 1, done)
            return
        except TooLarge as error:
            job = replace(job, at_once=smaller(job, error))
            if say is not None:
                say(tell_smaller(error, job, course.place()))


def _digest(reader: ImageReader, rows: dict[str, np.ndarray]) -> str:
    """Give a digest of what is known of the images of a stack."""
    digest = hashlib.sha256(f"{reader.number} {reader.image_shape} {reader.dtype}".encode())
    for name in sorted(rows):
        digest.update(name.encode() + rows[name].tobytes())
    return digest.hexdigest()[:16]


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
