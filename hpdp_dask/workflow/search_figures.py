"""The charts of a search for an initial model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpdp_dask.workflow.drawing import SERIES, WIDTH, Chart, chart_style, new_chart, to_chart

#: The history of each search, by its name.
Histories = Mapping[str, Sequence[Mapping[str, float]]]


def evidence_chart(histories: Histories, caption: str) -> Chart:
    """Draw the mean log-likelihood of images over that of no particle, by pass."""
    curves = {name: [entry["evidence"] for entry in history] for name, history in histories.items()}
    return _by_pass(curves, "Evidence of an image", caption)


def search_resolution_chart(histories: Histories, caption: str) -> Chart:
    """Draw the resolution that images are compared to, by pass, as spatial frequency."""
    curves = {
        name: [1.0 / entry["resolution"] for entry in history]
        for name, history in histories.items()
    }
    return _by_pass(curves, "Spatial frequency (1/Å)", caption)


def _by_pass(curves: Mapping[str, Sequence[float]], label: str, caption: str) -> Chart:
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.6)
        for place, (name, values) in enumerate(curves.items()):
            passes = range(1, len(values) + 1)
            axes.plot(passes, values, color=SERIES[place % len(SERIES)], label=name, marker=".")
        axes.set(xlabel="Pass", ylabel=label)
        axes.set_ylim(bottom=min(0.0, *(min(values) for values in curves.values() if values), 0.0))
        axes.legend(loc="best")
        last = "; ".join(f"{name}: {values[-1]:.3g}" for name, values in curves.items() if values)
        return to_chart(
            figure, caption, f"Line chart of {label} by pass of each search; the last: {last}."
        )
