"""The pictures of reports on detector frames: frames as the detector stands, distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.ticker import NullFormatter

from hpdp_dask.formats.frames import BAD, Detector
from hpdp_dask.numerics.assembly import plan_assembly
from hpdp_dask.workflow.drawing import (
    SERIES,
    WIDTH,
    Chart,
    Panels,
    chart_style,
    new_chart,
    scale_bar_length,
    to_chart,
    to_panel,
)

#: Cells along the longer side of a picture, and curves of a chart, at most.
_LONGEST, _CURVES = 320, len(SERIES)


def frame_gallery(
    frames: np.ndarray,
    detector: Detector,
    labels: Sequence[str],
    caption: str,
    columns: int = 6,
) -> Panels:
    """Show frames, each on its own logarithmic grey scale, modules where they stand.

    Parameters
    ----------
    frames : (n, y, x) ndarray
        Photons or ADU; what is below 0 or no number is black, as bad pixels are.
    detector : Detector
        Counted from the beam.
    labels : sequence of str
        One under each.
    caption : str
    columns : int, optional

    Returns
    -------
    Panels
        With scale bars in 1/Å, if the wavelength is known.
    """
    plan = plan_assembly(detector.pixel_x, detector.pixel_y, detector.pixel_size, _LONGEST)
    step = plan.step / detector.distance / detector.wavelength
    seen = np.where(detector.mask < BAD, frames, 0).astype(np.float32)
    seen = np.log1p(np.clip(np.nan_to_num(seen, nan=0.0, posinf=0.0, neginf=0.0), 0.0, None))
    panels = []
    for picture, label in zip(plan.show(seen), labels, strict=True):
        # single photons shall be seen, and a bright middle shall not hide the rest
        limits = 0.0, max(float(np.percentile(picture, 99.9)), np.log(3.0))
        panel = to_panel(picture[::-1], 1.0, limits, label, f"Frame: {label}")
        if np.isfinite(step):
            length = scale_bar_length(step * picture.shape[1])
            share = length / (step * picture.shape[1])
            panel = replace(panel, bar_share=share, bar_label=f"{length:g} 1/Å")
        panels.append(panel)
    return Panels(tuple(panels), caption, columns=columns)


def distribution_chart(
    values: Mapping[str, np.ndarray], label: str, caption: str, logarithmic: bool = False
) -> Chart:
    """Draw how numbers of frames are distributed, a line for each group of frames.

    Parameters
    ----------
    values : mapping of str to (n,) ndarray
        Under the name of each group; the largest groups are drawn.
    label : str
        What the numbers are, with their unit.
    caption : str
    logarithmic : bool, optional
        Bins of equal width of the logarithm.

    Returns
    -------
    Chart
    """
    known = {name: np.asarray(found, dtype=np.float64) for name, found in values.items()}
    known = {name: found[np.isfinite(found)] for name, found in known.items()}
    if logarithmic:
        known = {name: found[found > 0] for name, found in known.items()}
    largest = sorted((name for name in known if len(known[name])), key=lambda n: -len(known[n]))
    shown = {name: known[name] for name in known if name in largest[:_CURVES]}
    together = np.concatenate([*shown.values(), np.empty(0)])
    bins = int(np.clip(np.sqrt(len(together)), 8, 60))
    low, high = (together.min(), together.max()) if len(together) else (1.0, 2.0)
    if high - low < 1e-3 * abs(high):
        low, high = 0.95 * low, 1.05 * high
    edges = np.geomspace(low, high, bins + 1) if logarithmic else np.linspace(low, high, bins + 1)
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.6)
        for colour, (name, found) in zip(SERIES, shown.items(), strict=False):
            counts, _ = np.histogram(found, edges)
            axes.stairs(counts, edges, color=colour, label=name, linewidth=1.8)
        if logarithmic:
            axes.set_xscale("log")
            # the usual powers of ten are set in mathematics, which charts do not parse
            axes.xaxis.set_major_formatter(lambda value, _place: f"{value:,g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=label, ylabel="Frames")
        axes.set_ylim(bottom=0.0)
        if len(shown) > 1:
            axes.legend(loc="best")
        spoken = "; ".join(f"{name}: median {np.median(v):.4g}" for name, v in shown.items())
        return to_chart(figure, caption, f"Histogram of {label}. {spoken or 'No values'}.")
