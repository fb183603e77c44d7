"""The training itself, as one worker of several, or the only one, does it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.dataflow.training.apply import (
    apply_network,
    best_device,
    enough_memory,
    precision_on,
    read_rows,
    too_little_memory,
)
from hpdp_dask.dataflow.training.checkpoints import Checkpoint, last_checkpoint, save_checkpoint
from hpdp_dask.dataflow.training.feed import Feed
from hpdp_dask.dataflow.training.learner import Learner, TrainingSettings
from hpdp_dask.dataflow.training.order import Order, share_of
from hpdp_dask.dataflow.training.step import Stepper, TooLarge, fewest_images
from hpdp_dask.dataflow.training.watch import NotFinite, Tally, Watch
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.shards import ImageReader

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Job:
    """What every worker of a training needs to know.

    Attributes
    ----------
    stack : Path
    learner : Learner
    settings : TrainingSettings
    folder : Path
        For checkpoints, on a file system that all workers see.
    train, held_back : tuple of int
        First image and the one after the last of what is learnt from, and judged by.
    checkpoint_seconds : float
        From one checkpoint within an epoch to the next.
    at_once : int or None
        So many images of a worker's part of a batch go through the network at a time; None: all.
    """

    stack: Path
    learner: Learner
    settings: TrainingSettings
    folder: Path
    train: tuple[int, int]
    held_back: tuple[int, int]
    checkpoint_seconds: float
    at_once: int | None = None


def plan_order(job: Job, reader: ImageReader) -> Order:
    """Plan in which order images are shown: windows of whole shards that hold a batch at least."""
    start, stop = job.train
    wanted = max(job.settings.batch, job.settings.window_bytes // reader.layout.image_bytes)
    return Order(
        start,
        stop,
        reader.images_per_shard,
        max(1, wanted // reader.images_per_shard),
        job.settings.batch,
        job.settings.seed,
    )


def rate_at(step: int, steps: int, settings: TrainingSettings) -> float:
    """Give the rate of learning of a step: a rise, then a fall as a cosine."""
    rise = max(1.0, settings.warm_up * steps)
    if step < rise:
        return settings.rate * (step + 1) / rise
    return settings.rate * 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def run_rank(
    job: Job,
    rank: int,
    ranks: int,
    done: Callable[[int], None] | None = None,
    asked: Callable[[], bool] = lambda: False,
) -> bool:
    """Train as one of several workers, from the last checkpoint to the end.

    Workers must have joined a process group of torch before. The first of them writes a
    checkpoint after each epoch, and in long ones now and then.

    Parameters
    ----------
    job : Job
    rank, ranks : int
    done : callable, optional
        Told of images that were learnt from, by all workers together.
    asked : callable, optional
        Tells whether to stop; then there is a checkpoint of the last step.

    Returns
    -------
    bool
        Whether it came to the end, and was not asked to stop.

    Raises
    ------
    InputError
        The loss is not a number any more, or a shard is missing or damaged; or a batch of one
        image is too small for the network, or the memory of the GPU for the network by itself.
    TooLarge
        The memory of the GPU is too small for so many images at once.
    """
    import torch

    settings = job.settings
    device = best_device()
    reader, rows = ImageReader(job.stack), read_rows(job.stack, job.learner.needs)
    order = plan_order(job, reader)
    feed = Feed(reader, rows, job.learner, order, rank, ranks, settings.threads, device)
    before = last_checkpoint(job.folder) or Checkpoint(0)
    with enough_memory(reader.layout.path):
        network, optimizer = _begin(job, before, device)
        stepper = Stepper(job.learner, settings, network, optimizer, ranks, job.at_once)
    watch, history, saved = Watch(ranks, device), list(before.history), time.monotonic()

    def save(epoch: int, step: int, tally: Tally | None) -> None:
        nonlocal saved
        if rank == 0:
            so_far = asdict(tally) if tally else {}
            save_checkpoint(
                job.folder, Checkpoint(epoch, history, step, so_far), network, optimizer
            )
        saved = time.monotonic()

    for epoch in range(before.epoch, settings.epochs):
        first, tally = (
            (before.step, Tally(**before.tally)) if epoch == before.epoch else (0, Tally())
        )
        network.train()
        began = time.perf_counter()
        for step, tensors in feed.epoch(epoch, first):
            number = epoch * order.steps + step.number
            # what the network leaves to chance is a matter of the step and of this worker's part
            # of it, not of what went before
            _set_chance(_seed(settings.seed, number, rank), device)
            rate = rate_at(number, order.steps * settings.epochs, settings)
            losses, length = stepper.take(tensors, rate)
            last = step.number == order.steps - 1
            if watch.saw(step, feed.mine(step), losses, length) or last:
                try:
                    stop = watch.look(tally, feed.waited, rank == 0 and asked()) and not last
                except NotFinite as error:
                    raise InputError(_diverged(job, epoch, error)) from None
                feed.waited = 0.0
                now = time.perf_counter()
                tally.seconds, began = tally.seconds + now - began, now
                long_ago = time.monotonic() - saved > job.checkpoint_seconds
                if (stop or long_ago) and not last:
                    save(epoch, step.number + 1, tally)
                if stop:
                    return False
            if done is not None:
                done(settings.batch)
        shown = order.steps * settings.batch
        row = {
            "epoch": epoch + 1,
            "rate": settings.rate,
            "precision": precision_on(settings.precision, device),
            "seconds": tally.seconds,
            "images_per_second": shown / tally.seconds,
            "waited": tally.waited / tally.seconds,
            "losses": {name: value / shown for name, value in tally.losses.items()},
        }
        history.append(row | {"scores": _judge(job, network, rows, rank, ranks)})
        save(epoch + 1, 0, None)
        if ranks > 1:
            torch.distributed.barrier()
    return True


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _set_chance(seed: int, device: str) -> None:
    """Set the generators of a device; `torch.manual_seed` takes a millisecond to set all."""
    import torch

    torch.default_generator.manual_seed(seed)
    if device == "cuda":
        torch.cuda.manual_seed(seed)


def _begin(
    job: Job, before: Checkpoint, device: str
) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Make the network and the optimizer, as they were at a checkpoint."""
    import torch

    torch.manual_seed(job.settings.seed)
    network = job.learner.build().to(device)
    fewest = fewest_images(network)
    if job.settings.batch < fewest:
        raise InputError(
            f"--batch is {job.settings.batch}, expected {fewest} or more: the network takes means "
            "over the images of a batch."
        )
    # biases and the scales of normalisations are not drawn to zero
    heavy = [each for each in network.parameters() if each.ndim > 1]
    light = [each for each in network.parameters() if each.ndim <= 1]
    groups = [{"params": heavy}, {"params": light, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, job.settings.rate, weight_decay=job.settings.decay)
    if before.tensors:
        network.load_state_dict(before.tensors["network"])
        optimizer.load_state_dict(before.tensors["optimizer"])
    return network, optimizer


def _judge(
    job: Job, network: torch.nn.Module, rows: Mapping[str, np.ndarray], rank: int, ranks: int
) -> dict[str, float]:
    """Judge the network by what was held back, if anything was; each worker looks at a part."""
    import torch

    start, stop = job.held_back
    if stop <= start:
        return {}
    if ranks > 1:
        # means over batches are each worker's own
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)
    mine = share_of(np.arange(start, stop), rank, ranks)
    outputs = {}
    if len(mine):
        outputs = apply_network(
            network,
            job.learner,
            job.stack,
            int(mine[0]),
            int(mine[-1]) + 1,
            rows=rows,
            precision=job.settings.precision,
        )
    parts: list[Any] = [outputs]
    if ranks > 1:
        parts = [None] * ranks
        torch.distributed.all_gather_object(parts, outputs)
    whole = {name: np.concatenate([part[name] for part in parts if part]) for name in parts[0]}
    return job.learner.judge(whole, {name: each[start:stop] for name, each in rows.items()})


