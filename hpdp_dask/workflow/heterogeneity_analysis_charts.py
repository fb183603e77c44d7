"""The charts of an analysis: images in planes of the latent space, and their landscape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from hpdp_dask.workflow.drawing import INK, MUTED, WIDTH, Chart, chart_style, new_chart, to_chart

#: Images that a scatter shows at most; pixels an inch of what is drawn as an image.
_DRAWN, _PIXELS = 30_000, 200

#: Cells of a histogram of the landscape along each side; the smoothing, cells; depth that is
#: drawn, in units of the thermal energy.
_CELLS, _SMOOTHED, _DEEPEST = 80, 2.0, 6.0


def plane_chart(
    points: np.ndarray,
    values: np.ndarray,
    names: tuple[str, str],
    caption: str,
    *,
    marks: np.ndarray | None = None,
    numbers: Sequence[str] = (),
    line: bool = False,
    bar: str | None = None,
) -> Chart:
    """Draw images as points in a plane, coloured by a number.

    Parameters
    ----------
    points : (n, 2) ndarray
    values : (n,) ndarray
        That the colour tells; integers of few kinds get colours of their own.
    names : tuple of str
        Of both axes.
    caption : str
    marks : (k, 2) ndarray, optional
        Points that are marked.
    numbers : sequence of str, optional
        Beside the marks.
    line : bool, optional
        Join the marks.
    bar : str, optional
        What the colour tells, beside a scale.
    """
    step = -(-len(points) // _DRAWN)
    few = values.dtype.kind in "iu" and len(np.unique(values)) <= 10
    with chart_style():
        figure, axes = new_chart(WIDTH, 0.8 * WIDTH)
        figure.set_dpi(_PIXELS)
        drawn = axes.scatter(
            points[::step, 0],
            points[::step, 1],
            c=values[::step],
            cmap="tab10" if few else "viridis",
            vmin=0 if few else None,
            vmax=9 if few else None,
            s=3.0,
            alpha=0.6,
            linewidth=0,
            rasterized=True,
        )
        if marks is not None:
            _mark(axes, marks, numbers, line)
        if bar is not None:
            _scale(figure, axes, drawn, bar)
        axes.set(xlabel=names[0], ylabel=names[1])
        return to_chart(
            figure,
            caption,
            f"Scatter chart of {len(points[::step]):,} images by {names[0]} and {names[1]}.",
        )


def _mark(axes: Axes, marks: np.ndarray, numbers: Sequence[str], line: bool) -> None:
    axes.plot(
        marks[:, 0],
        marks[:, 1],
        color=INK,
        marker="o",
        markersize=3.5,
        linewidth=1.0 if line else 0.0,
    )
    for (x, y), number in zip(marks, numbers, strict=False):
        axes.annotate(
            number, (x, y), xytext=(3, 3), textcoords="offset points", color=INK, fontsize=8
        )


def _scale(figure: Figure, axes: Axes, drawn: ScalarMappable, name: str) -> None:
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=30)
    bar.set_label(name)
    bar.outline.set_visible(False)
    bar.solids.set(alpha=1.0, rasterized=True)  # type: ignore[union-attr]


def density_chart(points: np.ndarray, names: tuple[str, str], caption: str) -> Chart:
    """Draw the logarithm of the density of images, as the depth of a landscape.

    Parameters
    ----------
    points : (n, 2) ndarray
    names : tuple of str
    caption : str
    """
    low, high = np.percentile(points, (0.2, 99.8), axis=0)
    margin = 0.08 * np.maximum(high - low, 1e-12)
    ranges = np.stack([low - margin, high + margin], axis=1).tolist()
    counts, x, y = np.histogram2d(points[:, 0], points[:, 1], bins=_CELLS, range=ranges)
    density = gaussian_filter(counts, _SMOOTHED)
    depth = -np.log(np.maximum(density, 1e-12) / density.max())
    depth[depth > _DEEPEST] = np.nan
    with chart_style():
        figure, axes = new_chart(WIDTH, 0.8 * WIDTH)
        figure.set_dpi(_PIXELS)
        extent = (x[0], x[-1], y[0], y[-1])
        drawn = axes.imshow(
            depth.T, origin="lower", extent=extent, aspect="auto", cmap="magma", vmin=0.0
        )
        middle = (0.5 * (x[1:] + x[:-1]), 0.5 * (y[1:] + y[:-1]))
        axes.contour(*middle, depth.T, np.arange(1, _DEEPEST), colors=MUTED, linewidths=0.6)
        axes.grid(False)
        _scale(figure, axes, drawn, "-ln of the density of images")
        axes.set(xlabel=names[0], ylabel=names[1])
        return to_chart(
            figure,
            caption,
            f"Map of the density of {len(points):,} images by {' and '.join(names)}.",
        )


def shares_chart(shares: np.ndarray, what: str, caption: str) -> Chart:
    """Draw how much of the variance each component holds."""
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.2)
        axes.bar(np.arange(1, len(shares) + 1), 100.0 * shares, width=0.6, color=INK)
        axes.set(xlabel=f"Component of {what}", ylabel="Share of the variance (%)")
        axes.set_xticks(np.arange(1, len(shares) + 1))
        axes.grid(False, axis="x")
        told = ", ".join(f"{share:.0%}" for share in shares)
        return to_chart(figure, caption, f"Bar chart of shares of the variance: {told}.")
