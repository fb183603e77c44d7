"""The recipe of `hpdp spi classify`: from labels to a model, labels of all frames, and a report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.spi.classify.model import DEFAULT_THRESHOLD, Model
from hpdp_dask.spi.classify.scores import reliability
from hpdp_dask.spi.classify.stage import (
    LearningSet,
    check_unlabelled,
    classify_frames,
    read_learning_set,
    train_on,
)
from hpdp_dask.spi.classify.stored import save_model
from hpdp_dask.spi.classify.validation import Quality, judge_quality
from hpdp_dask.stacks.frames import open_frames
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.reconstruction import describe_cluster

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord

#: A mean difference of probabilities and what came true of which the report warns, and the share
#: of rejected frames.
_UNRELIABLE, _MANY_REJECTED = 0.1, 0.5


def run_spi_classification(
    stack_path: Path,
    labels_path: Path,
    output: Path,
    *,
    method: str = "svm-threshold",
    threshold: float = DEFAULT_THRESHOLD,
    seed: int = 0,
    client: Client,
    command: Sequence[str],
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Train on labelled frames, classify all, and write a folder with the model and a report.

    Parameters
    ----------
    stack_path : Path
        Frames with features; it gets `label`, `label_probability`, `label_accepted` and
        `class_name`.
    labels_path : Path
        As `spi.labels.read_labels` takes it.
    output : Path
        The folder: `model.json`, `model.npz`, `report.html`, `run.json`.
    method : str, optional
    threshold : float, optional
        For svm-threshold.
    seed : int, optional
    client : Client
    command : sequence of str
        The words of the command line, for the record.
    overwrite : bool, optional
        Replace the folder, and labels that the stack has.
    progress : Progress, optional

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        If an input is not as it must be; nothing is left then.
    """
    # a mistake is told before anything is made
    check_unlabelled(open_frames(stack_path), overwrite)
    learning = read_learning_set(stack_path, labels_path, method, seed)
    with output_folder(
        output,
        command=command,
        parameters={"method": method, "threshold": threshold},
        inputs=[stack_path, labels_path],
        seed=seed,
        overwrite=overwrite,
        client=client,
    ) as run:
        with run.stage("train"):
            model = train_on(learning, method, threshold, seed)
            run.images(len(learning.labelled.frames))
        with run.stage("validate"):
            quality = judge_quality(
                method,
                learning.inputs,
                learning.labels,
                learning.labelled,
                threshold=model.threshold,
                seed=seed,
                client=client,
                progress=progress,
            )
        model = replace(model, metrics=_metrics(model, quality))
        save_model(run.path, model)
        with run.stage("classify"):
            classify_frames(
                stack_path,
                model,
                client=client,
                overwrite=overwrite,
                history={"command": shlex.join(command), **model.described},
                progress=progress,
            )
            run.images(open_frames(stack_path).sizes["frame"])
        return _write_report(run, stack_path, model, learning, quality, client)


def _metrics(model: Model, quality: Quality) -> dict[str, Any]:
    """Put the figures of a cross-validation into a model's record."""
    if quality.validation is None:
        return {}
    scores = quality.validation.score(model.threshold)
    precision = [None if np.isnan(each) else float(each) for each in scores.precision]
    found = quality.validation
    return {
        "precision": dict(zip(model.classes, precision, strict=True)),
        "recall": dict(zip(model.classes, scores.recall.tolist(), strict=True)),
        "mean_precision": scores.mean_precision,
        "mean_recall": scores.mean_recall,
        "accuracy": scores.accuracy,
        "accepted": scores.accepted,
        "calibration_error": reliability(found.probabilities, found.indices).error,
        "enough_labels": None if quality.curve is None else quality.curve.enough,
        "folds": found.folds,
        "repeats": found.repeats,
    }


def _write_report(
    run: RunFolder,
    stack_path: Path,
    model: Model,
    learning: LearningSet,
    quality: Quality,
    client: Client,
) -> RunRecord:
    from hpdp_dask.workflow.report import write_report
    from hpdp_dask.workflow.spi_classification_sections import frame_sections, quality_sections

    stack = open_frames(stack_path)
    label, accepted = stack["label"].values, stack["label_accepted"].values == 1
    number = len(label)
    given = {
        name: int(np.sum((label == index) & accepted)) for index, name in enumerate(model.classes)
    }
    metrics = model.metrics
    headline = {
        "Precision": percent(metrics.get("mean_precision")),
        "Recall": percent(metrics.get("mean_recall")),
        "Labelled frames": f"{sum(model.labelled):,}",
        "Labels that suffice": f"{metrics.get('enough_labels') or 'not known'}",
        "Frames classified": f"{number:,}",
        "Accepted": percent(float(accepted.mean())),
    }
    _warn(run, model, quality, float(accepted.mean()))
    with run.stage("draw"):
        sections = [
            *quality_sections(model, quality, given),
            *frame_sections(stack_path, model),
        ]
    record = run.finish(
        {
            "frames": number,
            "labelled": sum(model.labelled),
            "accepted_frames": int(accepted.sum()),
            "classes": given,
            "recipe_digest": model.digest,
            **metrics,
        },
        cluster=describe_cluster(client),
    )
    title = f"Classification by {model.method}"
    write_report(run.path / "report.html", title, run.target.name, headline, sections, record)
    return record


def _warn(run: RunFolder, model: Model, quality: Quality, accepted: float) -> None:
    if quality.validation is None:
        run.warn(
            "There are too few labels to cross-validate, so nobody knows how good this is: label "
            f"{quality.lacking}."
        )
    elif model.threshold and model.metrics["calibration_error"] > _UNRELIABLE:
        run.warn(
            "Probabilities differ by "
            f"{model.metrics['calibration_error']:.2f} from what came true: more labels would "
            "make the threshold mean what it says."
        )
    if accepted < 1.0 - _MANY_REJECTED:
        run.warn(
            f"{percent(1.0 - accepted)} of the frames are rejected: label more, best of those "
            "that are nearest to the boundary; hpdp spi label offers them."
        )


def percent(share: float | None) -> str:
    """Write a share, or that it is not known."""
    return "not known" if share is None else f"{100.0 * share:.1f} %"
