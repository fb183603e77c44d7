"""The kernel of `bragg_spots`: along lines of the reciprocal lattice through the Ewald sphere."""

from __future__ import annotations

import numba
import numpy as np

from hpdp_dask.numerics.counter_random import random_uniform

#: How far from the sphere, standard deviations, a point is still taken.
REACH = 4.5

#: Pixels beyond the edge from which a spot still reaches in.
_MARGIN = 24.0

_compiled = numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_compiled
def collect_spots(  # type: ignore[no-untyped-def]
    vectors,
    star,
    shape,
    order,
    settings,
    origin,
    fast,
    slow,
    rows,
    columns,
    profile,
    key,
    tabulated,
    table,
    spots,
):
    """Go along lines of the reciprocal lattice through the Ewald sphere; give how many spots."""
    k, smallest, largest, reach = settings[0], settings[1], settings[2], settings[3]
    edge = np.sqrt((vectors**2).sum(axis=1))
    first, second = int(largest * edge[0]), int(largest * edge[1])
    step = star[2]
    step_squared = (step**2).sum()
    index = np.empty(3, np.int64)
    found = 0
    for u in range(-first, first + 1):
        for v in range(-second, second + 1):
            x = u * star[0, 0] + v * star[1, 0]
            y = u * star[0, 1] + v * star[1, 1]
            z = u * star[0, 2] + v * star[1, 2] + k
            along = (x * step[0] + y * step[1] + z * step[2]) / step_squared
            across = x * x + y * y + z * z - along * along * step_squared
            outer = ((k + reach) ** 2 - across) / step_squared
            if outer <= 0.0:
                continue
            inner = ((k - reach) ** 2 - across) / step_squared
            far = np.sqrt(outer)
            near = np.sqrt(inner) if inner > 0.0 else 0.0
            for side in range(2 if inner > 0.0 else 1):
                if inner <= 0.0:
                    start, stop = -along - far, -along + far
                elif side == 0:
                    start, stop = -along - far, -along - near
                else:
                    start, stop = -along + near, -along + far
                for w in range(int(np.ceil(start)), int(np.floor(stop)) + 1):
                    gx = x + w * step[0]
                    gy = y + w * step[1]
                    gz = z + w * step[2] - k
                    squared = gx * gx + gy * gy + gz * gz
                    if squared > largest * largest or squared < smallest * smallest:
                        continue
                    if u == 0 and v == 0 and w == 0:
                        continue
                    index[order[0]], index[order[1]], index[order[2]] = u, v, w
                    found += _spot(
                        gx,
                        gy,
                        gz,
                        squared,
                        index,
                        shape,
                        settings,
                        origin,
                        fast,
                        slow,
                        rows,
                        columns,
                        profile,
                        key,
                        tabulated,
                        table,
                        spots,
                        found,
                    )
    return found


