"""`hpdp cryoem initial-model`: a first map, from nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster


@runs_on_a_cluster
def initial_model_command(
    stack: Annotated[
        Path, typer.Argument(help="A Zarr stack with CTF, normalised.", show_default=False)
    ],
    output: options.OutputFolder,
    classes: Annotated[int, typer.Option(help="How many maps to look for at once.")] = 1,
    symmetry: Annotated[
        str, typer.Option(help="Point group, imposed where the map is found to have it.")
    ] = "C1",
    mask_diameter: Annotated[
        float | None,
        typer.Option(help="Of the sphere that holds the particle, Å; by default 0.75 of the box."),
    ] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    *,
    where: Where,
) -> None:
    """Find a first map of the particles without any reference or poses.

    Writes map.mrc, with its axes in the standard setting where it has the symmetry, or a map of
    each class and the particles with their classes; and a report. The hand is not known.

    Example: `hpdp cryoem initial-model normalized.zarr -o initial --symmetry D3`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.initial_model import run_initial_model

    with (
        where.connected(
            reads=[stack],
            writes=output,
            overwrite=overwrite,
        ) as client,
        Progress() as progress,
    ):
        record = run_initial_model(
            stack,
            output,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            classes=classes,
            symmetry=symmetry,
            mask_diameter=mask_diameter,
            seed=seed,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
            say=lambda sentence: print(sentence, flush=True),
        )
    for warning in record.warnings:
        print(f"Note: {warning}")
    found = record.results
    print(
        f"Maps: {found['classes']}, symmetry {', '.join(dict.fromkeys(found['symmetry']))}, "
        f"compared to {found['compared_to']:.1f} Å"
    )
    print(f"Report: {output / 'report.html'}")
