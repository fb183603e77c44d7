"""A volume as a picture of its surface, lit from the side of the viewer."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

#: Direction that light comes from: to the right, up, towards the viewer.
_LIGHT = np.array([-0.35, 0.45, 0.82])

#: Brightness of what no light reaches, and of what is farthest away.
_AMBIENT, _FAR = 0.25, 0.55


def surface_level(volume: np.ndarray) -> float:
    """Give a level at which a volume's surface shows its shape.

    Parameters
    ----------
    volume : (N, N, N) ndarray
        Particle positive.

    Returns
    -------
    float
        That which parts its values in two, so that each half is as uniform as can be (Otsu 1979,
        IEEE Trans. Syst. Man Cybern. 9, 62).
    """
    counts, edges = np.histogram(volume, 256)
    middles = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    between = np.where((below > 0) & (above > 0), below * above * apart**2, -1.0)
    return float(edges[1 + int(between.argmax())])


def draw_surface(volume: np.ndarray, level: float, axis: int, size: int) -> np.ndarray:
    """Draw the surface of a volume, seen along an axis, not mirrored.

    Parameters
    ----------
    volume : (N, N, N) ndarray
        [z, y, x].
    level : float
        Of the surface.
    axis : int
        That the view is along: 0, from the end of z, x to the right and y up; 1, from the
        beginning of y, x to the right and z up; 2, from the end of x, y to the right and z up.
    size : int
        Of the picture, pixels.

    Returns
    -------
    (size, size) ndarray of float32
        Brightness from 0 to 1, NaN where there is nothing; the first row is the lowest.
    """
    seen = np.moveaxis(volume, axis, 0)
    if axis != 1:
        # away from the viewer
        seen = seen[::-1]
    fine = ndimage.zoom(seen.astype(np.float32), size / len(volume), order=1)
    reached = fine > level
    hit = reached.any(0)
    depth = reached.argmax(0)
    rows, columns = np.indices(depth.shape)
    here = fine[depth, rows, columns]
    before = fine[np.maximum(depth - 1, 0), rows, columns]
    step = np.where(depth > 0, (here - level) / np.maximum(here - before, 1e-30), 0.0)
    distance = np.where(hit, depth - step, np.float32(len(fine)))
    # over a voxel to either side, so that the grid does not show
    reach = max(1, round(size / len(volume)))
    slopes = []
    for place, length in zip((columns, rows, depth), (size, size, len(fine)), strict=True):
        ends = []
        for move in (reach, -reach):
            moved = np.clip(place + move, 0, length - 1)
            at = [moved if each is place else each for each in (depth, rows, columns)]
            ends.append(fine[tuple(at)])
        slopes.append(ends[0] - ends[1])
    # density falls outward; depth runs away from the viewer
    outward = np.stack([-slopes[0], -slopes[1], slopes[2]])
    length = np.maximum(np.sqrt((outward**2).sum(0)), 1e-30)
    lit = np.maximum(np.tensordot(_LIGHT / np.linalg.norm(_LIGHT), outward / length, 1), 0.0)
    far = np.where(hit, distance, 0.0).max(initial=1.0)
    near = np.where(hit, distance, far).min(initial=far)
    fade = 1.0 - (1.0 - _FAR) * (distance - near) / max(float(far - near), 1.0)
    bright = (_AMBIENT + (1.0 - _AMBIENT) * lit) * fade
    return np.where(hit, np.clip(bright, 0.0, 1.0), np.nan).astype(np.float32)
