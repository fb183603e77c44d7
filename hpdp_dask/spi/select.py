"""Frames that are wanted, as a stack of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.blocks import map_images, read_images, store_images
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frame_schema import check_frames
from hpdp_dask.stacks.frames import new_frames, open_frames, unit_of
from hpdp_dask.stacks.layout import plan_frames, read_layout
from hpdp_dask.stacks.store import staging

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


@dataclass(frozen=True)
class Wanted:
    """Which frames are wanted: those that are all of what is said.

    Attributes
    ----------
    hits : bool
        Hits alone.
    labels : tuple of str
        Frames with one of these labels.
    accepted : bool
        Of these only where the classifier was sure enough.
    size : tuple of float, optional
        Least and greatest diameter, Å.
    size_score : float, optional
        Least fidelity of the size.
    """

    hits: bool = False
    labels: Sequence[str] = ()
    accepted: bool = True
    size: tuple[float, float] | None = None
    size_score: float | None = None

    def __str__(self) -> str:
        """Say it in words."""
        words = ["hits"] if self.hits else []
        if self.labels:
            words.append(f"labelled {' or '.join(self.labels)}")
        if self.size is not None:
            words.append(f"of {self.size[0]:g} to {self.size[1]:g} Å")
        if self.size_score is not None:
            words.append(f"with a score of the size of {self.size_score:g} or more")
        return ", ".join(words)


@dataclass(frozen=True)
class Selected:
    """What was selected: the new stack, its frames, and of how many."""

    path: Path
    number: int
    of: int


def select_frames(
    stack_path: str | Path,
    output: str | Path,
    wanted: Wanted,
    *,
    client: Client | None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Selected:
    """Make a stack of the frames that are wanted, with all that is known of them.

    Parameters
    ----------
    stack_path, output : str or Path
    wanted : Wanted
    client : distributed.Client or None
        Where the work runs; None for this process.
    overwrite : bool, optional
        Replace a stack at `output`.
    history : mapping, optional
        Kept with the new stack.
    progress : Progress, optional

    Returns
    -------
    Selected

    Raises
    ------
    InputError
        Nothing is wanted, the stack does not know what is asked for, no frame is so, or `output`
        exists.
    """
    stack_path, output = Path(stack_path).absolute(), Path(output).absolute()
    stack = open_frames(stack_path)
    if output == stack_path:
        raise InputError(f"{output}: the output is the input; give the new stack another name.")
    kept = np.flatnonzero(_are_wanted(stack, wanted))
    if not kept.size:
        raise InputError(f"{stack_path}: there are no frames that are {wanted}.")
    layout, unit = read_layout(stack_path), unit_of(stack)
    planned = plan_frames(len(kept), layout.image_shape, layout.dtype, unit)
    per_shard = planned["shards"][0]
    images = map_images(
        read_images(stack_path)[kept].rechunk((per_shard, *layout.image_shape)),
        _as_they_are,
        name="select",
    )
    past = {"selected": str(wanted), "selected_from": str(stack_path), **(history or {})}
    described = (
        stack.drop_vars(unit)
        .isel(frame=kept)
        .assign_attrs(history=[*stack.attrs.get("history", []), past])
    )
    with staging(output, overwrite) as unfinished:
        new_frames(
            unfinished,
            described,
            len(kept),
            layout.image_shape,
            layout.dtype,
            unit=unit,
            images_per_shard=per_shard,
        )
        store_images(images, unfinished, name="select", client=client, progress=progress)
    return Selected(output, len(kept), layout.number)


def _as_they_are(images: np.ndarray) -> np.ndarray:
    return images


def _are_wanted(stack: xr.Dataset, wanted: Wanted) -> np.ndarray:
    """Tell which frames are wanted."""
    if not str(wanted):
        raise InputError(
            f"{stack.attrs['path']}: nothing says which frames to select; give --hits, --label, "
            "--size or --min-size-score."
        )
    chosen = np.ones(stack.sizes["frame"], bool)
    if wanted.hits:
        chosen &= _values(stack, "hit") == 1
    if wanted.labels:
        label = _values(stack, "label")
        names = [str(name) for name in stack["class_name"].values]
        for name in wanted.labels:
            if name not in names:
                raise InputError(
                    f"{stack.attrs['path']}: no class {name!r}, expected one of "
                    f"{', '.join(names)}; see hpdp info."
                )
        chosen &= np.isin(label, [names.index(name) for name in wanted.labels])
        if wanted.accepted and "label_accepted" in stack:
            chosen &= stack["label_accepted"].values == 1
    if wanted.size is not None:
        size = _values(stack, "particle_size")
        chosen &= (size >= wanted.size[0]) & (size <= wanted.size[1])
    if wanted.size_score is not None:
        chosen &= _values(stack, "size_score") >= wanted.size_score
    return chosen


def _values(stack: xr.Dataset, name: str) -> np.ndarray:
    check_frames(stack, (name,))
    values: np.ndarray = stack[name].values
    return values
