"""`hpdp cryoem classify2d` and `select`: classes of images, and the particles in some of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster


@runs_on_a_cluster
def classify2d_command(
    stack: Annotated[
        Path, typer.Argument(help="A Zarr stack with CTF, normalised.", show_default=False)
    ],
    output: options.OutputFolder,
    classes: Annotated[int, typer.Option(help="How many.")] = 50,
    iterations: Annotated[int, typer.Option(help="Passes over the images or a part of them.")] = 25,
    mask_diameter: Annotated[
        float | None,
        typer.Option(help="Of the circle that holds the particle, Å; by default 0.85 of the box."),
    ] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    *,
    where: Where,
) -> None:
    """Classify and align images in two dimensions, without any reference.

    Writes the class averages, ranked, the particles with class, angle, shift and probability, and
    a report with a gallery.

    Example: `hpdp cryoem classify2d normalized.zarr -o classes --classes 50`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.classification import run_classification

    with (
        where.connected(
            reads=[stack],
            writes=output,
            overwrite=overwrite,
        ) as client,
        Progress() as progress,
    ):
        record = run_classification(
            stack,
            output,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            classes=classes,
            iterations=iterations,
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
        f"Good classes: {found['good_classes']} of {found['classes']}, with "
        f"{found['particles_in_good_classes']:,} of {found['particles']:,} particles"
    )
    print(f"Report: {output / 'report.html'}")


@runs_on_a_cluster
def select_command(
    folder: Annotated[
        Path, typer.Argument(help="A folder that classify2d made.", show_default=False)
    ],
    output: options.OutputStack,
    classes: Annotated[
        str | None, typer.Option(help="Numbers of classes: *1,4,7* or *1-9,12*.")
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="Classes of this score or more; by default 0.5, unless some are named."),
    ] = None,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Make a stack of the particles of good classes.

    Example: `hpdp cryoem select classes -o good.zarr --classes 1,4,7`
    """
    from hpdp_dask.cryoem.select import read_numbers, select
    from hpdp_dask.dataflow.progress import Progress

    chosen = None if classes is None else read_numbers(classes)
    with (
        where.connected(
            reads=[folder],
            writes=output,
            overwrite=overwrite,
        ) as client,
        Progress() as progress,
    ):
        selection = select(
            folder,
            output,
            classes=chosen,
            min_score=min_score,
            client=client,
            overwrite=overwrite,
            progress=progress,
        )
    print(
        f"Stack: {selection.path} ({selection.number:,} of {selection.of:,} particles, of "
        f"{len(selection.classes)} class{'es' if len(selection.classes) > 1 else ''})"
    )
