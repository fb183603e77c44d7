"""The pictures of a training on diffraction images: its course, and answers against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from hpdp_dask.crystallography.train.stage import Learnt, probabilities
from hpdp_dask.workflow.drawing import (
    MUTED,
    SERIES,
    WIDTH,
    Chart,
    chart_style,
    new_chart,
    to_chart,
)
from hpdp_dask.workflow.report import Section, Table

#: Scores by epoch that the report draws, and what it calls them.
_DRAWN = {
    "resolution_pearson": "Pearson of 1/d",
    "lattices_accuracy": "lattices right",
    "hit_accuracy": "hits right",
}

#: Resolutions (Å) that axes of 1/d name, and points that are drawn at most.
_NAMED, _POINTS = (10.0, 6.0, 4.0, 3.0, 2.5, 2.0, 1.8, 1.6, 1.4), 1500


def quality_sections(learnt: Learnt, figures: Sequence[tuple[str, str]]) -> list[Section]:
    """Tell how a training went, and how good the model is."""
    tasks = learnt.model.tasks
    sections = [
        Section(
            "On shots that were held back",
            "Single quadrants of simulated shots that neither the network nor the calibration "
            "has seen.",
            table=Table(("", ""), figures),
        )
    ]
    if "resolution" in tasks:
        sections.append(Section("Resolution", "", [resolution_chart(learnt)]))
    names = {"hit": ("hit", "hit"), "lattices": ("several_lattices", "several lattices")}
    charts = [reliability_chart(learnt, *names[task]) for task in tasks if task in names]
    if charts:
        text = "A probability should come true as often as it says: points on the line."
        sections.append(Section("Probabilities", text, charts))
    sections.append(Section("Course", "", [course_chart(learnt.history)]))
    return sections


def course_chart(history: Sequence[dict[str, Any]]) -> Chart:
    """Draw the scores of what was held back for calibration by epoch."""
    epochs = [row["epoch"] for row in history]
    with chart_style():
        figure, axes = new_chart(WIDTH, 3.0)
        for colour, (name, words) in zip(SERIES, _DRAWN.items(), strict=False):
            values = [row["scores"].get(name, np.nan) for row in history]
            if np.isfinite(values).any():
                axes.plot(epochs, values, color=colour, marker=".", label=words)
        axes.set(xlabel="Epoch", ylabel="On held-back shots", ylim=(None, 1.01))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="best")
        return to_chart(
            figure,
            "Scores by epoch",
            f"Line chart of scores on held-back shots over {len(epochs)} epochs.",
        )


def resolution_chart(learnt: Learnt) -> Chart:
    """Draw the answers for 1/d against the truth."""
    hit = learnt.truths["true_hit"] == 1
    truth = 1.0 / learnt.truths["true_resolution"][hit][:_POINTS]
    given = learnt.outputs["inverse_resolution"][hit][:_POINTS]
    low, high = 0.9 * float(truth.min()), 1.05 * float(truth.max())
    ticks = [1.0 / named for named in _NAMED if low <= 1.0 / named <= high]
    words = [f"{1.0 / tick:g}" for tick in ticks]
    with chart_style():
        figure, axes = new_chart(0.8 * WIDTH, 0.8 * WIDTH)
        axes.plot([low, high], [low, high], color=MUTED, linewidth=1.0)
        axes.scatter(truth, given, s=5.0, color=SERIES[0], alpha=0.5, linewidth=0)
        axes.set(
            xlim=(low, high),
            ylim=(low, high),
            xlabel="True resolution (Å)",
            ylabel="Answer (Å)",
        )
        axes.set_xticks(ticks, words)
        axes.set_yticks(ticks, words)
        return to_chart(
            figure,
            "Resolution of held-back hits, on a scale of 1/d",
            f"Scatter chart of {len(truth)} answers against the truth.",
        )


def reliability_chart(learnt: Learnt, output: str, words: str) -> Chart:
    """Draw how often a probability came true."""
    calibration = learnt.model.calibration
    hit = learnt.truths["true_hit"] == 1
    if output == "hit":
        truth, logits, temperature = hit, learnt.outputs["hit"], calibration.hit_temperature
    else:
        truth = learnt.truths["true_lattices"][hit] > 1
        logits, temperature = learnt.outputs[output][hit], calibration.lattices_temperature
    given = probabilities(logits, temperature)
    place = np.minimum((given * 10).astype(int), 9)
    number = np.bincount(place, minlength=10)
    some = number > 0
    stated = np.bincount(place, given, 10)[some] / number[some]
    came = np.bincount(place, truth, 10)[some] / number[some]
    with chart_style():
        figure, axes = new_chart(WIDTH, 3.0)
        axes.plot([0.0, 1.0], [0.0, 1.0], color=MUTED, linewidth=1.0)
        axes.plot(stated, came, color=SERIES[0], linewidth=1.2)
        axes.scatter(
            stated, came, s=20.0 + 80.0 * number[some] / number.max(), color=SERIES[0], zorder=3
        )
        axes.set(xlabel=f"Probability: {words}", ylabel="Share that was")
        return to_chart(
            figure,
            f"Held-back shots in bins of the probability of {words}",
            f"Chart of how often the probability of {words} came true.",
        )
