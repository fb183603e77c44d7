"""The pictures of a classification of frames: confusion, calibration, learning, frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpdp_dask.spi.classify.scores import Reliability
from hpdp_dask.spi.classify.validation import ENOUGH, LearningCurve
from hpdp_dask.workflow.drawing import (
    INK,
    MUTED,
    SERIES,
    WIDTH,
    Chart,
    chart_style,
    new_chart,
    to_chart,
)

#: Letters of a class's name that a chart has room for.
_LETTERS = 14


def confusion_chart(
    matrix: np.ndarray, classes: Sequence[str], rejects: bool, caption: str
) -> Chart:
    """Draw which classes frames of each class were given.

    Parameters
    ----------
    matrix : (k, k + 1) ndarray of int
        Of `scores.confusion`; the last column counts what was rejected.
    classes : sequence of str
    rejects : bool
        Whether the method rejects at all.
    caption : str

    Returns
    -------
    Chart
        Shares of the frames of each class, in percent.
    """
    counts = matrix if rejects else matrix[:, :-1]
    shares = 100.0 * counts / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    given = [*map(_short, classes), *(["rejected"] if rejects else [])]
    with chart_style():
        figure, axes = new_chart(WIDTH, 1.1 + 0.42 * len(classes))
        for (row, column), share in np.ndenumerate(shares):
            right = row == column
            colour = SERIES[0] if right else MUTED if column == len(classes) else SERIES[1]
            axes.add_patch(
                _cell(column - 0.48, row - 0.46, colour, 0.08 + 0.72 * float(share) / 100.0)
            )
            if share > 0.0:
                axes.text(column, row, f"{share:.1f} %", ha="center", va="center", color=INK)
        axes.set_xticks(range(len(given)), given)
        axes.set_yticks(range(len(classes)), [_short(name) for name in classes])
        axes.tick_params(length=0)
        axes.grid(False)
        axes.set(
            xlim=(-0.5, len(given) - 0.5),
            ylim=(len(classes) - 0.5, -0.5),
            xlabel="Class that was given",
            ylabel="Label",
        )
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        spoken = "; ".join(
            f"{name}: "
            + ", ".join(f"{share:.1f} % {to}" for to, share in zip(given, row, strict=True))
            for name, row in zip(classes, shares, strict=True)
        )
        return to_chart(figure, caption, f"Confusion matrix. Of {spoken}.")


def _cell(left: float, bottom: float, colour: str, strength: float):  # type: ignore[no-untyped-def]
    from matplotlib.patches import Rectangle

    return Rectangle((left, bottom), 0.96, 0.92, facecolor=colour, alpha=strength, linewidth=0)


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"


def reliability_chart(found: Reliability, threshold: float, caption: str) -> Chart:
    """Draw how often the likeliest class was right against the probability it was given.

    Parameters
    ----------
    found : Reliability
    threshold : float
        Drawn where it is not 0.
    caption : str

    Returns
    -------
    Chart
        A point for each bin, its area by its frames.
    """
    low = min(0.5, float(found.stated.min()), float(found.right.min()))
    with chart_style():
        figure, axes = new_chart(WIDTH, 3.0)
        axes.plot([low, 1.0], [low, 1.0], color=MUTED, linewidth=1.0, label="as stated")
        if threshold:
            axes.axvline(threshold, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
            axes.annotate(
                "threshold",
                (threshold, 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(4, 0),
                textcoords="offset points",
                color=MUTED,
                fontsize=8.5,
            )
        axes.plot(found.stated, found.right, color=SERIES[0], linewidth=1.2)
        axes.scatter(
            found.stated,
            found.right,
            s=20.0 + 80.0 * found.number / found.number.max(),
            color=SERIES[0],
            label="held-out frames",
            zorder=3,
        )
        axes.set(
            xlim=(low - 0.02, 1.02),
            ylim=(low - 0.02, 1.04),
            xlabel="Probability of the class that was given",
            ylabel="Share that was right",
        )
        axes.legend(loc="upper left")
        return to_chart(
            figure,
            caption,
            "Chart of the share of frames whose class was right against its probability; they "
            f"differ by {found.error:.3f} on average.",
        )


def learning_chart(curve: LearningCurve, caption: str) -> Chart:
    """Draw precision and recall against the number of labelled frames that were learnt from.

    Parameters
    ----------
    curve : LearningCurve
    caption : str

    Returns
    -------
    Chart
        With a line where the precision has reached 99 % of its last.
    """
    low = float(min(curve.precision.min(), curve.recall.min()))
    with chart_style():
        figure, axes = new_chart(WIDTH, 3.0)
        axes.axvline(curve.enough, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
        early = curve.enough**2 <= curve.sizes[0] * curve.sizes[-1]
        axes.annotate(
            f"{100 * ENOUGH:.0f} % of the last precision: {curve.enough:,}",
            (curve.enough, 0.04),
            xycoords=("data", "axes fraction"),
            xytext=(4 if early else -4, 0),
            textcoords="offset points",
            ha="left" if early else "right",
            color=MUTED,
            fontsize=8.5,
        )
        for colour, name, values in (
            (SERIES[0], "precision", curve.precision),
            (SERIES[1], "recall", curve.recall),
        ):
            axes.plot(curve.sizes, values, color=colour, marker=".", label=name)
        axes.set_xscale("log")
        axes.set_xticks(curve.sizes, [f"{size:,}" for size in curve.sizes])
        axes.minorticks_off()
        axes.set(
            ylim=(max(0.0, low - 0.08), 1.03),
            xlabel="Labelled frames that were learnt from",
            ylabel="Mean over the classes",
        )
        axes.legend(loc="best")
        return to_chart(
            figure,
            caption,
            f"Line chart of precision and recall for {curve.sizes[0]} to {curve.sizes[-1]} "
            f"labelled frames; the precision goes from {curve.precision[0]:.3f} to "
            f"{curve.precision[-1]:.3f}.",
        )
