"""`hpdp spi background`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, called, runs_on_a_cluster
from hpdp_dask.errors import InputError


class Method(StrEnum):
    """How the background is told."""

    mode = "mode"
    weight = "weight"


@runs_on_a_cluster
def background_command(
    frames: Annotated[Path, typer.Argument(help="A Zarr stack of photons.", show_default=False)],
    method: Annotated[
        Method | None,
        typer.Option(
            help="*mode*: the most frequent photons of each pixel; *weight*: the mean of the "
            "misses. By default *weight* where hits are known.",
            show_default=False,
        ),
    ] = None,
    largest: Annotated[
        int, typer.Option(min=4, help="Photons of a pixel that the mode looks at.")
    ] = 50,
    all_frames: Annotated[
        bool, typer.Option("--all-frames", help="For the mode, hits too where they are known.")
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(help="Frames that share a weight, 0 for all; by default those of a train."),
    ] = None,
    subtract: Annotated[
        Path | None,
        typer.Option(
            help="Write a stack without the background, in whole photons, too.", show_default=False
        ),
    ] = None,
    overflow: Annotated[
        int | None, typer.Option(help="Pixels with more photons stay as they are.")
    ] = None,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Estimate what a frame without a particle shows.

    Adds background to the stack and, where hits are known, background_scale of each frame. What
    comes later takes them into account; nothing is subtracted, unless a stack for it is named.

    Example: `hpdp spi background frames.zarr`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.spi.background import estimate_background
    from hpdp_dask.spi.subtract import subtract_background

    if overflow is not None and subtract is None:
        raise InputError("--overflow says which pixels --subtract leaves; give --subtract too.")
    history = {"command": called()}
    with (
        where.connected(
            reads=[frames], writes=subtract, adds=("background",), overwrite=overwrite
        ) as client,
        Progress() as progress,
    ):
        found = estimate_background(
            frames,
            method.value if method else None,
            largest=largest,
            all_frames=all_frames,
            window=window,
            client=client,
            overwrite=overwrite,
            history=history,
            progress=progress,
        )
        if subtract is not None:
            subtract_background(
                frames,
                subtract,
                overflow=overflow,
                client=client,
                overwrite=overwrite,
                history=history,
                progress=progress,
            )
    print(
        f"Background: {found.photons:,.1f} photons a frame (of {found.frames:,} frames, {found.of})"
    )
    if found.groups:
        low, high = found.scales
        print(f"Its scale: {low:.3f} to {high:.3f} (of {found.groups})")
    if found.beyond:
        print(
            f"Note: {found.beyond:,} pixels mostly have {largest} photons or more; they were given "
            f"{largest}, --largest looks further."
        )
    if subtract is not None:
        print(f"Without background: {subtract}")
