"""The sections of the report of `hpdp spi classify`: how good it is, and frames to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hpdp_dask.spi.classify.model import Model
from hpdp_dask.spi.classify.scores import confusion, reliability
from hpdp_dask.spi.classify.validation import Quality
from hpdp_dask.stacks.frames import detector_of, open_frames
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.workflow import spi_classification_figures as figures
from hpdp_dask.workflow.drawing import Panels
from hpdp_dask.workflow.frame_figures import frame_gallery
from hpdp_dask.workflow.report import Section, Table
from hpdp_dask.workflow.spi_classification import percent

#: Frames of each class, and of those nearest to the boundary, that the report shows.
_SHOWN, _NEAREST = 6, 12


def quality_sections(model: Model, quality: Quality, given: Mapping[str, int]) -> list[Section]:
    """Tell how good the model is, by what is known of held-out frames."""
    rejects = model.threshold > 0.0
    columns = ["Class", "Labelled", "Precision", "Recall", "Frames given"]
    rows = [
        (
            name,
            labelled,
            percent(model.metrics.get("precision", {}).get(name)),
            percent(model.metrics.get("recall", {}).get(name)),
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
            f"; those below {100.0 * model.threshold:g} % of probability are rejected, and missed."
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


def frame_sections(stack_path: Path, model: Model) -> list[Section]:
    """Show the frames that the model is least sure of, and some of each class."""
    stack = open_frames(stack_path)
    reader, detector = ImageReader(stack_path), detector_of(stack)
    label, probability = stack["label"].values, stack["label_probability"].values
    accepted = stack["label_accepted"].values == 1

    def gallery(frames: np.ndarray, caption: str) -> Panels:
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