def _diverged(job: Job, epoch: int, error: NotFinite) -> str:
    kept = last_checkpoint(job.folder, tensors=False)
    where = "" if kept is None else f", from {reached(kept)}, which is kept in {job.folder}"
    return (
        f"{job.stack}: in epoch {epoch + 1}, step {error.step.number + 1}, {error.sentence()} is "
        "not a finite number; look whether these images are sound, or go on with a lower rate, by "
        f"the same command with --resume --rate {job.settings.rate / 2:g}{where}."
    )


def reached(checkpoint: Checkpoint) -> str:
    """Say which network a checkpoint holds."""
    if checkpoint.step:
        return f"the network as it was at step {checkpoint.step} of epoch {checkpoint.epoch + 1}"
    return f"the network as it was after epoch {checkpoint.epoch}"


def load_network(job: Job) -> tuple[torch.nn.Module, list[dict[str, Any]]]:
    """Give the network of the last checkpoint, on the CPU, and the history."""
    found = last_checkpoint(job.folder)
    assert found is not None
    network = job.learner.build()
    network.load_state_dict(found.tensors["network"])
    return network.eval(), found.history


def smaller(job: Job, error: TooLarge) -> int:
    """Give how many images should go through the network at once after memory was too small.

    Raises
    ------
    InputError
        They cannot be fewer.
    """
    fewest = fewest_images(job.learner.build())
    at_once = max(fewest, error.images // 2)
    if error.images <= fewest or at_once == job.at_once:
        images = f"{error.images} image{'s' if error.images > 1 else ''}"
        raise too_little_memory(job.stack, f"to train on {images} at once")
    return at_once
