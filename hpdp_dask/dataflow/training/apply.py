"""A network applied to images of a stack, in order and without chance."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.dataflow.training.feed import to_device
from hpdp_dask.dataflow.training.learner import Learner
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.stacks.layout import read_layout
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import open_stack

if TYPE_CHECKING:
    import torch

#: Images at once.
_BATCH = 32


def read_rows(path: str | Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read what is known of each image of a stack.

    Raises
    ------
    InputError
        The stack has no such variable.
    """
    frames = read_layout(path).dimension == "frame"
    stack = open_frames(path) if frames else open_stack(path)
    for name in names:
        if name not in stack:
            raise InputError(
                f"{stack.attrs['path']}: no variable {name}, which the training needs; take a "
                "stack that was simulated with its truth."
            )
    return {name: stack[name].values for name in names}


def apply_network(
    network: torch.nn.Module,
    learner: Learner,
    stack_path: str | Path,
    start: int,
    stop: int,
    *,
    rows: Mapping[str, np.ndarray] | None = None,
    precision: str = "float32",
) -> dict[str, np.ndarray]:
    """Apply a network to images that follow each other.

    Parameters
    ----------
    network : torch.nn.Module
        On its device; its mode is as before afterwards.
    learner : Learner
        Prepares the images, and says what comes out.
    stack_path : path
    start, stop : int
        The first image and the one after the last.
    rows : mapping, optional
        Of all images of the stack; by default they are read.
    precision : str, optional

    Returns
    -------
    dict of str to (stop - start, ...) ndarray

    Raises
    ------
    InputError
        A shard is missing or damaged.
    """
    import torch

    reader = ImageReader(stack_path)
    known = read_rows(stack_path, learner.needs) if rows is None else rows
    device = next(network.parameters()).device.type
    found: dict[str, list[np.ndarray]] = {}
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            for low in range(start, stop, _BATCH):
                high = min(low + _BATCH, stop)
                part = {name: values[low:high] for name, values in known.items()}
                batch = to_device(learner.prepare(reader.read(low, high), part, None), device)
                with computing(precision, device):
                    given = learner.outputs(network, batch)
                for name, values in given.items():
                    found.setdefault(name, []).append(values.float().cpu().numpy())
    finally:
        network.train(was_training)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def computing(precision: str, device: str) -> Any:
    """Give the context in which a network computes with a precision."""
    import torch

    half = precision == "bfloat16" or (precision == "fastest" and multiplies_halves(device))
    return torch.autocast(device, torch.bfloat16, enabled=half)


@lru_cache
def multiplies_halves(device: str) -> bool:
    """Tell whether a device multiplies bfloat16 itself: a GPU, or AVX-512 BF16 or AMX."""
    if device != "cpu":
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
