"""`hpdp cryoem heterogeneity analyze` and `select`: what was learnt, and particles chosen of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster

Folder = Annotated[
    Path,
    typer.Argument(help="A folder of hpdp cryoem heterogeneity train.", show_default=False),
]
Stack = Annotated[
    Path | None,
    typer.Option(
        help="Where the stack of the training is now, if it was moved.", show_default=False
    ),
]

_LANDSCAPE = "Landscape of volumes"


@runs_on_a_cluster
def analyze_command(
    folder: Folder,
    clusters: Annotated[int, typer.Option(help="Cells that k-means divides the images into.")] = 20,
    components: Annotated[
        int, typer.Option(help="Principal components along which volumes are made.")
    ] = 2,
    along: Annotated[
        int,
        typer.Option(help="Volumes along each, and along the way through neighbours."),
    ] = 10,
    anchor: Annotated[
        list[int] | None,
        typer.Option(
            help="An image that the way through neighbours passes, by its place in the stack from "
            "0; comes twice or more. By default from one end of the images to the other.",
            show_default=False,
        ),
    ] = None,
    landscape: Annotated[
        int,
        typer.Option(
            help="Coarse volumes all over the latent space; 0: none.", rich_help_panel=_LANDSCAPE
        ),
    ] = 200,
    landscape_clusters: Annotated[
        int | None,
        typer.Option(
            help="Clusters that the landscape is divided into; by default those that a valley "
            "parts.",
            rich_help_panel=_LANDSCAPE,
            show_default=False,
        ),
    ] = None,
    stack: Stack = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Look at what was learnt: clusters, volumes along components and ways, a landscape.

    Writes the folder analysis into that of the training: table.parquet with a row an image,
    volumes, a movie, and a report. The workers make the volumes.

    Example: `hpdp cryoem heterogeneity analyze conformations`
    """
    from hpdp_dask.cryoem.heterogeneity.analysis import AnalysisSettings
    from hpdp_dask.cryoem.heterogeneity.table import ANALYSIS
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.heterogeneity_analysis import run_analysis

    settings = AnalysisSettings(
        clusters=clusters,
        components=components,
        along=along,
        anchors=tuple(anchor or ()),
        landscape=landscape,
        landscape_clusters=landscape_clusters,
        seed=seed,
    )
    with (
        where.connected(
            reads=[folder, stack], writes=folder / ANALYSIS, overwrite=overwrite
        ) as client,
        Progress() as progress,
    ):
        record = run_analysis(
            folder,
            settings,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            stack=stack,
            overwrite=overwrite,
            progress=progress,
            say=lambda line: print(line, flush=True),
        )
    for warning in record.warnings:
        print(f"Note: {warning}")
    if "occupancies" in record.results:
        shares = record.results["occupancies"]
        told = ", ".join(f"{share:.1%}" for share in shares)
        print(f"States of the landscape: {len(shares)} ({told} of the images)")
    print(f"Report: {folder / ANALYSIS / 'report.html'}")


def select_command(
    folder: Folder,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="*NAME.zarr*: a stack with the images; *NAME.star*: the particles alone.",
            show_default=False,
        ),
    ],
    cluster: Annotated[
        list[int] | None,
        typer.Option(help="A cluster of k-means, from 0; may come again.", show_default=False),
    ] = None,
    landscape_cluster: Annotated[
        list[int] | None,
        typer.Option(help="A state of the landscape, from 0; may come again.", show_default=False),
    ] = None,
    lasso: Annotated[
        Path | None,
        typer.Option(
            help="A line drawn about images, as the explorer saves it; with clusters, images must "
            "be in both.",
            show_default=False,
        ),
    ] = None,
    stack: Stack = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a stack of the particles in clusters or inside a lasso.

    Example: `hpdp cryoem heterogeneity select conformations --cluster 3 -o open.zarr`
    """
    from hpdp_dask.cryoem.heterogeneity.chosen import check_chosen, write_chosen
    from hpdp_dask.cryoem.heterogeneity.selection import read_lasso, select_rows
    from hpdp_dask.cryoem.heterogeneity.table import read_table
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.errors import InputError

    if cluster and landscape_cluster:
        raise InputError("give either --cluster or --landscape-cluster, not both.")
    drawn = None if lasso is None else read_lasso(lasso)
    table = read_table(folder)
    check_chosen(folder, output, stack, overwrite)
    rows = select_rows(
        table,
        lasso=drawn,
        cluster=cluster or landscape_cluster or None,
        column="landscape_cluster" if landscape_cluster else "cluster",
    )
    words = [f"cluster {number}" for number in cluster or ()]
    words += [f"state {number}" for number in landscape_cluster or ()]
    words += [f"lasso {lasso}"] if lasso is not None else []
    with Progress() as progress:
        write_chosen(
            folder,
            rows,
            output,
            ", ".join(words),
            stack=stack,
            overwrite=overwrite,
            progress=progress,
        )
    kind = "Stack" if output.suffix == ".zarr" else "Particles"
    print(f"{kind}: {output} ({len(rows):,} of {len(table):,} particles)")
