"""`hpdp spi features`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, called, runs_on_a_cluster


@runs_on_a_cluster
def features_command(
    frames: Annotated[Path, typer.Argument(help="A Zarr stack of frames.", show_default=False)],
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Compute the feature vector of each frame, which classifiers look at.

    Adds `features` to the stack, and sizes unless `hpdp spi size` has found them.

    Example: `hpdp spi features hits.zarr`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.spi.features import compute_features

    with (
        where.connected(reads=[frames], adds=("features",), overwrite=overwrite) as client,
        Progress() as progress,
    ):
        found = compute_features(
            frames,
            client=client,
            overwrite=overwrite,
            history={"command": called()},
            progress=progress,
        )
    rings = "the sizes that were there" if found.sized else "sizes that were found on the way"
    print(f"Features: {found.features} of each of {found.number:,} frames, on rings by {rings}")
