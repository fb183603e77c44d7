"""`hpdp spi size`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, called, runs_on_a_cluster


@runs_on_a_cluster
def size_command(
    frames: Annotated[Path, typer.Argument(help="A Zarr stack of frames.", show_default=False)],
    shape: Annotated[
        str, typer.Option(help="Of the particle: sphere, icosahedron or spheroid.")
    ] = "sphere",
    smallest: Annotated[
        float | None,
        typer.Option(help="Least diameter, Å; by default what the detector can tell."),
    ] = None,
    largest: Annotated[
        float | None,
        typer.Option(help="Greatest diameter, Å; by default what the detector can tell."),
    ] = None,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Find the size of the particle in each frame by a form factor.

    Adds `particle_size` (diameter of the sphere of equal volume, Å), `size_error` and
    `size_score` (fidelity, from 0 to 1) to the stack; of a spheroid, the diameter of the circle of
    its shadow's area, its elongation and its direction.

    Example: `hpdp spi size hits.zarr --smallest 200 --largest 1500`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.spi.size import find_sizes, size_measure

    measure = size_measure(shape, smallest, largest)
    parameters = {"shape": shape, "smallest": smallest, "largest": largest}
    with (
        where.connected(reads=[frames], adds=("particle_size",), overwrite=overwrite) as client,
        Progress() as progress,
    ):
        found = find_sizes(
            frames,
            measure,
            client=client,
            overwrite=overwrite,
            history={"command": called(), "parameters": parameters},
            progress=progress,
        )
    low, median, high = found.quartiles
    print(f"Sizes: median {found.median:.0f} Å of {found.number:,} frames")
    print(
        f"With a score of 0.5 or more: {found.sized:,} frames"
        + (f"; median {median:.0f} Å, half from {low:.0f} to {high:.0f} Å" if found.sized else "")
    )
