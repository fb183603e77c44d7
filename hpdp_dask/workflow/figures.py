"""The pictures of a report: pure functions from arrays to what `report.write_report` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from scipy.ndimage import binary_dilation

from hpdp_dask.workflow.drawing import (
    INK,
    MUTED,
    SERIES,
    WIDTH,
    Chart,
    Panels,
    chart_style,
    new_chart,
    to_chart,
    to_panel,
)

_DASHES = ("solid", (0, (5, 1.6)), (0, (1.4, 1.2)), (0, (5, 1.4, 1.2, 1.4)))

#: Resolutions (Å) that an axis names, those first that it should rather have.
_RESOLUTIONS = (10, 5, 4, 3, 2, 20, 2.5, 1.5, 1, 6, 8, 3.5, 1.8, 1.2, 7, 4.5, 15, 30, 50, 100)

#: Axis across a slice and names of the axes along its x and y, in the order they are shown.
_VIEWS = ((0, "z", "x", "y"), (1, "y", "x", "z"), (2, "x", "y", "z"))


def fsc_chart(curves: Mapping[str, ArrayLike], box: int, pixel_size: float, caption: str) -> Chart:
    """Draw Fourier shell correlations against spatial frequency, with the lines 0.5 and 0.143.

    Parameters
    ----------
    curves : mapping of str to (shells,) array_like
        Correlation by shell, from shell 0, under the name of each curve; NaN leaves a gap.
    box : int
        Edge of the volumes, pixels: shell `k` is at the frequency `k / (box * pixel_size)`.
    pixel_size : float
        Å.
    caption : str

    Returns
    -------
    Chart
        Frequency in 1/Å below, resolution in Å above.
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in curves.items()}
    nyquist = 0.5 / pixel_size
    lowest = min(
        (np.min(v, initial=0.0, where=np.isfinite(v)) for v in arrays.values()), default=0.0
    )
    with chart_style():
        figure, axes = new_chart(WIDTH, 3.3)
        for line in (0.5, 0.143):
            axes.axhline(line, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
            axes.annotate(
                f"{line:g}",
                (0.0, line),
                xycoords=("axes fraction", "data"),
                xytext=(4, 2),
                textcoords="offset points",
                color=MUTED,
                fontsize=8.5,
            )
        for place, (name, values) in enumerate(arrays.items()):
            axes.plot(
                np.arange(len(values)) / (box * pixel_size),
                values,
                color=SERIES[place % len(SERIES)],
                linestyle=_DASHES[place % len(_DASHES)],
                label=name,
            )
        axes.set(
            xlim=(0.0, nyquist),
            ylim=(min(-0.05, lowest - 0.03), 1.03),
            xlabel="Spatial frequency (1/Å)",
            ylabel="Fourier shell correlation",
        )
        axes.set_yticks(np.arange(0.0, 1.01, 0.2))
        _label_resolution(axes, nyquist)
        if len(arrays) > 1:
            # between the two lines on the left, where every curve is still near 1
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 0.23), borderaxespad=0.3)
        first_below = "; ".join(
            f"{name}: {_first_below(values, box * pixel_size)}" for name, values in arrays.items()
        )
        return to_chart(
            figure,
            caption,
            f"Line chart of the Fourier shell correlation up to 1/{1 / nyquist:.3g} Å. "
            f"{first_below}.",
        )


def _first_below(values: np.ndarray, extent: float) -> str:
    """Say where a curve first falls below 0.143; `extent` is that of the box, Å."""
    below = np.flatnonzero(values[1:] < 0.143) + 1
    if not len(below):
        return "above 0.143 throughout"
    return f"first below 0.143 at {extent / below[0]:.3g} Å"


def _label_resolution(axes: Axes, nyquist: float) -> None:
    """Mark resolutions in Å along the top, far enough apart to read."""
    chosen: list[float] = []
    for resolution in _RESOLUTIONS:
        apart = all(abs(1 / resolution - 1 / other) >= 0.075 * nyquist for other in chosen)
        if apart and 0.07 * nyquist <= 1 / resolution <= 1.0001 * nyquist:
            chosen.append(resolution)
    top = axes.secondary_xaxis("top")
    top.set_xticks([1.0 / resolution for resolution in chosen])
    top.set_xticklabels([f"{resolution:g}" for resolution in chosen])
    top.set_xlabel("Resolution (Å)")
    top.spines["top"].set_visible(True)


