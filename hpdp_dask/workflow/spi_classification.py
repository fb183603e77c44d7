"""The recipe of `hpdp spi classify`: from labels to a model, labels of all frames, and a report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.spi.classify.model import DEFAULT_THRESHOLD, Model
from hpdp_dask.spi.classify.scores import confusion, reliability
from hpdp_dask.spi.classify.stage import (
    LearningSet,
    check_unlabelled,
    classify_frames,
    read_learning_set,
    train_on,
)
from hpdp_dask.spi.classify.stored import save_model
from hpdp_dask.spi.classify.validation import (
    LearningCurve,
    Validation,
    can_validate,
    cross_validate,
    learning_curve,
)
from hpdp_dask.stacks.frames import detector_of, open_frames
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.reconstruction import describe_cluster

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord
    from hpdp_dask.workflow.report import Section

#: Frames of each class, and of those nearest to the boundary, that the report shows.
_SHOWN, _NEAREST = 6, 12

#: A mean difference of probabilities and what came true of which the report warns, and the share
#: of rejected frames.
_UNRELIABLE, _MANY_REJECTED = 0.1, 0.5


@dataclass(frozen=True)
class Quality:
    """How good a method is on frames that it has not learnt from, as far as labels tell."""

    validation: Validation | None
    curve: LearningCurve | None
    lacking: str


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
            quality = _judge(model, learning, client, progress)
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


def _judge(
    model: Model, learning: LearningSet, client: Client, progress: Progress | None
) -> Quality:
    """Cross-validate the method, and find how many labels suffice."""
    lacking = can_validate(learning.labelled)
    if lacking:
        return Quality(None, None, lacking)
    known = model.method, learning.inputs, learning.labels, learning.labelled
    validation = cross_validate(*known, seed=model.seed, client=client, progress=progress)
    curve = learning_curve(
        *known, threshold=model.threshold, seed=model.seed, client=client, progress=progress
    )
    return Quality(validation, curve, "")


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

    stack = open_frames(stack_path)
    label, accepted = stack["label"].values, stack["label_accepted"].values == 1
    number = len(label)
    given = {
        name: int(np.sum((label == index) & accepted)) for index, name in enumerate(model.classes)
    }
    metrics = model.metrics
    headline = {
        "Precision": _percent(metrics.get("mean_precision")),
        "Recall": _percent(metrics.get("mean_recall")),
        "Labelled frames": f"{sum(model.labelled):,}",
        "Labels that suffice": f"{metrics.get('enough_labels') or 'not known'}",
        "Frames classified": f"{number:,}",
        "Accepted": _percent(float(accepted.mean())),
    }
    _warn(run, model, quality, float(accepted.mean()))
    with run.stage("draw"):
        sections = [
            *_quality_sections(model, quality, given),
            *_frame_sections(stack_path, model),
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
            f"{_percent(1.0 - accepted)} of the frames are rejected: label more, best of those "
            "that are nearest to the boundary; hpdp spi label offers them."
        )


def _percent(share: float | None) -> str:
    return "not known" if share is None else f"{100.0 * share:.1f} %"


def _quality_sections(model: Model, quality: Quality, given: dict[str, int]) -> list[Section]:
    """Tell how good the model is, by what is known of held-out frames."""
    from hpdp_dask.workflow import spi_classification_figures as figures
    from hpdp_dask.workflow.report import Section, Table

    rejects = model.threshold > 0.0
    columns = ["Class", "Labelled", "Precision", "Recall", "Frames given"]
    rows = [
        (
            name,
            labelled,
            _percent(model.metrics.get("precision", {}).get(name)),
            _percent(model.metrics.get("recall", {}).get(name)),
            given[name],
        )
        for name, labelled in zip(model.classes, model.labelled, strict=True)
    ]
    table = Table(columns, rows)
    if quality.validation is None:
        return [Section("Classes", "Not cross-validated: too few labels.", table=table)]
    found = quality.validation
    text = (
        f"Cross-validated on the labelled frames in {found.folds} folds, "
        f"{found.repeats} time{'s' if found.repeats > 1 else ''}. Precision: of the frames that "
        "were given a class, the share that are of it. Recall: of the frames of a class, the share "
        "that were given it"
        + (
            f"; those below the threshold of {_percent(model.threshold)} are rejected, and missed."
            if rejects
            else "."
        )
    )
    matrix = confusion(found.probabilities, found.indices, model.threshold)
    sections = [
        Section(
            "Precision and recall",
            text,
            [figures.confusion_chart(matrix, model.classes, rejects, "What labelled frames got")],
            table,
        ),
        Section(
            "Calibration",
            "A probability should come true as often as it says: points on the line.",
            [
                figures.reliability_chart(
                    reliability(found.probabilities, found.indices),
                    model.threshold,
                    "Held-out labelled frames in bins of their probability",
                )
            ],
        ),
    ]
    if quality.curve is not None:
        sections.append(
            Section(
                "How many labels",
                f"Trained on parts of the labelled frames. From {quality.curve.enough:,} on, the "
                "precision stays above 99 % of the last one; what more labels bring then is "
                "recall.",
                [figures.learning_chart(quality.curve, "Learning curve on held-out frames")],
            )
        )
    return sections


def _frame_sections(stack_path: Path, model: Model) -> list[Section]:
    """Show the frames that the model is least sure of, and some of each class."""
    from hpdp_dask.workflow.frame_figures import frame_gallery
    from hpdp_dask.workflow.report import Section

    stack = open_frames(stack_path)
    reader, detector = ImageReader(stack_path), detector_of(stack)
    label, probability = stack["label"].values, stack["label_probability"].values
    accepted = stack["label_accepted"].values == 1

    def gallery(frames: np.ndarray, caption: str) -> Any:
        names = [
            f"{frame}: {model.classes[label[frame]]}, {100.0 * probability[frame]:.0f} %"
            for frame in frames.tolist()
        ]
        return frame_gallery(reader.take(frames), detector, names, caption)

    nearest = np.argsort(probability, kind="stable")[:_NEAREST]
    rng = np.random.default_rng(model.seed)
    shown = []
    for index, name in enumerate(model.classes):
        own = np.flatnonzero((label == index) & accepted)
        if len(own):
            some = np.sort(rng.choice(own, min(_SHOWN, len(own)), replace=False))
            shown.append(gallery(some, f"{name}: {len(own):,} frames"))
    return [
        Section(
            "Nearest to the boundary",
            "The frames that the model is least sure of: labels of these teach most.",
            [gallery(nearest, "The least probable, with the class that is likeliest")],
        ),
        Section("Classes", "Some frames of each class, drawn at random.", shown),
    ]
