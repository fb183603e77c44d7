"""`hpdp spi classify`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, called, runs_on_a_cluster
from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from distributed import Client


class Method(StrEnum):
    """What learns."""

    svm_threshold = "svm-threshold"
    svm = "svm"
    kmeans = "kmeans"
    spectral = "spectral"
    mlp = "mlp"
    cnn = "cnn"


@runs_on_a_cluster
def classify_command(
    frames: Annotated[
        Path, typer.Argument(help="A Zarr stack of frames with features.", show_default=False)
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Labels of some frames: a log of hpdp spi label, a CSV file with frame and "
            "label, an .npz or .npy.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        Method | None,
        typer.Option(
            help="*svm-threshold* (by default) rejects what it is not sure of; *svm*, *kmeans* "
            "and *spectral* look at features, *mlp* and *cnn* at the frames.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Probability from which svm-threshold accepts; 0.75 by default.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A folder to write: the model and a report on how good it is.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="A folder of an earlier run, whose model is applied, in place of --labels.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Cross-validate all six methods and print the table; label nothing."
        ),
    ] = False,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Learn from labelled frames and classify all.

    Adds label, label_probability, label_accepted and class_name to the stack.

    Example: `hpdp spi classify frames.zarr --labels labels.jsonl -o classified`

    Example: `hpdp spi classify later.zarr --model classified`
    """
    _check_options(labels, method, threshold, output, model, compare)
    with where.connected(
        reads=[frames, labels, model],
        writes=output,
        overwrite=overwrite,
    ) as client:
        if labels is None or model is not None:
            assert model is not None
            _apply(frames, model, client, overwrite)
        elif compare:
            _compare(frames, labels, threshold, output, seed, client, overwrite)
        else:
            chosen = (method or Method.svm_threshold).value
            _learn(frames, labels, chosen, threshold, output, seed, client, overwrite)


def _check_options(
    labels: Path | None,
    method: Method | None,
    threshold: float | None,
    output: Path | None,
    model: Path | None,
    compare: bool,
) -> None:
    """Refuse options that are not for each other."""
    if (labels is None) == (model is None):
        raise InputError(
            "hpdp spi classify: give --labels to learn from them, or --model to apply what was "
            "learnt before."
        )
    if model is not None and (method or threshold is not None or output or compare):
        raise InputError(
            "hpdp spi classify: --model applies a trained model as it is; leave out --method, "
            "--threshold, --output and --compare."
        )
    if compare and method:
        raise InputError("hpdp spi classify: --compare takes all methods; leave out --method.")
    if threshold is not None and not compare and method not in (None, Method.svm_threshold):
        raise InputError(
            f"hpdp spi classify: --threshold is for svm-threshold, {method} accepts every frame; "
            "leave one of them out."
        )


def _apply(frames: Path, folder: Path, client: Client, overwrite: bool) -> None:
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.spi.classify.stage import classify_frames
    from hpdp_dask.spi.classify.stored import load_model

    model = load_model(folder)
    history = {"command": called(), "model": str(folder.absolute()), **model.described}
    with Progress() as progress:
        classify_frames(
            frames, model, client=client, overwrite=overwrite, history=history, progress=progress
        )
    _print_labels(frames)


def _compare(
    frames: Path,
    labels: Path,
    threshold: float | None,
    output: Path | None,
    seed: int,
    client: Client,
    overwrite: bool,
) -> None:
    from hpdp_dask.cli.tables import print_table
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.spi.classify.comparison import compare
    from hpdp_dask.spi.classify.model import DEFAULT_THRESHOLD
    from hpdp_dask.workflow.spi_comparison import comparison_table, run_spi_comparison

    level = DEFAULT_THRESHOLD if threshold is None else threshold
    with Progress() as progress:
        if output is None:
            found = compare(
                frames, labels, threshold=level, seed=seed, client=client, progress=progress
            )
        else:
            found, _ = run_spi_comparison(
                frames,
                labels,
                output,
                threshold=level,
                seed=seed,
                client=client,
                command=["hpdp", *sys.argv[1:]],
                overwrite=overwrite,
                progress=progress,
            )
    print_table(*comparison_table(found))
    if found.missing:
        print(f"Note: {found.missing}")
    if output is not None:
        print(f"Report: {output / 'report.html'}")


def _learn(
    frames: Path,
    labels: Path,
    method: str,
    threshold: float | None,
    output: Path | None,
    seed: int,
    client: Client,
    overwrite: bool,
) -> None:
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.spi.classify.model import DEFAULT_THRESHOLD
    from hpdp_dask.spi.classify.stage import learn_and_classify
    from hpdp_dask.workflow.spi_classification import run_spi_classification

    level = DEFAULT_THRESHOLD if threshold is None else threshold
    with Progress() as progress:
        if output is None:
            learn_and_classify(
                frames,
                labels,
                method=method,
                threshold=level,
                seed=seed,
                client=client,
                overwrite=overwrite,
                history={"command": called()},
                progress=progress,
            )
        else:
            record = run_spi_classification(
                frames,
                labels,
                output,
                method=method,
                threshold=level,
                seed=seed,
                client=client,
                command=["hpdp", *sys.argv[1:]],
                overwrite=overwrite,
                progress=progress,
            )
            for warning in record.warnings:
                print(f"Note: {warning}")
            if "mean_precision" in record.results:
                print(
                    f"Precision {100 * record.results['mean_precision']:.1f} %, recall "
                    f"{100 * record.results['mean_recall']:.1f} %, cross-validated on "
                    f"{record.results['labelled']:,} labelled frames"
                )
    _print_learnt(frames)
    _print_labels(frames)
    if output is not None:
        print(f"Report: {output / 'report.html'}")


def _print_learnt(frames: Path) -> None:
    """Say how many labels of each class there were: one that is misspelt shows."""
    from hpdp_dask.stacks.frames import open_frames

    labelled = open_frames(frames).attrs["history"][-1]["labelled"]
    told = ", ".join(f"{count:,} {name}" for name, count in labelled.items())
    print(f"Learnt from: {told}")


def _print_labels(frames: Path) -> None:
    """Say how many frames were given each label."""
    from hpdp_dask.spi.classify.stage import count_labels

    counts = count_labels(frames)
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    print(f"Classified: {frames} ({told})")
