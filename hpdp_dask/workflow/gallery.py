"""The pictures of a classification: its classes, and how they grew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hpdp_dask.cryoem.classify.quality import ClassTable
from hpdp_dask.workflow.drawing import (
    SERIES,
    WIDTH,
    Chart,
    Panels,
    chart_style,
    new_chart,
    to_chart,
)
from hpdp_dask.workflow.figures import image_gallery

#: Classes that are shown of each iteration.
GROWING = 6


def class_gallery(averages: np.ndarray, table: ClassTable, pixel_size: float) -> Panels:
    """Show class averages in their order, each with its particles, resolution and score.

    Parameters
    ----------
    averages : (k, N, N) ndarray
    table : ClassTable
    pixel_size : float
        Å.

    Returns
    -------
    Panels
    """
    rows = zip(table.particles, table.resolution, table.score, strict=True)
    labels = [
        f"{number}: {particles:,} particles, {spoken_resolution(resolution)}, score {score:.2f}"
        for number, (particles, resolution, score) in enumerate(rows, start=1)
    ]
    return image_gallery(_shown(averages), pixel_size, labels, "Class averages, the best first")


def _shown(averages: np.ndarray) -> np.ndarray:
    """Leave averages of nothing black, which scaled to their own range would show patterns."""
    spread = averages.std(axis=(1, 2))
    nothing = spread < 1e-3 * spread.max(initial=0.0)
    return np.where(nothing[:, None, None], 0.0, averages)


def growing_gallery(snapshots: Mapping[int, np.ndarray], pixel_size: float) -> list[Panels]:
    """Show the same classes after some iterations, a row each.

    Parameters
    ----------
    snapshots : mapping of int to (n, N, N) ndarray
        Averages under the number of their iteration.
    pixel_size : float
        Å.
    """
    return [
        image_gallery(
            _shown(averages[:GROWING]),
            pixel_size,
            [str(number) for number in range(1, len(averages[:GROWING]) + 1)],
            f"After iteration {iteration}",
        )
        for iteration, averages in snapshots.items()
    ]


def resolution_chart(history: Sequence[Mapping[str, float | None]], caption: str) -> Chart:
    """Draw what classes resolve, and to which resolution images were compared, by iteration.

    Parameters
    ----------
    history : sequence of mapping
        Of `State`.
    caption : str

    Returns
    -------
    Chart
        1/Å to the left.
    """
    curves = {
        "better classes": [1.0 / float(entry["resolution"] or np.inf) for entry in history],
        "compared": [1.0 / float(entry["compared"] or np.inf) for entry in history],
    }
    last = history[-1]["resolution"] if history else None
    return _by_iteration(
        curves,
        "Spatial frequency (1/Å)",
        caption,
        "Line chart of the resolution of the better classes, and of the comparison, by iteration; "
        f"the last is {spoken_resolution(float(last or np.inf))}.",
    )


def change_chart(history: Sequence[Mapping[str, float | None]], caption: str) -> Chart:
    """Draw how sure poses are and how many images changed their class, by iteration."""
    curves = {
        "best pose, mean probability": [float(entry["certainty"] or 0.0) for entry in history],
        "images that changed their class": [
            np.nan if entry["changed"] is None else float(entry["changed"]) for entry in history
        ],
    }
    return _by_iteration(
        curves,
        "Share",
        caption,
        "Line chart of the mean probability of the best pose and the share of images that changed "
        "their class, by iteration.",
    )


def spoken_resolution(resolution: float) -> str:
    """Write a resolution, or that there is none."""
    return f"{resolution:.1f} Å" if np.isfinite(resolution) else "nothing resolved"


def _by_iteration(
    curves: Mapping[str, Sequence[float]], label: str, caption: str, description: str
) -> Chart:
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.6)
        for colour, (name, values) in zip(SERIES, curves.items(), strict=False):
            axes.plot(np.arange(1, len(values) + 1), values, color=colour, label=name, marker=".")
        axes.set(xlabel="Iteration", ylabel=label)
        axes.set_ylim(bottom=0.0)
        axes.legend(loc="best")
        return to_chart(figure, caption, description)