@_compiled
def _spot(  # type: ignore[no-untyped-def]
    gx,
    gy,
    gz,
    squared,
    index,
    shape,
    settings,
    origin,
    fast,
    slow,
    rows,
    columns,
    profile,
    key,
    tabulated,
    table,
    spots,
    place,
):
    """Work out the spot of one reflection; give 1 if there is one, and write it if it fits."""
    k = settings[0]
    nx, ny, nz = gx, gy, gz + k
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    miss = length - k
    nx, ny, nz = nx / length, ny / length, nz / length
    # the plane: its normal is fast x slow, pixel_size² long
    px = fast[1] * slow[2] - fast[2] * slow[1]
    py = fast[2] * slow[0] - fast[0] * slow[2]
    pz = fast[0] * slow[1] - fast[1] * slow[0]
    pixel_squared = fast[0] ** 2 + fast[1] ** 2 + fast[2] ** 2
    facing = nx * px + ny * py + nz * pz
    away = origin[0] * px + origin[1] * py + origin[2] * pz
    if facing * away <= 0.0:
        return 0
    far = away / facing
    dx, dy, dz = far * nx - origin[0], far * ny - origin[1], far * nz - origin[2]
    column = (dx * fast[0] + dy * fast[1] + dz * fast[2]) / pixel_squared
    row = (dx * slow[0] + dy * slow[1] + dz * slow[2]) / pixel_squared
    if not (-_MARGIN < column < columns + _MARGIN and -_MARGIN < row < rows + _MARGIN):
        return 0

    mosaic, divergence, bandwidth = settings[4], settings[5], settings[6]
    even = mosaic * squared
    pull = bandwidth - mosaic
    cxx = shape[0, 0] + even + divergence + pull * gx * gx
    cyy = shape[1, 1] + even + divergence + pull * gy * gy
    czz = shape[2, 2] + even + pull * gz * gz
    cxy = shape[0, 1] + pull * gx * gy
    cxz = shape[0, 2] + pull * gx * gz
    cyz = shape[1, 2] + pull * gy * gz
    ex = cxx * nx + cxy * ny + cxz * nz
    ey = cxy * nx + cyy * ny + cyz * nz
    ez = cxz * nx + cyz * ny + czz * nz
    thickness = nx * ex + ny * ey + nz * ez
    off = miss * miss / thickness
    if off > REACH * REACH:
        return 0

    strength = _strength(index, squared, profile, settings[13], key, tabulated, table)
    # cofactors of C, which is symmetric
    ixx = cyy * czz - cyz * cyz
    ixy = cxz * cyz - cxy * czz
    ixz = cxy * cyz - cxz * cyy
    iyy = cxx * czz - cxz * cxz
    iyz = cxy * cxz - cxx * cyz
    izz = cxx * cyy - cxy * cxy
    determinant = cxx * ixx + cxy * ixy + cxz * ixz
    peak = settings[9] * strength * np.sqrt(settings[14] / determinant)
    peak *= np.exp(-0.5 * off - 0.5 * settings[8] * squared)

    # the brightest point of the cut
    shift = miss / thickness
    nx, ny, nz = gx - shift * ex, gy - shift * ey, gz - shift * ez + k
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx / length, ny / length, nz / length
    facing = nx * px + ny * py + nz * pz
    far = away / facing
    dx, dy, dz = far * nx - origin[0], far * ny - origin[1], far * nz - origin[2]
    column = (dx * fast[0] + dy * fast[1] + dz * fast[2]) / pixel_squared
    row = (dx * slow[0] + dy * slow[1] + dz * slow[2]) / pixel_squared

    # solid angle (the normal is as long as a pixel is large) and polarisation
    peak *= np.abs(facing) / (far * far)
    sine_squared = nx * nx + ny * ny
    if settings[15] > 0.0:
        peak *= 0.5 * (2.0 - sine_squared - settings[7] * (nx * nx - ny * ny))
    if not peak > settings[12]:
        return 0

    # q changes with the pixel across the scattered beam
    scale = k / far
    along = (fast[0] * nx + fast[1] * ny + fast[2] * nz) * scale
    ax, ay, az = (
        fast[0] * scale - along * nx,
        fast[1] * scale - along * ny,
        fast[2] * scale - along * nz,
    )
    along = (slow[0] * nx + slow[1] * ny + slow[2] * nz) * scale
    bx, by, bz = (
        slow[0] * scale - along * nx,
        slow[1] * scale - along * ny,
        slow[2] * scale - along * nz,
    )
    tx = ixx * ax + ixy * ay + ixz * az
    ty = ixy * ax + iyy * ay + iyz * az
    tz = ixz * ax + iyz * ay + izz * az
    mxx = (ax * tx + ay * ty + az * tz) / determinant
    mxy = (bx * tx + by * ty + bz * tz) / determinant
    tx = ixx * bx + ixy * by + ixz * bz
    ty = ixy * bx + iyy * by + iyz * bz
    tz = ixz * bx + iyz * by + izz * bz
    myy = (bx * tx + by * ty + bz * tz) / determinant
    sharp = mxx * myy - mxy * mxy

    blur, drawn_out = settings[10], settings[11] * sine_squared / (nz * nz) / pixel_squared
    if blur > 0.0 or drawn_out > 0.0:
        vxx, vxy, vyy = myy / sharp, -mxy / sharp, mxx / sharp
        # along the radius, as seen in the detector's axes
        rx = (nx * fast[0] + ny * fast[1]) / np.sqrt(pixel_squared)
        ry = (nx * slow[0] + ny * slow[1]) / np.sqrt(pixel_squared)
        radius = rx * rx + ry * ry
        if radius > 0.0:
            drawn_out /= radius
        vxx += blur + drawn_out * rx * rx
        vxy += drawn_out * rx * ry
        vyy += blur + drawn_out * ry * ry
        broad = vxx * vyy - vxy * vxy
        peak /= np.sqrt(broad * sharp)
        if not peak > settings[12]:
            return 0
        mxx, mxy, myy = vyy / broad, -vxy / broad, vxx / broad
    if place < len(spots):
        spots[place, 0] = column
        spots[place, 1] = row
        spots[place, 2] = mxx
        spots[place, 3] = mxy
        spots[place, 4] = myy
        spots[place, 5] = peak
        spots[place, 6] = 1.0 / np.sqrt(squared)
    return 1


@_compiled
def _strength(  # type: ignore[no-untyped-def]
    index, squared, profile, step, key, tabulated, table
):
    """Give |F|² of a reflection, electrons²."""
    if tabulated:
        h = index[0] + table.shape[0] // 2
        k = index[1] + table.shape[1] // 2
        l = index[2] + table.shape[2] // 2  # noqa: E741 - the field's own name
        inside = 0 <= h < table.shape[0] and 0 <= k < table.shape[1] and 0 <= l < table.shape[2]
        return float(table[h, k, l]) if inside else 0.0
    # one of the two Friedel mates
    sign = 1
    for axis in range(3):
        if index[axis] != 0:
            sign = 1 if index[axis] > 0 else -1
            break
    packed = (sign * index[0] + 32768) * 65536 + (sign * index[1] + 32768)
    packed = packed * 65536 + (sign * index[2] + 32768)
    at = squared / step
    low = min(int(at), len(profile) - 2)
    part = min(at - low, 1.0)
    mean = profile[low] * (1.0 - part) + profile[low + 1] * part
    return -mean * np.log(random_uniform(key, np.uint64(packed)))
