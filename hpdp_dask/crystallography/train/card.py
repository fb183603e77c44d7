"""The card of a model: what it is, what it was made of, how good it is, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpdp_dask.crystallography.model_file import Model

#: What is written of each figure: name, words, how it is written.
FIGURES = (
    ("resolution_pearson", "Pearson's correlation of 1/d, hits", "{:.3f}"),
    ("resolution_distance", "mean error of 1/d, hits (1/Å)", "{:.4f}"),
    ("resolution_right", "1/d within 0.07 1/Å, hits", "{:.1%}"),
    ("interval_coverage", "1/d inside its interval of 90 %, hits", "{:.1%}"),
    ("lattices_accuracy", "one lattice or several right, hits", "{:.1%}"),
    ("lattices_area", "area under the curve, several lattices", "{:.3f}"),
    ("lattices_calibration", "error of the probability of several lattices", "{:.3f}"),
    ("hit_accuracy", "hit or blank right", "{:.1%}"),
    ("hit_area", "area under the curve, hit", "{:.3f}"),
    ("hit_calibration", "error of the probability of a hit", "{:.3f}"),
)

_LIMITS = """\
- It looks at one quadrant at a time. Of a whole image up to four are looked at and put together;
  figures above are of single quadrants.
- It learnt from simulations alone: Gauss-shaped spots of any cell, intensities by Wilson's
  statistics, no atomic model, no rotation during the exposure. What simulations do not show
  (streaks, salt, powder rings other than ice, detectors that are out of order) it does not know.
- Lattices that are turned by less than about a degree against each other look like one crystal of
  high mosaicity, to this model and to people.
- Outside the ranges above it extrapolates, and its intervals promise nothing.
- Probabilities are as of the simulated set, in which the shares of blanks and of several
  lattices are those above. Where crystals are rarer, so are hits at the same probability.
"""


def write_card(model: Model, title: str) -> str:
    """Write the card of a model.

    Parameters
    ----------
    model : Model
        `training` has `command`, `data` (settings of the simulation, by name), `settings`, and
        `minutes`.
    title : str

    Returns
    -------
    str
        Markdown.
    """
    training = model.training
    lines = [
        f"# {title}",
        "",
        f"A network `{model.network.name}` of hpdp-dask that looks at quadrants of single "
        f"diffraction images ({_said(model.tasks)}). Made by",
        "",
        "```sh",
        str(training.get("command", "hpdp crystals train")),
        "```",
        "",
        "## Figures",
        "",
        f"On {model.metrics.get('shots_judged', 0):,} simulated shots that were held back, after "
        f"learning from {model.metrics.get('shots_learnt_from', 0):,}:",
        "",
        *_table(figures_of(model.metrics), ("", "")),
        "",
        "## Data",
        "",
        *_data(training.get("data", {})),
        "",
        "## Training",
        "",
        *_table(_rows(training.get("settings", {})), ("", "")),
        "",
        "## Limits",
        "",
        _LIMITS,
    ]
    return "\n".join(lines)


def figures_of(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give those figures that there are, in words."""
    return [(words, form.format(metrics[name])) for name, words, form in FIGURES if name in metrics]


def _said(tasks: tuple[str, ...]) -> str:
    words = {
        "resolution": "to which resolution it diffracts",
        "lattices": "whether there is one lattice or several",
        "hit": "whether it is a hit",
    }
    return ", ".join(words[task] for task in tasks)


def _data(settings: Mapping[str, Any]) -> list[str]:
    if not settings:
        return ["Simulated shots; their stack does not tell what they were drawn from."]
    told = "Shots simulated by `hpdp crystals simulate`, drawn from these ranges:"
    return [told, "", *_table(_rows(settings), ("", ""))]


def _rows(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name.replace("_", " "), _value(value)) for name, value in told.items() if value is not None
    ]


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        numbers = all(isinstance(each, int | float) for each in value)
        return (
            " to ".join(map(str, value))
            if numbers and len(value) == 2
            else ", ".join(map(str, value))
        )
    return str(value)


def _table(rows: list[tuple[str, str]], heads: tuple[str, str]) -> list[str]:
    return [
        f"| {heads[0]} | {heads[1]} |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
