"""`hpdp spi hits`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, called, runs_on_a_cluster


class Score(StrEnum):
    """What tells hits."""

    lit = "lit"
    likelihood = "lambda"


@runs_on_a_cluster
def hits_command(
    frames: Annotated[Path, typer.Argument(help="A Zarr stack of photons.", show_default=False)],
    by: Annotated[
        Score,
        typer.Option(help="*lit* pixels, or *lambda*: the likelihood of the background alone."),
    ] = Score.lit,
    sigmas: Annotated[
        float, typer.Option(help="A hit is above the median by so many standard deviations.")
    ] = 4.0,
    window: Annotated[
        int | None,
        typer.Option(
            help="Frames that are compared with each other, 0 for all; by default those of a train."
        ),
    ] = None,
    lit_from: Annotated[int, typer.Option(min=1, help="Photons that make a pixel lit.")] = 1,
    min_median: Annotated[
        float, typer.Option(help="No hits where the median is less, as without a beam.")
    ] = 0.0,
    min_sigma: Annotated[float, typer.Option(help="No hits where the spread is less.")] = 0.0,
    min_pulse_energy: Annotated[float, typer.Option(help="No hits of weaker pulses, J.")] = 0.0,
    choose_misses: Annotated[
        bool,
        typer.Option(
            "--choose-misses", help="Choose as many misses as hits, at random, for the background."
        ),
    ] = False,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Find the frames with a particle in them.

    Adds lit_pixels, photon_count, hit_score and hit to the stack, and lambda_score where a
    background is known. The spread is told from the half below the median, where no hits are.

    Example: `hpdp spi hits frames.zarr`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.spi.hits import HitRule, find_hits

    rule = HitRule(
        by="lambda_score" if by is Score.likelihood else "lit_pixels",
        sigmas=sigmas,
        min_median=min_median,
        min_sigma=min_sigma,
        min_pulse_energy=min_pulse_energy,
    )
    with (
        where.connected(reads=[frames], adds=("hit",), overwrite=overwrite) as client,
        Progress() as progress,
    ):
        found = find_hits(
            frames,
            rule,
            lit_from=lit_from,
            window=window,
            choose_misses=choose_misses,
            seed=seed,
            client=client,
            overwrite=overwrite,
            history={"command": called()},
            progress=progress,
        )
    unit = "lit pixels" if by is Score.lit else "in lambda score"
    print(
        f"Hits: {found.hits:,} of {found.number:,} frames ({found.hits / max(found.number, 1):.1%})"
    )
    print(
        f"Threshold: {found.threshold:,.0f} {unit} (median {found.median:,.0f}, standard "
        f"deviation {found.sigma:,.1f}; of {found.groups})"
    )
    if not found.hits:
        print(
            "Note: no frame stands out. If the frames were selected before, all may be hits: go on "
            "without this step, or lower --sigmas."
        )
    if found.hits:
        print(
            f"A hit: {found.lit_pixels:,.0f} lit pixels, {found.photon_count:,.0f} photons "
            "(medians)"
        )
    if found.misses:
        print(f"Misses chosen for the background: {found.misses:,}")