def guinier_chart(
    amplitudes: Mapping[str, ArrayLike],
    frequencies: ArrayLike,
    line: tuple[float, float] | None,
    fitted: tuple[float, float],
    caption: str,
) -> Chart:
    """Draw the logarithm of amplitudes against 1/d², and the line that was fitted to them.

    Parameters
    ----------
    amplitudes : mapping of str to (shells,) array_like
        Mean amplitude by shell under the name of each curve; what is not above 0 leaves a gap.
    frequencies : (shells,) array_like
        1/Å.
    line : tuple of float or None
        B-factor, Å², and intercept of the line; its slope is B / 4.
    fitted : tuple of float
        Coarsest and finest resolution of the fit, Å; the line is drawn between them.
    caption : str

    Returns
    -------
    Chart
    """
    squared = np.asarray(frequencies, dtype=np.float64) ** 2
    with chart_style():
        figure, axes = new_chart(WIDTH, 3.3)
        for place, (name, values) in enumerate(amplitudes.items()):
            known = np.asarray(values, dtype=np.float64)
            logarithm = np.log(known, out=np.full_like(known, np.nan), where=known > 0)
            # shell 0 is the mean of the map, which is of no meaning here
            axes.plot(
                squared[1:],
                logarithm[1:],
                color=SERIES[place % len(SERIES)],
                linestyle=_DASHES[place % len(_DASHES)],
                label=name,
            )
        spoken = "no line was fitted"
        if line is not None:
            b_factor, intercept = line
            ends = np.array(fitted) ** -2.0
            axes.plot(
                ends, intercept + b_factor / 4.0 * ends, color=INK, linewidth=1.0, label="line"
            )
            spoken = f"the line has the B-factor {b_factor:.4g} Å²"
        axes.set(xlim=(0.0, squared[-1]), xlabel="1/d² (1/Å²)", ylabel="Logarithm of the amplitude")
        axes.legend(loc="upper right")
        return to_chart(
            figure,
            caption,
            "Line chart of the logarithm of the mean amplitude of each shell against its squared "
            f"frequency, {', '.join(amplitudes)}; from {fitted[0]:.3g} to {fitted[1]:.3g} Å "
            f"{spoken}.",
        )


def defocus_histogram(defocus_u: ArrayLike, defocus_v: ArrayLike, caption: str) -> Chart:
    """Draw how the mean defocus of images is distributed.

    Parameters
    ----------
    defocus_u, defocus_v : (n,) array_like
        Defocus along both axes of astigmatism, Å, underfocus positive.
    caption : str

    Returns
    -------
    Chart
        In µm.
    """
    mean = (np.asarray(defocus_u, dtype=np.float64) + np.asarray(defocus_v)) / 2e4
    mean = mean[np.isfinite(mean)]
    with chart_style():
        figure, axes = new_chart(WIDTH, 2.5)
        bins = int(np.clip(np.sqrt(len(mean)), 5, 40))
        axes.hist(mean, bins=bins, color=SERIES[0], rwidth=0.92)
        axes.grid(False, axis="x")
        axes.set(xlabel="Mean defocus (µm)", ylabel="Images")
        spread = (
            f"from {mean.min():.2f} to {mean.max():.2f} µm, median {np.median(mean):.2f} µm"
            if len(mean)
            else "none is known"
        )
        return to_chart(
            figure, caption, f"Histogram of the mean defocus of {len(mean):,} images: {spread}."
        )


def timing_bars(seconds: Mapping[str, float], caption: str) -> Chart:
    """Draw how long each stage took, the first at the top.

    Parameters
    ----------
    seconds : mapping of str to float
        Wall-clock time under the name of each stage.
    caption : str

    Returns
    -------
    Chart
    """
    names, values = list(seconds), list(seconds.values())
    with chart_style():
        figure, axes = new_chart(WIDTH, 0.75 + 0.27 * max(1, len(names)))
        bars = axes.barh(range(len(names)), values, height=0.66, color=SERIES[0])
        axes.bar_label(bars, [format_seconds(value) for value in values], padding=4, fontsize=8.5)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0.0, 1.16 * max(values, default=0.0) or 1.0)
        axes.set_xlabel("Wall-clock time (s)")
        spoken = ", ".join(f"{name} {format_seconds(value)}" for name, value in seconds.items())
        return to_chart(figure, caption, f"Bar chart of the time of each stage: {spoken}.")


