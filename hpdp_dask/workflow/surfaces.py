"""Volumes as coloured surfaces and as a movie, for reports."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from hpdp_dask.numerics.surface import draw_surface, surface_level
from hpdp_dask.workflow.drawing import Panel, Panels, scale_bar_length

#: Of a picture, pixels; milliseconds of a frame of a movie; colours from the first to the last.
_SIZE, _MILLISECONDS, _COLOURS = 144, 120, "viridis"

#: Space about the surface, as a share of its extent; level of a surface, in that of
#: `surface_level`: a little higher it shows more.
_MARGIN, _RAISED = 0.08, 1.25

#: How bright the darkest part of a colour is.
_LEAST = 0.4

#: Axis of the view, and the axes to the right and up.
VIEWS = ((0, "along z; x →, y ↑"), (1, "along y; x →, z ↑"), (2, "along x; y →, z ↑"))


def colours_of(values: np.ndarray) -> np.ndarray:
    """Give a colour for each number, from that of the least to that of the largest: (n, 3)."""
    low, high = float(np.min(values)), float(np.max(values))
    shares = (np.asarray(values, dtype=np.float64) - low) / max(high - low, 1e-30)
    return np.asarray(colormaps[_COLOURS](shares))[:, :3]


def surface_gallery(
    volumes: Sequence[np.ndarray],
    voxel_size: float,
    colours: np.ndarray,
    labels: Sequence[str],
    caption: str,
    axis: int = 0,
) -> Panels:
    """Show the surfaces of volumes, all at one level and cut to one cube.

    Parameters
    ----------
    volumes : sequence of (N, N, N) ndarray
    voxel_size : float
        Å.
    colours : (n, 3) ndarray
        Of each, from 0 to 1.
    labels : sequence of str
        Under each.
    caption : str
    axis : int, optional
        Of `VIEWS`.
    """
    level = _common_level(volumes)
    shown, width = _cut(volumes, level)
    extent = width * voxel_size
    panels = []
    for volume, colour, label in zip(shown, colours, labels, strict=True):
        bright = draw_surface(volume, level, axis, _SIZE)[::-1, :, None]
        picture = np.nan_to_num(bright * (_LEAST + (1.0 - _LEAST) * colour))
        description = f"Surface of volume {label}, {VIEWS[axis][1]}"
        source = _as_png(np.rint(255.0 * picture).astype(np.uint8))
        panels.append(_panel(source, label, description, extent))
    return Panels(tuple(panels), caption, columns=5)


def write_movie(path: Path, volumes: Sequence[np.ndarray], voxel_size: float) -> Panels:
    """Write a movie of volumes, there and back, and give it for a report.

    Parameters
    ----------
    path : Path
        A GIF, which pages and slides show.
    volumes : sequence of (N, N, N) ndarray
    voxel_size : float
        Å.

    Returns
    -------
    Panels
        Surfaces above, projections below, along z, y and x.
    """
    level = _common_level(volumes)
    shown, width = _cut(volumes, level)
    sums = [[volume.sum(axis) for axis, _ in VIEWS] for volume in shown]
    low, high = np.percentile(np.array(sums), (0.5, 99.9))
    frames = []
    for volume, projections in zip(shown, sums, strict=True):
        above = [np.nan_to_num(draw_surface(volume, level, axis, _SIZE)) for axis, _ in VIEWS]
        below = [
            np.asarray(Image.fromarray(each.astype(np.float32)).resize((_SIZE, _SIZE)))
            for each in projections
        ]
        scaled = [np.clip((each - low) / max(float(high - low), 1e-30), 0, 1) for each in below]
        grey = np.vstack([np.hstack([each[::-1] for each in row]) for row in (above, scaled)])
        frames.append(Image.fromarray(np.rint(255.0 * grey).astype(np.uint8)))
    frames += frames[-2:0:-1]
    written = io.BytesIO()
    frames[0].save(
        written,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=_MILLISECONDS,
        loop=0,
        optimize=True,
    )
    path.write_bytes(written.getvalue())
    source = "data:image/gif;base64," + base64.b64encode(written.getvalue()).decode()
    label = "; ".join(view.partition(";")[0] for _, view in VIEWS)
    description = f"Movie of {len(volumes)} volumes: surfaces and projections {label}"
    panel = _panel(source, label, description, 3 * width * voxel_size)
    caption = "Surfaces, and projections below, from one end to the other and back"
    return Panels((panel,), caption, columns=1)


def _common_level(volumes: Sequence[np.ndarray]) -> float:
    return _RAISED * float(np.mean([surface_level(volume) for volume in volumes]))


def _cut(volumes: Sequence[np.ndarray], level: float) -> tuple[list[np.ndarray], int]:
    """Cut volumes to the smallest cube about their centre that holds all surfaces."""
    box = len(volumes[0])
    reach = 1
    for volume in volumes:
        places = np.argwhere(volume > level)
        if len(places):
            reach = max(reach, int(np.abs(places - box // 2).max()))
    half = min(box // 2, round((1.0 + _MARGIN) * reach) + 1)
    kept = slice(box // 2 - half, box // 2 + half)
    return [volume[kept, kept, kept] for volume in volumes], 2 * half


def _as_png(picture: np.ndarray) -> str:
    written = io.BytesIO()
    Image.fromarray(picture).save(written, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()


def _panel(source: str, label: str, description: str, extent: float) -> Panel:
    length = scale_bar_length(extent)
    bar = f"{length:g} Å" if length < 1000 else f"{length / 10:g} nm"
    return Panel(source, label, description, length / extent, bar)
