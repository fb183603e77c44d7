"""`hpdp cryoem heterogeneity assess`: how sure is the heterogeneity?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster


@runs_on_a_cluster
def assess_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="A Zarr stack with poses and CTF, or a folder of hpdp cryoem heterogeneity train.",
            show_default=False,
        ),
    ],
    output: options.OutputFolder,
    directions: Annotated[
        int, typer.Option(help="Directions that are looked for in each half-set.")
    ] = 6,
    volumes: Annotated[
        int, typer.Option(help="Of a training: volumes whose variability is told.")
    ] = 64,
    stack: Annotated[
        Path | None,
        typer.Option(
            help="Of a training: where its stack is, if it was moved.", show_default=False
        ),
    ] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    *,
    where: Where,
) -> None:
    """Ask whether particles differ at all, along how many directions, where, and how surely.

    Each half-set finds directions by itself; the images of the other say what these are worth.
    Works before any training, and tells of one too. Writes a map of the variability, the axes
    that both half-sets share, and a report.

    Example: `hpdp cryoem heterogeneity assess particles.zarr -o assessment`
    """
    from hpdp_dask.cryoem.heterogeneity.assessment import AssessmentSettings
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.heterogeneity_assessment import run_assessment

    with (
        where.connected(reads=[source, stack], writes=output, overwrite=overwrite) as client,
        Progress() as progress,
    ):
        record = run_assessment(
            source,
            output,
            AssessmentSettings(directions, seed),
            client=client,
            command=["hpdp", *sys.argv[1:]],
            stack=stack,
            volumes=volumes,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
            say=lambda line: print(line, flush=True),
        )
    found = record.results
    if found["heterogeneous"]:
        print(
            f"Particles differ: along {found['directions']} directions, {found['gain']:.3g} nats "
            "an image."
        )
    else:
        print("No heterogeneity is seen: no direction of one half-set explains the other.")
    for warning in record.warnings:
        print(f"Note: {warning}")
    print(f"Report: {output / 'report.html'}")
