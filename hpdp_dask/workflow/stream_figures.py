"""The pictures of a stream's report: sizes of particles, and how it went."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import NullFormatter

from hpdp_dask.dataflow.stream.figures import Moment
from hpdp_dask.workflow.drawing import SERIES, WIDTH, Chart, chart_style, new_chart, to_chart

#: So small a share of the hits at either end is not drawn.
_FEW = 0.002


#: Marks along the sizes, nm: a logarithmic axis of less than a decade has few of its own.
_TICKS = [step * power for power in (1, 10, 100, 1000) for step in (1, 1.5, 2, 3, 4, 5, 6, 8)]


def size_chart(counts: np.ndarray, edges: np.ndarray, caption: str) -> Chart:
    """Draw how many hits are of which size.

    Parameters
    ----------
    counts : (k,) ndarray
    edges : (k + 1,) ndarray
        Å.
    caption : str

    Returns
    -------
    Chart
    """
    share = np.cumsum(counts) / max(1, counts.sum())
    first = max(0, int(np.searchsorted(share, _FEW)) - 3)
    last = min(len(counts) - 1, int(np.searchsorted(share, 1 - _FEW)) + 3)
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.4)
        axes.stairs(
            counts[first : last + 1], edges[first : last + 2] / 10, color=SERIES[0], fill=True
        )
        axes.set_xscale("log")
        low, high = edges[first] / 10, edges[last + 1] / 10
        axes.set_xticks([tick for tick in _TICKS if low <= tick <= high])
        axes.xaxis.set_major_formatter(lambda value, _place: f"{value:,g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="Diameter (nm)", ylabel="Hits")
        most = edges[int(np.argmax(counts))] / 10
        return to_chart(figure, caption, f"Histogram of diameters; most are of about {most:.3g} nm")


def course_chart(moments: Sequence[Moment], caption: str) -> Chart:
    """Draw frames a second and the lag over time.

    Parameters
    ----------
    moments : sequence of Moment
        At least one.
    caption : str

    Returns
    -------
    Chart
    """
    minutes = [(moment.time - moments[0].time) / 60 for moment in moments]
    rates = [moment.rate for moment in moments]
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.4)
        axes.plot(minutes, rates, color=SERIES[0], label="frames/s")
        axes.set(xlabel="Time (min)", ylabel="Frames a second")
        axes.set_ylim(bottom=0.0)
        lags = axes.twinx()
        lags.plot(
            minutes, [moment.lag_95 for moment in moments], color=SERIES[1], label="lag, 95 %"
        )
        lags.set_ylabel("Lag (s)")
        lags.set_ylim(bottom=0.0)
        lags.grid(False)
        figure.legend(loc="outside upper right", ncols=2)
        words = f"Up to {max(rates):.0f} frames a second over {minutes[-1]:.1f} minutes"
        return to_chart(figure, caption, words)
