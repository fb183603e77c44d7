"""`hpdp cryoem refine`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster


@runs_on_a_cluster
def refine_command(
    stack: Annotated[Path, typer.Argument(help="A Zarr stack.", show_default=False)],
    output: options.OutputFolder,
    reference: Annotated[
        Path, typer.Option(help="A map to start from, of any box.", show_default=False)
    ],
    initial_resolution: Annotated[
        float, typer.Option(help="What the reference is low-passed to, Å.")
    ] = 30.0,
    symmetry: options.Symmetry = "C1",
    mask_diameter: Annotated[
        float | None,
        typer.Option(help="Sphere that holds the particle, Å; by default 3/4 of the box."),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A soft mask from 0 to 1, in place of the sphere.")
    ] = None,
    truth: options.Truth = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    *,
    where: Where,
) -> None:
    """Refine orientations, shifts and the map of particles in two independent halves.

    Starts from a low-passed reference; sampling and resolution grow by themselves, and it stops by
    itself. Writes half-maps, the map, particles.star with the poses, the FSC of each iteration
    and a report.

    Example: `hpdp cryoem refine particles.zarr -o refined --reference initial/map.mrc`
    """
    from hpdp_dask.cryoem.fsc import describe_resolution
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.refinement import run_refinement

    with (
        where.connected(
            reads=[stack, reference, mask, truth],
            writes=output,
            overwrite=overwrite,
        ) as client,
        Progress() as progress,
    ):
        record = run_refinement(
            stack,
            output,
            reference=reference,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            say=lambda line: print(line, flush=True),
            symmetry=symmetry,
            initial_resolution=initial_resolution,
            mask_diameter=mask_diameter,
            mask=mask,
            truth=truth,
            seed=seed,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
        )
    for warning in record.warnings:
        print(f"Note: {warning}")
    found = record.results
    print(f"Resolution (FSC 0.143): {describe_resolution(found['resolution'])}")
    print(f"Under the mask: {describe_resolution(found['resolution_masked'])}")
    if truth is not None:
        against = describe_resolution(found["resolution_against_truth"])
        print(f"Against the truth (FSC 0.5): {against}")
    print(f"Report: {output / 'report.html'}")
