"""`hpdp spi select`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, called, runs_on_a_cluster


@runs_on_a_cluster
def select_command(
    frames: Annotated[Path, typer.Argument(help="A Zarr stack of frames.", show_default=False)],
    output: options.OutputStack,
    hits: Annotated[bool, typer.Option("--hits", help="Hits alone.")] = False,
    label: Annotated[
        list[str] | None, typer.Option(help="Frames with this label; several are one or another.")
    ] = None,
    unsure: Annotated[
        bool, typer.Option("--unsure", help="Labelled frames that the classifier rejects, too.")
    ] = False,
    size: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LEAST GREATEST", help="Of the diameter, Å."),
    ] = None,
    min_size_score: Annotated[
        float | None, typer.Option(help="Least fidelity of the size.")
    ] = None,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Make a stack of the frames that are wanted, with all that is known of them.

    Example: `hpdp spi select frames.zarr -o single.zarr --label single --size 580 620`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.spi.select import Wanted, select_frames

    wanted = Wanted(hits, tuple(label or ()), not unsure, size, min_size_score)
    with (
        where.connected(reads=[frames], writes=output, overwrite=overwrite) as client,
        Progress() as progress,
    ):
        selected = select_frames(
            frames,
            output,
            wanted,
            client=client,
            overwrite=overwrite,
            history={"command": called()},
            progress=progress,
        )
    print(f"Stack: {selected.path} ({selected.number:,} of {selected.of:,} frames)")
