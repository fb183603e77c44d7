"""`hpdp spi center`."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, called, runs_on_a_cluster


class Method(StrEnum):
    """How the centre is told."""

    rings = "rings"
    friedel = "friedel"
    sphere = "sphere"


@runs_on_a_cluster
def center_command(
    frames: Annotated[
        Path, typer.Argument(help="A Zarr stack of photons with geometry.", show_default=False)
    ],
    method: Annotated[
        Method,
        typer.Option(
            help="*rings*: where the sum of the frames is roundest; *friedel*: most like its "
            "inverse, for few frames; *sphere*: a sphere's pattern, for particles of one size."
        ),
    ] = Method.rings,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Find where the beam meets the detector.

    Of the hits where they are known, else of all frames. Adds beam_center to the stack; whatever
    works from the places of pixels counts them from there.

    Example: `hpdp spi center frames.zarr`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.spi.center import find_center

    with (
        where.connected(reads=[frames], adds=("beam_center",), overwrite=overwrite) as client,
        Progress() as progress,
    ):
        found = find_center(
            frames,
            method.value,
            client=client,
            overwrite=overwrite,
            history={"command": called()},
            progress=progress,
        )
    error = max(found.error)
    print(
        f"Beam centre: x {found.x * 1e3:.4f} mm, y {found.y * 1e3:.4f} mm"
        + (
            f", within {error * 1e3:.4f} mm ({error / found.pixel_size:.3f} pixels)"
            if math.isfinite(error)
            else " (one frame does not tell how certain)"
        )
    )
    if found.place is not None:
        print(f"On the detector: column {found.place[0]:.2f}, row {found.place[1]:.2f} (from 0)")
    if method is Method.sphere:
        print(f"Sphere: {found.diameter / 10:.1f} nm")
    what = "hits" if found.hits else "frames"
    quality = "correlation with the inverse" if method is Method.friedel else "variance explained"
    print(f"Told from {found.frames:,} {what}; {quality} {found.score:.3f}")
