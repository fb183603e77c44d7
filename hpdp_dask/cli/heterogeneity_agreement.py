"""`hpdp cryoem heterogeneity agree`: do two trainings on half-sets find the same?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster


@runs_on_a_cluster
def agree_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of hpdp cryoem heterogeneity train, whose settings are taken; or a Zarr "
            "stack with poses and CTF.",
            show_default=False,
        ),
    ],
    output: options.OutputFolder,
    zdim: Annotated[
        int | None,
        typer.Option(
            help="Dimensions of the latent variable; by default those of the training, 8 of a "
            "stack.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the images; by default those of the training, 8 of a stack.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Highest rate of learning, by default that of the training, 0.001 of a stack; may "
            "be another one with --resume.",
            show_default=False,
        ),
    ] = None,
    places: Annotated[int, typer.Option(help="At which volumes are compared.")] = 6,
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
    """Train on each half-set by itself, and tell how far the two trainings agree.

    Both are shown all images: how places in the latent spaces correlate, direction by direction,
    and to which resolution volumes are the same, as half-maps tell of a map. Takes about as long
    as one training on all images.

    Example: `hpdp cryoem heterogeneity agree conformations -o agreement`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.dataflow.training.train import check_torch
    from hpdp_dask.workflow.heterogeneity_agreement import run_agreement

    check_torch()
    with (
        where.connected(reads=[source, stack], writes=output, overwrite=overwrite) as client,
        Progress() as progress,
    ):
        record = run_agreement(
            source,
            output,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            zdim=zdim,
            epochs=epochs,
            rate=rate,
            places=places,
            seed=seed,
            stack=stack,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
            say=lambda line: print(line, flush=True),
        )
    found = record.results
    correlations = ", ".join(f"{each:.3f}" for each in found["correlations"])
    print(f"Correlations of places, direction by direction: {correlations}")
    print(f"Directions that both trainings found: {found['shared']}")
    for warning in record.warnings:
        print(f"Note: {warning}")
    print(f"Report: {output / 'report.html'}")
