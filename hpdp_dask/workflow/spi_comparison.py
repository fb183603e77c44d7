"""The recipe of `hpdp spi classify --compare`: a report on all methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpdp_dask.spi.classify.comparison import TITLES, Comparison, compare
from hpdp_dask.spi.classify.model import DEFAULT_THRESHOLD
from hpdp_dask.workflow.folder import output_folder
from hpdp_dask.workflow.reconstruction import describe_cluster

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord


def run_spi_comparison(
    stack_path: Path,
    labels_path: Path,
    output: Path,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    seed: int = 0,
    client: Client,
    command: Sequence[str],
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[Comparison, RunRecord]:
    """Cross-validate all methods and write a folder with the table.

    Parameters
    ----------
    stack_path : Path
        Frames with features; nothing is added to it.
    labels_path : Path
    output : Path
        The folder: `report.html`, `run.json`.
    threshold : float, optional
        For svm-threshold.
    seed : int, optional
    client : Client
    command : sequence of str
        The words of the command line, for the record.
    overwrite : bool, optional
    progress : Progress, optional

    Returns
    -------
    tuple of Comparison and RunRecord

    Raises
    ------
    InputError
        If an input is not as it must be; nothing is left then.
    """
    from hpdp_dask.workflow.report import Section, Table, write_report

    with output_folder(
        output,
        command=command,
        parameters={"threshold": threshold},
        inputs=[stack_path, labels_path],
        seed=seed,
        overwrite=overwrite,
        client=client,
    ) as run:
        with run.stage("compare"):
            found = compare(
                stack_path,
                labels_path,
                threshold=threshold,
                seed=seed,
                client=client,
                progress=progress,
            )
            run.images(sum(found.labelled))
        if found.missing:
            run.warn(found.missing)
        best = max(found.scores, key=lambda method: found.scores[method].mean_precision)
        headline = {
            "Most precise": best,
            "Precision": f"{100.0 * found.scores[best].mean_precision:.1f} %",
            "Recall": f"{100.0 * found.scores[best].mean_recall:.1f} %",
            "Labelled frames": f"{sum(found.labelled):,}",
            "Classes": f"{len(found.classes)}",
        }
        text = (
            "Cross-validated on the labelled frames, in percent. Precision and recall are means "
            "over the classes; under each class stand its own. What svm-threshold rejects, below a "
            f"probability of {100.0 * threshold:.0f} %, counts as missed."
        )
        results = {
            method: {
                "precision": scores.mean_precision,
                "recall": scores.mean_recall,
                "accuracy": scores.accuracy,
                "accepted": scores.accepted,
            }
            for method, scores in found.scores.items()
        }
        record = run.finish(results, cluster=describe_cluster(client))
        sections = [Section("All methods", text, table=Table(*comparison_table(found)))]
        write_report(
            run.path / "report.html",
            "Comparison of classifiers",
            run.target.name,
            headline,
            sections,
            record,
        )
    return found, record


def comparison_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Give heads and rows of the table of all methods, in percent."""
    columns = ["Method", "Precision", "Recall", "Accepted", *found.classes]
    rows = [
        [
            TITLES[method],
            _percent(scores.mean_precision),
            _percent(scores.mean_recall),
            _percent(scores.accepted),
            *(
                f"{_percent(precision)} / {_percent(recall)}"
                for precision, recall in zip(scores.precision, scores.recall, strict=True)
            ),
        ]
        for method, scores in found.scores.items()
    ]
    return columns, rows


def _percent(share: float) -> str:
    return "none" if share != share else f"{100.0 * share:.1f}"
