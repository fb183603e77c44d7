"""The map of viewing directions of a report."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from hpdp_dask.workflow.drawing import MUTED, WIDTH, Chart, chart_style, new_chart, to_chart

#: Colour of cells without an image, apart from the colour map on light and on dark pages.
_NO_IMAGE = "#9aa0a8"


def orientation_map(euler_angles: ArrayLike, caption: str) -> Chart:
    """Draw how viewing directions are distributed, on an equal-area map of the sphere.

    The sphere is cut into bands of tilt and each band into cells of rot, so that all cells have
    about the same area; the density in each, relative to a uniform distribution, is drawn in
    Mollweide's projection, which keeps areas: equal patches hold equal shares of the directions.
    Cells without an image are grey.

    Parameters
    ----------
    euler_angles : (n, 3) array_like
        rot, tilt, psi, degrees; psi does not matter.
    caption : str

    Returns
    -------
    Chart
        rot 0 in the middle, tilt 0 at the top.

    References
    ----------
    Snyder 1987, Map Projections, US Geological Survey Professional Paper 1395, p. 249.
    """
    rot, tilt = _view_of(np.asarray(euler_angles, dtype=np.float64).reshape(-1, 3))
    # about twenty images a cell, so that their noise does not hide the distribution
    bands = int(np.clip(np.sqrt(np.pi * len(tilt) / 80.0), 6, 30))
    density = _cell_density(rot, tilt, bands)
    highest = float(density.max(initial=0.0)) or 1.0

    # each pixel of the map asks for the cell that it lies in
    x, y = np.meshgrid(np.linspace(-2.0, 2.0, 960), np.linspace(-1.0, 1.0, 480))
    inside = (x / 2.0) ** 2 + y**2 < 1.0
    theta = np.arcsin(y)
    latitude = np.arcsin(np.clip((2.0 * theta + np.sin(2.0 * theta)) / np.pi, -1.0, 1.0))
    longitude = 0.5 * np.pi * x / np.maximum(np.cos(theta), 1e-9)
    cell = _cell_of(np.clip(longitude, -np.pi, np.pi), 0.5 * np.pi - latitude, bands)
    picture = colormaps["viridis"](density[cell] / highest, bytes=True)
    picture[density[cell] == 0.0] = 255.0 * np.array(to_rgba(_NO_IMAGE))
    picture[~inside] = 0

    with chart_style():
        figure, axes = new_chart(WIDTH, 3.3)
        axes.imshow(picture, extent=(-2.0, 2.0, -1.0, 1.0), origin="lower", interpolation="none")
        _draw_graticule(axes)
        bar = figure.colorbar(
            ScalarMappable(Normalize(0.0, highest), colormaps["viridis"]),
            ax=axes,
            orientation="horizontal",
            shrink=0.55,
            aspect=28,
            pad=0.04,
            label="Density of views (1 = uniform)",
        )
        bar.outline.set_visible(False)
        empty = 100.0 * float(np.mean(density == 0.0))
        if empty > 0.0:
            swatch = Patch(color=_NO_IMAGE, label="no image")
            axes.legend(
                handles=[swatch],
                loc="lower right",
                bbox_to_anchor=(1.03, 0.0),
                borderpad=0.0,
                handlelength=1.0,
                handleheight=1.0,
                fontsize=8.5,
            )
        return to_chart(
            figure,
            caption,
            f"Map of the sphere of viewing directions of {len(tilt):,} images. The densest "
            f"direction has {highest:.2g} times the uniform density; {empty:.0f} % of the "
            "sphere has no image.",
        )


def _view_of(euler_angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give rot in [-π, π] and tilt in [0, π], whatever turns the angles (degrees) are written in.

    The view is along the last row of the matrix of `numerics.rotations.euler_to_matrix`.
    """
    rot, tilt = np.radians(euler_angles[:, 0]), np.radians(euler_angles[:, 1])
    x, y = np.cos(rot) * np.sin(tilt), np.sin(rot) * np.sin(tilt)
    return np.arctan2(y, x), np.arctan2(np.hypot(x, y), np.cos(tilt))


def _cells_in_bands(bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the number of cells in each band of tilt, and the index of each band's first."""
    middle = (np.arange(bands) + 0.5) * np.pi / bands
    cells = np.maximum(3, np.rint(2 * bands * np.sin(middle))).astype(np.int64)
    return cells, np.concatenate([[0], np.cumsum(cells)[:-1]])


def _cell_of(rot: np.ndarray, tilt: np.ndarray, bands: int) -> np.ndarray:
    """Give the cell that each direction (radians) lies in."""
    cells, first = _cells_in_bands(bands)
    band = np.clip((tilt * bands / np.pi).astype(np.int64), 0, bands - 1)
    turn = np.mod(rot / (2.0 * np.pi), 1.0)
    return np.asarray(
        first[band] + np.minimum((turn * cells[band]).astype(np.int64), cells[band] - 1)
    )


def _cell_density(rot: np.ndarray, tilt: np.ndarray, bands: int) -> np.ndarray:
    """Give the density of directions in each cell, relative to a uniform distribution."""
    cells, _ = _cells_in_bands(bands)
    edges = np.cos(np.arange(bands + 1) * np.pi / bands)
    share_of_sphere = np.repeat((edges[:-1] - edges[1:]) / (2.0 * cells), cells)
    counts = np.bincount(_cell_of(rot, tilt, bands), minlength=int(cells.sum()))
    return np.asarray(counts / max(1, len(rot)) / share_of_sphere)


def _mollweide(longitude: np.ndarray, latitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project directions (radians) onto the ellipse with half-axes 2 and 1."""
    theta = np.array(latitude, dtype=np.float64)
    target = np.pi * np.sin(latitude)
    for _ in range(30):  # Newton's method; it slows down towards the poles, where it starts right
        slope = np.maximum(2.0 + 2.0 * np.cos(2.0 * theta), 1e-9)
        theta -= (2.0 * theta + np.sin(2.0 * theta) - target) / slope
    return 2.0 * longitude / np.pi * np.cos(theta), np.sin(theta)


def _draw_graticule(axes: Axes) -> None:
    """Draw and name meridians of rot and parallels of tilt, in place of the axes."""
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    latitude = np.radians(np.linspace(-89.999, 89.999, 91))
    for rot in (-180, -90, 0, 90, 180):
        outline = abs(rot) == 180
        line = _mollweide(np.full_like(latitude, np.radians(rot)), latitude)
        axes.plot(*line, color=MUTED, linewidth=0.9 if outline else 0.5)
    for tilt in (30, 60, 90, 120, 150):
        half_turn = np.array([-np.pi, np.pi])
        x, y = _mollweide(half_turn, np.full(2, np.radians(90 - tilt)))
        axes.plot(x, y, color=MUTED, linewidth=0.5)
        axes.annotate(f"{tilt}°", (x[0], y[0]), xytext=(-4, 0), textcoords="offset points",
                      ha="right", va="center", fontsize=8.5)  # fmt: skip
    axes.set_yticks([])
    axes.set_xticks([-2, -1, 0, 1, 2], ["−180°", "−90°", "0°", "90°", "180°"])
    axes.tick_params(length=0)
    axes.set(xlim=(-2.02, 2.02), ylim=(-1.02, 1.02), xlabel="rot", ylabel="tilt")
    axes.yaxis.labelpad = 26
