"""A network applied to images of a stack, in order and without chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.dataflow.training.ahead import made_ahead
from hpdp_dask.dataflow.training.feed import host_tensors, to_device
from hpdp_dask.dataflow.training.learner import PLACE, Learner
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.stacks.layout import read_layout
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import open_stack

if TYPE_CHECKING:
    import torch

#: Images at once; batches that are made ahead for each thread.
_BATCH, _AHEAD = 32, 2


def read_rows(
    path: str | Path, names: tuple[str, ...], start: int = 0, stop: int | None = None
) -> dict[str, np.ndarray]:
    """Read what is known of each image of a stack, or of those from `start` to `stop`.

    Raises
    ------
    InputError
        The stack has no such variable.
    """
    frames = read_layout(path).dimension == "frame"
    stack = open_frames(path) if frames else open_stack(path)
    for name in names:
        if name not in stack:
            source = (
                "take a stack that was simulated with its truth"
                if frames
                else "import the particles with their poses and CTF, or refine them first"
            )
            raise InputError(
                f"{stack.attrs['path']}: no variable {name}, which the training needs; {source}."
            )
    return {name: stack[name][start:stop].values for name in names}


def apply_network(
    network: torch.nn.Module,
    learner: Learner,
    stack_path: str | Path,
    start: int,
    stop: int,
    *,
    rows: Mapping[str, np.ndarray] | None = None,
    precision: str = "float32",
    threads: int = 1,
    done: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Apply a network to images that follow each other, in this process.

    `spread.apply_to_all` has the workers of a cluster do it.

    Parameters
    ----------
    network : torch.nn.Module
        Its device and mode are as before afterwards. Threads may share one that is on the best
        device and in the mode for this already.
    learner : Learner
        Prepares the images, and says what comes out.
    stack_path : path
    start, stop : int
        The first image and the one after the last.
    rows : mapping, optional
        Of all images of the stack; by default those that are needed are read.
    precision : str, optional
    threads : int, optional
        That read and prepare images, ahead of the network.
    done : callable, optional
        Told of images that are done.

    Returns
    -------
    dict of str to (stop - start, ...) ndarray

    Raises
    ------
    InputError
        A shard is missing or damaged, or a GPU has not memory enough for one image.
    """
    import torch

    reader = ImageReader(stack_path)
    if rows is None:
        known = read_rows(stack_path, learner.needs, start, stop)
    else:
        known = {name: values[start:stop] for name, values in rows.items()}
    before, device = next(network.parameters()).device, best_device()

    def make(batch: tuple[int, int]) -> dict[str, Any]:
        low, high = batch
        part = {name: values[low - start : high - start] for name, values in known.items()}
        part[PLACE] = np.arange(low, high)
        return host_tensors(learner.prepare(reader.read(low, high), part, None), device)

    found: dict[str, list[np.ndarray]] = {}
    was_training = network.training
    batches, path = _batches(reader, start, stop), reader.layout.path

    def compute(piece: Mapping[str, Any]) -> dict[str, np.ndarray]:
        with computing(precision, device):
            given = learner.outputs(network, to_device(piece, device))
        return {name: values.float().cpu().numpy() for name, values in given.items()}

    in_pieces = _InPieces(compute, path)
    try:
        with enough_memory(path):
            network.to(device).eval()
        with torch.inference_mode(), ThreadPoolExecutor(threads, "prepare") as pool:
            made = made_ahead(pool, make, batches, _AHEAD * threads)
            for (low, high), future in zip(batches, made, strict=True):
                for name, values in in_pieces(future.result(), high - low).items():
                    found.setdefault(name, []).append(values)
                if done is not None:
                    done(high - low)
    finally:
        network.to(before).train(was_training)
    return {name: np.concatenate(parts) for name, parts in found.items()}


class _InPieces:
    """Computes batches, with as many images at once as the memory of a GPU has room for.

    Parameters
    ----------
    compute : callable
        Gives what comes out of a piece of a batch.
    path : Path
        Of the stack, for messages.
    """

    def __init__(
        self, compute: Callable[[Mapping[str, Any]], dict[str, np.ndarray]], path: Path
    ) -> None:
        self._compute, self._path, self._at_once = compute, path, _BATCH

    def __call__(self, batch: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
        """Compute a batch of so many images."""
        import torch

        while True:
            # what failed is let go of with the exception of torch, before fewer are tried
            with suppress(torch.OutOfMemoryError):
                return self._computed(batch, count)
            if self._at_once == 1:
                raise too_little_memory(self._path, "to apply the network to one image")
            self._at_once = max(1, min(self._at_once, count) // 2)

    def _computed(self, batch: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
        parts = [
            self._compute({name: each[low : low + self._at_once] for name, each in batch.items()})
            for low in range(0, count, self._at_once)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def too_little_memory(path: Path, what: str) -> InputError:
    """Say what the memory of the GPU is too small for."""
    return InputError(
        f"{path}: the GPU has too little memory {what}; choose a smaller network, or a GPU with "
        "more."
    )


@contextmanager
def enough_memory(path: Path) -> Iterator[None]:
    """Refuse a network that is too large for the GPU, where it is put there."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise too_little_memory(path, "for the network") from None


def _batches(reader: ImageReader, start: int, stop: int) -> list[tuple[int, int]]:
    """Cut a range into batches that begin where shards do.

    So each image is in the same batch whatever part of a stack is asked for, by whole shards.
    """
    step = reader.images_per_shard
    cuts = [start, *range((start // step + 1) * step, stop, step), stop]
    return [
        (low, min(low + _BATCH, high))
        for first, high in pairwise(cuts)
        for low in range(first, high, _BATCH)
    ]


def best_device() -> str:
    """Give where networks compute: `cuda` where there is a GPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def computing(precision: str, device: str) -> Any:
    """Give the context in which a network computes with a precision."""
    import torch

    half = precision_on(precision, device) == "bfloat16"
    return torch.autocast(device, torch.bfloat16, enabled=half)


def precision_on(precision: str, device: str) -> str:
    """Say what a precision is on a device: *float32* or *bfloat16*."""
    fastest = "bfloat16" if multiplies_halves(device) else "float32"
    return fastest if precision == "fastest" else precision


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