def format_seconds(seconds: float) -> str:
    """Write a duration as people say it: `0.42 s`, `12.3 s`, `4 min 05 s`, `3 h 07 min`."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def central_slices(
    volume: np.ndarray, pixel_size: float, caption: str, *, signed: bool = False
) -> Panels:
    """Show the slices through the centre of a map across z, y and x, on one grey scale.

    Parameters
    ----------
    volume : (z, y, x) ndarray
    pixel_size : float
        Å.
    caption : str
    signed : bool, optional
        Of a difference: zero is mid-grey.

    Returns
    -------
    Panels
    """
    slices = [np.take(volume, volume.shape[axis] // 2, axis) for axis, *_ in _VIEWS]
    labels = [f"{across} = {volume.shape[axis] // 2}" for axis, across, *_ in _VIEWS]
    return _views(slices, labels, "Central slice", pixel_size, caption, signed)


def outlined_slices(
    volume: np.ndarray, mask: np.ndarray, pixel_size: float, caption: str
) -> Panels:
    """Show central slices with the outline of a mask, where it passes a half, drawn in white."""
    outlined = np.array(volume)
    inside = mask > 0.5
    for axis, *_ in _VIEWS:
        centre = [slice(None)] * 3
        centre[axis] = slice(volume.shape[axis] // 2, volume.shape[axis] // 2 + 1)
        here = inside[tuple(centre)]
        # within the plane, so that the line is thin where the mask ends obliquely
        across = np.ones([1 if other == axis else 3 for other in range(3)], dtype=bool)
        outline = binary_dilation(here, across) & ~here
        outlined[tuple(centre)][outline] = volume.max()
    return central_slices(outlined, pixel_size, caption)


def projections(volume: np.ndarray, pixel_size: float, caption: str) -> Panels:
    """Show the sums of a map along z, y and x, on one grey scale; as `central_slices`."""
    sums = [np.asarray(np.sum(volume, axis, dtype=np.float64)) for axis, *_ in _VIEWS]
    labels = [f"along {across}" for _, across, *_ in _VIEWS]
    return _views(sums, labels, "Projection", pixel_size, caption)


def _views(
    images: Sequence[np.ndarray],
    labels: Sequence[str],
    what: str,
    pixel_size: float,
    caption: str,
    signed: bool = False,
) -> Panels:
    limits = _grey_limits(np.concatenate([image.ravel() for image in images]), signed)
    panels = [
        to_panel(
            image,
            pixel_size,
            limits,
            f"{label}; {right} →, {up} ↑",
            f"{what} of the map, {label}, {right} to the right and {up} up",
        )
        for image, label, (_, _, right, up) in zip(images, labels, _VIEWS, strict=True)
    ]
    return Panels(tuple(panels), caption, columns=3)


def image_gallery(
    images: np.ndarray,
    pixel_size: float,
    labels: Sequence[str],
    caption: str,
    *,
    signed: bool = False,
) -> Panels:
    """Show images, particles or class averages, each on its own grey scale.

    Parameters
    ----------
    images : (n, y, x) ndarray
    pixel_size : float
        Å.
    labels : sequence of str
        One under each image.
    caption : str
    signed : bool, optional
        Of differences: zero is mid-grey, on one scale for all.

    Returns
    -------
    Panels
    """
    common = _grey_limits(np.asarray(images).ravel(), signed) if signed else None
    panels = [
        to_panel(image, pixel_size, common or _grey_limits(image), label, f"Image {label}")
        for image, label in zip(images, labels, strict=True)
    ]
    return Panels(tuple(panels), caption, columns=6)


def _grey_limits(values: np.ndarray, signed: bool = False) -> tuple[float, float]:
    """Give the values to draw black and white; single pixels may go beyond."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, (0.5, 99.8)) if len(known) else (0.0, 1.0)
    if signed:
        high = max(-low, high)
        low = -high
    return float(low), float(high)
