"""The recipe of `hpdp crystals train`: shots, a network that learns from them, and a report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdp_dask.crystallography.model_file import CARD_FILE, save_model
from hpdp_dask.crystallography.simulate import simulate_shots
from hpdp_dask.crystallography.train.card import figures_of, write_card
from hpdp_dask.crystallography.train.learner import QuadrantLearner
from hpdp_dask.crystallography.train.recipes import Recipe
from hpdp_dask.crystallography.train.stage import HELD_BACK, Learnt, check_shots, train_model
from hpdp_dask.dataflow.training.learner import ADJUSTABLE
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.reconstruction import describe_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord

#: The stack inside of the folder that `hpdp crystals simulate` makes.
SHOTS = "shots.zarr"

#: An accuracy of hits, a correlation of 1/d and a share of the time spent waiting for images, from
#: which on the report warns.
_POOR_HITS, _POOR_RESOLUTION, _LONG_WAIT = 0.9, 0.7, 0.3


def run_crystals_training(
    data: Path | None,
    output: Path,
    recipe: Recipe,
    tasks: tuple[str, ...],
    *,
    images: int | None = None,
    client: Client | None,
    command: Sequence[str],
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> RunRecord:
    """Train a model and write a folder with it, its card, and a report.

    Parameters
    ----------
    data : Path or None
        A folder of `hpdp crystals simulate`, or its stack; by default the shots of the recipe are
        simulated first, and not kept.
    output : Path
        The folder: `model.safetensors`, `model.json`, `README.md`, `report.html`, `run.json`.
    recipe : Recipe
    tasks : tuple of str
        Of `model_file.TASKS`.
    images : int, optional
        How many shots to learn from; by default all but those that are held back.
    client : Client or None
    command : sequence of str
        The words of the command line, for the record and the card.
    overwrite, resume : bool, optional
    progress : Progress, optional
    say : callable, optional
        Told in words what a person should know: how each epoch went, a worker that died.

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        The data are none to learn from, the training failed, or the folder cannot be made.
    """
    stack_path = None if data is None else find_shots(data)
    if stack_path is not None:
        check_shots(stack_path)
    learner = QuadrantLearner(
        recipe.network,
        tasks,
        lattices_apart=recipe.lattices_apart,
        seed=recipe.training.seed,
    )
    parameters: dict[str, Any] = {
        "network": recipe.network,
        "tasks": list(tasks),
        "images": images,
        **asdict(recipe.training),
        "augmentation": asdict(learner.augmentation),
    }
    if stack_path is None:
        parameters["simulation"] = asdict(recipe.simulation)
    with output_folder(
        output,
        command=command,
        parameters=parameters,
        inputs=[] if stack_path is None else [stack_path],
        seed=recipe.training.seed,
        overwrite=overwrite,
        resume=resume,
        adjustable=ADJUSTABLE,
        say=say,
        client=client,
    ) as run:
        if stack_path is None:
            stack_path = _simulate(run, recipe, client, progress)
        with run.stage("train"):
            learnt = train_model(
                stack_path,
                learner,
                recipe.training,
                run.scratch / "training",
                images=images,
                client=client,
                progress=progress,
                tell=None if say is None else lambda row: say(tell_epoch(row)),
                say=say,
            )
            run.images(learnt.model.metrics["shots_learnt_from"] * recipe.training.epochs)
        learnt = replace(learnt, model=_described(run, learnt, stack_path, recipe, command))
        card = write_card(learnt.model, f"Model {run.target.name}")
        save_model(run.path, learnt.model, card)
        return _write_report(run, learnt, client)


def find_shots(data: Path) -> Path:
    """Give the stack of a folder of `hpdp crystals simulate`, or the stack itself."""
    inside = data / SHOTS
    return inside if inside.is_dir() else data


def tell_epoch(row: dict[str, Any]) -> str:
    """Say in a line how an epoch went."""
    scores = ", ".join(
        f"{name.replace('_', ' ')} {value:.3f}" for name, value in row["scores"].items()
    )
    return (
        f"Epoch {row['epoch']}: {row['images_per_second']:.0f} images/s, "
        f"{row['waited']:.0%} of the time waiting for them; {scores}"
    )


def _simulate(
    run: RunFolder, recipe: Recipe, client: Client | None, progress: Progress | None
) -> Path:
    """Simulate the shots of a recipe, unless an interrupted run did."""
    stack_path = run.scratch / SHOTS
    if not stack_path.exists():
        with run.stage("simulate"):
            simulate_shots(recipe.simulation, stack_path, client=client, progress=progress)
            run.images(recipe.simulation.number)
    return stack_path


def _described(
    run: RunFolder, learnt: Learnt, stack_path: Path, recipe: Recipe, command: Sequence[str]
) -> Any:
    """Put into a model what people want to know of its making."""
    stack = open_frames(stack_path)
    training = asdict(recipe.training)
    described = {
        "command": shlex.join(command),
        "data": dict(stack.attrs.get("simulated", {})),
        "settings": {
            "network": recipe.network,
            "tasks": list(learnt.model.tasks),
            **{
                name: training[name]
                for name in ("epochs", "batch", "rate", "decay", "precision", "seed")
            },
            "held back": HELD_BACK,
        },
        "history": learnt.history,
        "version": run.record.versions["hpdp_dask"],
    }
    return replace(learnt.model, training=described)


def _write_report(run: RunFolder, learnt: Learnt, client: Client | None) -> RunRecord:
    from hpdp_dask.workflow.crystals_training_figures import quality_sections
    from hpdp_dask.workflow.report import write_report

    metrics, history = learnt.model.metrics, learnt.history
    if metrics.get("hit_accuracy", 1.0) < _POOR_HITS:
        run.warn("Hits are told from blanks poorly: learn from more shots, or for more epochs.")
    if metrics.get("resolution_pearson", 1.0) < _POOR_RESOLUTION:
        run.warn("The resolution is hardly known: learn from more shots, or for more epochs.")
    waited = sum(row["waited"] * row["seconds"] for row in history)
    seconds = sum(row["seconds"] for row in history)
    if waited > _LONG_WAIT * seconds:
        run.warn(
            f"{waited / seconds:.0%} of the training was waiting for images: give it more threads, "
            "or a faster disk."
        )
    headline = {
        "Pearson of 1/d": metrics.get("resolution_pearson"),
        "Lattices right": metrics.get("lattices_accuracy"),
        "Hits right": metrics.get("hit_accuracy"),
    }
    shown = {
        name: f"{value:.3f}" if name.startswith("Pearson") else f"{value:.1%}"
        for name, value in headline.items()
        if value is not None
    }
    shown |= {
        "Learnt from": f"{metrics['shots_learnt_from']:,} shots",
        "Judged by": f"{metrics['shots_judged']:,} others",
    }
    with run.stage("draw"):
        sections = quality_sections(learnt, figures_of(metrics))
    record = run.finish(
        {**metrics, "waited": waited / seconds if seconds else 0.0, "card": CARD_FILE},
        cluster={} if client is None else describe_cluster(client),
    )
    write_report(
        run.path / "report.html",
        f"Training of {learnt.model.network.name}",
        run.target.name,
        shown,
        sections,
        record,
    )
    return record
