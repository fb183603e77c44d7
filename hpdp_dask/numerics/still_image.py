"""The last step of a simulated still: background, shadow, Poisson noise, pooling, square root.

One pass over the pixels, in which nothing as large as the detector is kept but the spots: the
mean of a pixel is worked out, counted, and compared with its neighbours of the same cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.bragg_spots import Plane
from hpdp_dask.numerics.poisson_counts import draw_row, new_draws, poisson_table


@dataclass(frozen=True)
class Diffuse:
    """What is counted beside spots.

    Attributes
    ----------
    even, sided : (m,) ndarray of float32
        Photons in a pixel that faces the sample at the detector's distance, against tan(2 theta):
        independent of the azimuth, and the amplitude of its cos(2 psi), psi from x.
    step : float
        Of tan(2 theta).
    slope : (2,) ndarray, optional
        Relative change along x and y, 1/m.
    pedestal : float, optional
        Counts in every pixel.
    """

    even: np.ndarray
    sided: np.ndarray
    step: float
    slope: tuple[float, float] = (0.0, 0.0)
    pedestal: float = 0.0

    def at(self, tangent: np.ndarray) -> np.ndarray:
        """Give the mean counts of a pixel at tan(2 theta), anywhere around the beam."""
        known = self.step * np.arange(len(self.even))
        return np.interp(tangent, known, self.even) + self.pedestal


@dataclass(frozen=True)
class BeamStop:
    """A disc before the detector, with an arm.

    Attributes
    ----------
    x, y : float
        Centre of the shadow, m from the beam.
    radius : float
        Where half of the light comes through, m.
    softness : float
        Length over which the shadow fades, m.
    leak : float
        Share that comes through in the middle.
    arm : float
        Half width of the arm, m; 0 none.
    arm_x, arm_y : float
        Direction of the arm, unit vector.
    arm_leak : float
        Share that comes through the arm.
    """

    x: float = 0.0
    y: float = 0.0
    radius: float = 0.0
    softness: float = 1e-4
    leak: float = 0.0
    arm: float = 0.0
    arm_x: float = 1.0
    arm_y: float = 0.0
    arm_leak: float = 0.5


def count_photons(
    spots: Array,
    plane: Plane,
    diffuse: Diffuse,
    stop: BeamStop,
    good_rows: np.ndarray,
    good_columns: np.ndarray,
    key: int,
    factor: int = 1,
) -> Array:
    """Count what arrives on a detector, the largest count of each cell of factor x factor pixels.

    Parameters
    ----------
    spots : (y, x) array of float32
        Mean photons of spots; NumPy or CuPy.
    plane : Plane
        Of the pixels.
    diffuse, stop
    good_rows, good_columns : (y,), (x,) ndarray of bool
        Rows and columns that are no gaps between modules.
    key : int
        Of the noise.
    factor : int, optional
        Pixels along an edge of a cell; must divide rows and columns.

    Returns
    -------
    (y // factor, x // factor) array of int32
        0 in gaps. A device draws the same count from the same mean, but means may differ in their
        last digit, which changes less than one count of 100,000.
    """
    cells = plane.shape[0] // factor, plane.shape[1] // factor
    fast, slow = np.asarray(plane.fast), np.asarray(plane.slow)
    normal = np.cross(fast, slow) / plane.pixel_size**2
    shadow = np.array(
        [
            *(stop.x, stop.y, stop.radius, max(stop.softness, 1e-6), stop.leak),
            *(stop.arm, stop.arm_x, stop.arm_y, stop.arm_leak),
        ]
    )
    distance = abs(float(normal @ plane.origin))
    profile = np.stack([diffuse.even, diffuse.sided], axis=1).astype(np.float32)
    works = np.asarray(good_rows, np.bool_), np.asarray(good_columns, np.bool_)
    if namespace(spots) is not np:
        from hpdp_dask.numerics.stills import gpu

        numbers = distance, 1.0 / diffuse.step, *diffuse.slope, diffuse.pedestal
        parameters = np.concatenate([plane.origin, fast, slow, numbers, shadow])
        return gpu.count_photons(spots, parameters, profile, *works, key, factor, cells)
    counts = np.zeros(cells, np.int32)
    _count(
        spots,
        np.asarray(plane.origin, np.float64),
        fast.astype(np.float64),
        slow.astype(np.float64),
        distance,
        profile,
        1.0 / diffuse.step,
        float(diffuse.slope[0]),
        float(diffuse.slope[1]),
        np.float32(diffuse.pedestal),
        shadow,
        *works,
        np.uint64(key),
        *poisson_table(),
        factor,
        counts,
    )
    return counts


_compiled = numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_compiled
def _count(  # type: ignore[no-untyped-def]
    spots,
    origin,
    fast,
    slow,
    distance,
    profile,
    per_step,
    slope_x,
    slope_y,
    pedestal,
    shadow,
    good_rows,
    good_columns,
    key,
    thresholds,
    guide,
    factor,
    counts,
):
    """Count row by row of cells: first the means of their pixels, then the draws."""
    rows, columns = counts.shape[0] * factor, counts.shape[1] * factor
    means = np.empty(columns, np.float32)
    places = np.empty((3, columns), np.float32)
    draws = new_draws(columns)
    for row in range(rows):
        if not good_rows[row]:
            continue
        x, y, z = origin[0] + row * slow[0], origin[1] + row * slow[1], origin[2] + row * slow[2]
        _places_of_row(places, x, y, z, fast, distance, per_step, slope_x, slope_y)
        _diffuse_row(means, places, profile, spots[row])
        _shadow_row(means, x, y, fast, shadow)
        if pedestal > 0.0:
            means += pedestal
        first = row * columns
        cells = counts[row // factor]
        draw_row(means, good_columns, key, first, thresholds, guide, draws, factor, cells)


@_compiled
def _places_of_row(  # type: ignore[no-untyped-def]
    places, x, y, z, fast, distance, per_step, slope_x, slope_y
):
    """Give, along a row that begins at x, y, z, where pixels are in the table, and two factors."""
    x, y, z = np.float32(x), np.float32(y), np.float32(z)
    step_x, step_y, step_z = np.float32(fast[0]), np.float32(fast[1]), np.float32(fast[2])
    distance, per_step = np.float32(distance), np.float32(per_step)
    slope_x, slope_y = np.float32(slope_x), np.float32(slope_y)
    one = np.float32(1.0)
    at, even, sided = places
    for column in range(places.shape[1]):
        along = np.float32(column)
        px, py = x + along * step_x, y + along * step_y
        inverse = one / (z + along * step_z)
        xx, yy = px * px, py * py
        radial = xx + yy + np.float32(1e-12)
        at[column] = np.sqrt(radial) * inverse * per_step
        # a tilted pixel is nearer or farther than the table takes it to be
        nearer = distance * inverse
        weight = nearer * nearer * nearer
        weight *= max(one + slope_x * px + slope_y * py, np.float32(0.0))
        even[column] = weight
        sided[column] = weight * (xx - yy) / radial


@_compiled
def _diffuse_row(means, places, profile, spots):  # type: ignore[no-untyped-def]
    """Give the means of a row without a shadow."""
    last = len(profile) - 2
    at, even, sided = places
    for column in range(len(means)):
        low = min(int(at[column]), last)
        part = min(at[column] - np.float32(low), np.float32(1.0))
        mean = profile[low, 0] + part * (profile[low + 1, 0] - profile[low, 0])
        across = profile[low, 1] + part * (profile[low + 1, 1] - profile[low, 1])
        means[column] = mean * even[column] + across * sided[column] + spots[column]


@_compiled
def _shadow_row(means, x, y, fast, shadow):  # type: ignore[no-untyped-def]
    """Put the shadow of the beam stop and its arm on the means of a row, in place."""
    stop_x, stop_y, radius, softness = shadow[0], shadow[1], shadow[2], shadow[3]
    # the shadow fades like 1 / (1 + exp), of which nothing is left this far out
    beyond = radius + 12.0 * softness if radius > 0.0 else 0.0
    arm = shadow[5]
    top = y + len(means) * fast[1]
    if arm <= 0.0 and (min(y, top) > stop_y + beyond or max(y, top) < stop_y - beyond):
        return
    for column in range(len(means)):
        dx, dy = x + column * fast[0] - stop_x, y + column * fast[1] - stop_y
        away = dx * dx + dy * dy
        if away < beyond * beyond:
            edge = (np.sqrt(away) - radius) / softness
            means[column] *= shadow[4] + (1.0 - shadow[4]) / (1.0 + np.exp(-edge))
        ahead = dx * shadow[6] + dy * shadow[7] > 0.0
        if ahead and abs(dx * shadow[7] - dy * shadow[6]) < arm:
            means[column] *= shadow[8]
