"""`hpdp cryoem heterogeneity`: learn conformations, make volumes of them."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster

app = typer.Typer(
    help="Conformations of particles with known poses.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_NETWORK, _TRAINING = "Networks", "Training"


class Features(StrEnum):
    """What the decoder sees of a frequency."""

    gaussian = "gaussian"
    geometric = "geometric"
    none = "none"


class Encoder(StrEnum):
    """What makes the latent variable of an image."""

    posterior = "posterior"
    mlp = "mlp"
    convolutional = "convolutional"
    none = "none"


class Start(StrEnum):
    """Where the networks begin."""

    linear = "linear"
    none = "none"


class Precision(StrEnum):
    """Of what a network computes."""

    fastest = "fastest"
    float32 = "float32"
    bfloat16 = "bfloat16"


@app.command("train")
@runs_on_a_cluster
def train_command(
    stack: Annotated[
        Path, typer.Argument(help="A Zarr stack with poses and CTF.", show_default=False)
    ],
    output: options.OutputFolder,
    zdim: Annotated[
        int, typer.Option(help="Dimensions of the latent variable; 0: one volume of all images.")
    ] = 8,
    epochs: Annotated[
        int, typer.Option(help="Passes over the images.", rich_help_panel=_TRAINING)
    ] = 8,
    architecture: Annotated[
        str,
        typer.Option(help="Of the decoder: width x layers.", rich_help_panel=_NETWORK),
    ] = "256x3",
    features: Annotated[
        Features,
        typer.Option(
            help="What the decoder sees of a frequency: waves at random places, waves of "
            "geometrically spaced lengths along each axis, or the frequency itself.",
            rich_help_panel=_NETWORK,
        ),
    ] = Features.gaussian,
    start: Annotated[
        Start,
        typer.Option(
            help="*linear*: from a linear model of the volumes, found first; *none*: from nothing.",
            rich_help_panel=_NETWORK,
        ),
    ] = Start.linear,
    encoder: Annotated[
        Encoder | None,
        typer.Option(
            help="What makes the latent variable of an image: *posterior*, a network that sees "
            "what the linear model makes of the image; *mlp*, one that sees its coarse transform; "
            "*convolutional*, its coarse picture; *none*: each image has numbers of its own, "
            "which are learnt. By default posterior, and mlp without a linear start.",
            rich_help_panel=_NETWORK,
            show_default=False,
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            help="Frequencies of an image that a step looks at, chosen by chance by what they "
            "can tell; 0: all.",
            rich_help_panel=_TRAINING,
        ),
    ] = 512,
    batch: Annotated[
        int,
        typer.Option(help="Images a step, of all workers together.", rich_help_panel=_TRAINING),
    ] = 32,
    rate: Annotated[
        float,
        typer.Option(
            help="Highest rate of learning; may be another one with --resume.",
            rich_help_panel=_TRAINING,
        ),
    ] = 1e-3,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Of what networks compute; *fastest*: bfloat16 on GPUs, and on processors that "
            "multiply it.",
            rich_help_panel=_TRAINING,
        ),
    ] = Precision.fastest,
    threads: Annotated[
        int,
        typer.Option(help="That prepare images, of each worker.", rich_help_panel=_TRAINING),
    ] = 1,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    *,
    where: Where,
) -> None:
    """Learn the conformations of particles: a latent variable for each, volumes for any of it.

    Writes z.npy, particles.star with the latent variables, volumes along the first principal
    component, the weights, and a report. All workers train together.

    Example: `hpdp cryoem heterogeneity train particles.zarr -o conformations --zdim 4`
    """
    from hpdp_dask.cryoem.heterogeneity.architecture import read_shape
    from hpdp_dask.cryoem.heterogeneity.stage import HeterogeneitySettings
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.dataflow.training import TrainingSettings
    from hpdp_dask.dataflow.training.train import check_torch
    from hpdp_dask.workflow.heterogeneity import next_steps, run_heterogeneity_training

    check_torch()
    width, layers = read_shape(architecture)
    settings = HeterogeneitySettings(
        zdim=zdim,
        width=width,
        layers=layers,
        features=features.value,
        linear=start is Start.linear,
        encoder=encoder.value if encoder else None,
        samples=samples,
        training=TrainingSettings(
            epochs=epochs,
            batch=batch,
            rate=rate,
            decay=0.0,
            longest_gradient=10.0,
            precision=precision.value,
            threads=threads,
            seed=seed,
        ),
    )
    with (
        where.connected(reads=[stack], writes=output, overwrite=overwrite) as client,
        Progress() as progress,
    ):
        record = run_heterogeneity_training(
            stack,
            output,
            settings,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            overwrite=overwrite,
            resume=resume,
            progress=progress,
            say=lambda line: print(line, flush=True),
        )
    for warning in record.warnings:
        print(f"Note: {warning}")
    print(f"Volumes: {output / 'volumes'}")
    print(f"Report: {output / 'report.html'}")
    for line in next_steps(output, zdim):
        print(line)


@app.command("volumes")
@runs_on_a_cluster
def volumes_command(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder of hpdp cryoem heterogeneity train.", show_default=False),
    ],
    output: options.OutputFolder,
    z: Annotated[
        Path | None,
        typer.Option(
            "--z",
            help="Points of the latent space: an .npy, or text with one a line.",
            show_default=False,
        ),
    ] = None,
    image: Annotated[
        list[int] | None,
        typer.Option(
            help="Where a particle is, by its place in the stack from 0; may come again.",
            show_default=False,
        ),
    ] = None,
    path: Annotated[
        int | None,
        typer.Option(
            help="So many volumes along the first principal component.", show_default=False
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Make volumes at points of the latent space.

    Example: `hpdp cryoem heterogeneity volumes conformations -o movie --path 20`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.heterogeneity import make_volumes

    with (
        where.connected(reads=[folder, z], writes=output, overwrite=overwrite) as client,
        Progress() as progress,
    ):
        record = make_volumes(
            folder,
            output,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            points_file=z,
            images=image or (),
            path=path,
            overwrite=overwrite,
            progress=progress,
            say=lambda line: print(line, flush=True),
        )
    print(f"Volumes: {output / 'volumes'} ({record.results['volumes']})")
