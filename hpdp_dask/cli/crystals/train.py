"""`hpdp crystals train`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster

_TRAINING = "Training"


class Task(StrEnum):
    """What a model should tell."""

    all = "all"
    resolution = "resolution"
    lattices = "lattices"
    hit = "hit"


class Network(StrEnum):
    """What learns."""

    small = "small"
    resnet18 = "resnet18"
    resnet34 = "resnet34"
    resnet50 = "resnet50"


class RecipeName(StrEnum):
    """Where numbers come from that are not given."""

    small = "small"
    full = "full"


class Precision(StrEnum):
    """Of what a network computes."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    fastest = "fastest"


@runs_on_a_cluster
def train_command(
    output: options.OutputFolder,
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A folder of hpdp crystals simulate; by default the shots of the recipe are "
            "simulated first.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[Task, typer.Option(help="What it should tell.")] = Task.all,
    recipe: Annotated[
        RecipeName,
        typer.Option(
            help="*small*: 20,000 shots, for two cores, an hour or less; *full*: 100,000 shots "
            "and resnet34, for a GPU."
        ),
    ] = RecipeName.small,
    network: Annotated[
        Network | None,
        typer.Option(help="In place of the recipe's.", rich_help_panel=_TRAINING),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            help="Learn from so many; by default from all but the tenth that is held back.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the shots.", rich_help_panel=_TRAINING)
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Shots a step, of all workers together.", rich_help_panel=_TRAINING),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Highest rate of learning; may be another one with --resume.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="*fastest* is bfloat16 on GPUs, and on processors that multiply it.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="That prepare shots, of each worker.", rich_help_panel=_TRAINING),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of every random choice; that of the recipe by default.")
    ] = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    *,
    where: Where,
) -> None:
    """Train a network on simulated shots: resolution, one lattice or several, hit or blank.

    Writes the model with its card and a report on shots that were held back. All workers train
    together, on GPUs where they have them.

    Example: `hpdp crystals train -o model --recipe small`

    Example: `hpdp crystals train shots -o model --network resnet18 --cluster local-cuda`
    """
    from hpdp_dask.crystallography.model_file import TASKS, check_torch
    from hpdp_dask.crystallography.train.recipes import RECIPES, adapt
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.crystals_training import run_crystals_training

    check_torch()
    chosen = adapt(
        RECIPES[recipe.value],
        network=None if network is None else network.value,
        epochs=epochs,
        batch=batch,
        rate=rate,
        precision=None if precision is None else precision.value,
        threads=threads,
        seed=seed,
    )
    with (
        where.connected(reads=[data], writes=output, overwrite=overwrite) as client,
        Progress() as progress,
    ):
        record = run_crystals_training(
            data,
            output,
            chosen,
            TASKS if task is Task.all else (task.value,),
            images=images,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            overwrite=overwrite,
            resume=resume,
            progress=progress,
            say=lambda line: print(line, flush=True),
        )
    for warning in record.warnings:
        print(f"Note: {warning}")
    print(f"Model: {output}")
    print(f"Report: {output / 'report.html'}")
