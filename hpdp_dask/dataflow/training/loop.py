"""The training itself, as one worker of several, or the only one, does it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.dataflow.training.apply import apply_network, computing, read_rows
from hpdp_dask.dataflow.training.checkpoints import Checkpoint, last_checkpoint, save_checkpoint
from hpdp_dask.dataflow.training.feed import Feed, to_device
from hpdp_dask.dataflow.training.learner import Learner, TrainingSettings
from hpdp_dask.dataflow.training.order import Order
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
    """

    stack: Path
    learner: Learner
    settings: TrainingSettings
    folder: Path
    train: tuple[int, int]
    held_back: tuple[int, int]


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


def run_rank(job: Job, rank: int, ranks: int, done: Callable[[int], None] | None = None) -> None:
    """Train as one of several workers, from the last checkpoint to the end.

    Workers must have joined a process group of torch before. The first of them writes a
    checkpoint after each epoch.

    Parameters
    ----------
    job : Job
    rank, ranks : int
    done : callable, optional
        Told of images that were learnt from, by all workers together.

    Raises
    ------
    InputError
        The loss is not a number any more, or a shard is missing or damaged.
    """
    import torch

    settings, learner = job.settings, job.learner
    device = "cuda" if torch.cuda.is_available() else "cpu"
    reader, rows = ImageReader(job.stack), read_rows(job.stack, learner.needs)
    order = plan_order(job, reader)
    feed = Feed(reader, rows, learner, order, rank, ranks, settings.threads)
    before = last_checkpoint(job.folder) or Checkpoint(0)
    network, optimizer = _begin(job, before, device)
    trained: torch.nn.Module = network
    if ranks > 1:
        # gradients are averaged while they are still being computed
        trained = torch.nn.parallel.DistributedDataParallel(network)
    history = list(before.history)
    for epoch in range(before.epoch, settings.epochs):
        began, waited = time.perf_counter(), feed.waited
        sums: dict[str, float] = {}
        trained.train()
        for number, arrays in enumerate(feed.epoch(epoch)):
            step = epoch * order.steps + number
            # what the network leaves to chance is a matter of the step, not of what went before
            torch.manual_seed(_seed(settings.seed, step, rank))
            batch = to_device(arrays, device)
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, order.steps * settings.epochs, settings)
            with computing(settings.precision, device):
                parts = learner.losses(trained, batch)
            # torch averages gradients over workers, whose parts may differ in size
            share = ranks / settings.batch
            total = torch.stack([part.float().sum() for part in parts.values()]).sum() * share
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            length = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.longest_gradient)
            # gradients are alike on all workers, so that all of them stop here or none
            if not torch.isfinite(length):
                raise InputError(_diverged(job, epoch, number))
            optimizer.step()
            for name, part in parts.items():
                sums[name] = sums.get(name, 0.0) + float(part.detach().float().sum()) * share
            if done is not None:
                done(settings.batch)
        seconds = time.perf_counter() - began
        row = {
            "epoch": epoch + 1,
            "seconds": seconds,
            "images_per_second": order.steps * settings.batch / seconds,
            "waited": (feed.waited - waited) / seconds,
            "losses": {name: value / max(1, order.steps) for name, value in sums.items()},
        }
        if rank == 0:
            history.append(row | {"scores": _judge(job, network, rows)})
            save_checkpoint(job.folder, Checkpoint(epoch + 1, history), network, optimizer)
        if ranks > 1:
            torch.distributed.barrier()


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _begin(
    job: Job, before: Checkpoint, device: str
) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Make the network and the optimizer, as they were at a checkpoint."""
    import torch

    torch.manual_seed(job.settings.seed)
    network = job.learner.build().to(device)
    # biases and the scales of normalisations are not drawn to zero
    heavy = [each for each in network.parameters() if each.ndim > 1]
    light = [each for each in network.parameters() if each.ndim <= 1]
    groups = [{"params": heavy}, {"params": light, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, job.settings.rate, weight_decay=job.settings.decay)
    if before.epoch:
        network.load_state_dict(before.tensors["network"])
        optimizer.load_state_dict(before.tensors["optimizer"])
    return network, optimizer


def _judge(job: Job, network: torch.nn.Module, rows: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Judge the network by what was held back, if anything was."""
    start, stop = job.held_back
    if stop <= start:
        return {}
    precision = job.settings.precision
    outputs = apply_network(
        network, job.learner, job.stack, start, stop, rows=rows, precision=precision
    )
    return job.learner.judge(outputs, {name: each[start:stop] for name, each in rows.items()})


def _diverged(job: Job, epoch: int, number: int) -> str:
    kept = f"the network as it was after epoch {epoch} is kept in {job.folder}"
    return (
        f"{job.stack}: in epoch {epoch + 1}, step {number + 1}, the loss or its gradient is not a "
        f"finite number; train with a rate below {job.settings.rate:g}"
        + (f" ({kept})." if epoch else ".")
    )


def load_network(job: Job) -> tuple[torch.nn.Module, list[dict[str, Any]]]:
    """Give the network of the last checkpoint, on the CPU, and the history."""
    found = last_checkpoint(job.folder)
    assert found is not None
    network = job.learner.build()
    network.load_state_dict(found.tensors["network"])
    return network.eval(), found.history
