"""From images to a volume: weigh the images, insert them, divide the sums.

The images' transforms, moved to the centre and multiplied by their CTF, are summed into a
grid together with the squares of the CTF (`slices.insert_slices`); the volume is the quotient
with a Wiener term from the FSC of two half-maps. The term is split in two. What it does to
samples with more or less weight than others of their shell is done in the division; what it
does to the shell as a whole is a filter of the finished map, since a filter that is steep on
the fine grid would let strong shells leak into weak ones when the volume is cropped to the box.

References
----------
Scheres 2012, J. Struct. Biol. 180, 519 (weights, Wiener term); Sindelar & Grigorieff 2012,
J. Struct. Biol. 180, 26 (optimal filter).
"""

from __future__ import annotations

import numba
import numpy as np

from hpdp_dask.numerics.arrays import Array, fft_of, namespace
from hpdp_dask.numerics.ctf import CtfCoefficients, evaluate_ctf
from hpdp_dask.numerics.fourier import PADDING, HalfPlane, pack, shift_phases
from hpdp_dask.numerics.shells import shell_indices
from hpdp_dask.numerics.slices import sum_rotated

#: A weight below this share of the mean of its shell counts as that share.
LEAST_WEIGHT = 1e-3


def weigh_images(
    transforms: Array, plane: HalfPlane, shifts: Array, coefficients: CtfCoefficients
) -> Array:
    """Turn transforms of images into contributions to a volume.

    Parameters
    ----------
    transforms : (n, N, N // 2 + 1) array of complex64
        Of `fourier.transform_images`; the noise has the same variance in all.
    plane : HalfPlane
        The samples to take.
    shifts : (n, 2) array
        What to move the images' content by to centre it, x and y, pixels.
    coefficients : CtfCoefficients
        Of the n images.

    Returns
    -------
    (n, m, 3) array of float32
        Real and imaginary part of CTF x image, and CTF².
    """
    if namespace(transforms) is np:
        contributions = np.empty((len(transforms), len(plane), 3), dtype=np.float32)
        moves = np.asarray(shifts, dtype=np.float64)
        _weigh(transforms, plane.x, plane.y, plane.box, moves, coefficients.rows, contributions)
        return contributions
    return weigh_images_reference(transforms, plane, shifts, coefficients)


def weigh_images_reference(
    transforms: Array, plane: HalfPlane, shifts: Array, coefficients: CtfCoefficients
) -> Array:
    """Do as `weigh_images` does, array by array: what runs on the GPU and proves the kernel."""
    xp = namespace(transforms)
    box = plane.box
    ctf = evaluate_ctf(coefficients, xp.asarray(plane.x) / box, xp.asarray(plane.y) / box)
    values = pack(transforms, plane) * shift_phases(plane, xp.asarray(shifts)) * ctf
    return xp.stack([values.real, values.imag, ctf * ctf], axis=-1).astype(xp.float32)


@numba.njit(cache=True, fastmath=True, error_model="numpy", nogil=True)
def _weigh(transforms, x, y, box, shifts, rows, contributions):  # type: ignore[no-untyped-def]
    turn = 2.0 * np.pi
    half = box // 2
    across = np.empty(half + 1, np.complex64)
    down = np.empty(box, np.complex64)
    for i in range(len(transforms)):
        # The shift's phase is a product of one factor for x and one for y; (-1)^(x + y)
        # brings the origin to the central pixel.
        for k in range(half + 1):
            angle = -turn * (k * shifts[i, 0] / box + 0.5 * (k % 2))
            across[k] = np.complex64(complex(np.cos(angle), np.sin(angle)))
        for k in range(-half, half):
            angle = -turn * (k * shifts[i, 1] / box + 0.5 * (k % 2))
            down[k + half] = np.complex64(complex(np.cos(angle), np.sin(angle)))
        xx, xy, yy = rows[i, 0] / turn, rows[i, 1] / turn, rows[i, 2] / turn
        quartic, offset = rows[i, 3] / turn, rows[i, 4] / turn
        for s in range(len(x)):
            u, v = x[s] / box, y[s] / box
            squared = u * u + v * v
            turns = xx * u * u + xy * u * v + yy * v * v + quartic * squared * squared - offset
            turns -= np.rint(turns)
            ctf = -np.sin(np.float32(turn * turns))
            row = y[s] if y[s] >= 0 else y[s] + box
            value = transforms[i, row, x[s]] * (across[x[s]] * down[y[s] + half])
            contributions[i, s, 0] = value.real * ctf
            contributions[i, s, 1] = value.imag * ctf
            contributions[i, s, 2] = ctf * ctf


def complete(accumulator: Array) -> None:
    """Add to the plane x = 0 its conjugate, which `insert_slices` leaves to the end; in place."""
    plane = accumulator[:, :, 0]
    opposite = plane[::-1, ::-1].copy()
    opposite[..., 1] *= -1
    plane += opposite


def symmetrize(accumulator: Array, operators: np.ndarray, padding: int = PADDING) -> Array:
    """Sum an accumulator over a point group.

    Parameters
    ----------
    accumulator : (2 limit + 1, 2 limit + 1, limit + 1, 3) array of float32
        After `complete`.
    operators : (g, 3, 3) ndarray
        Of `symmetry.point_group`.

    Returns
    -------
    array like `accumulator`
        The accumulator itself for the trivial group.
    """
    return accumulator if len(operators) == 1 else sum_rotated(accumulator, operators)


def grid_shells(limit: int, z: int, padding: int = PADDING) -> np.ndarray:
    """Give the shell of the image's box for each sample of one plane of a volume's grid.

    Parameters
    ----------
    limit : int
        Last index of the grid.
    z : int
        Which plane, from -limit to limit.

    Returns
    -------
    (2 limit + 1, limit + 1) ndarray of int64
    """
    y = np.arange(-limit, limit + 1, dtype=np.float64)[:, None]
    x = np.arange(limit + 1, dtype=np.float64)
    return np.rint(np.sqrt(x * x + y * y + float(z) ** 2) / padding).astype(np.int64)


def mean_weights(accumulator: Array, radius: int, padding: int = PADDING) -> np.ndarray:
    """Average the weight over each shell.

    Parameters
    ----------
    accumulator : (2 limit + 1, 2 limit + 1, limit + 1, 3) array of float32
    radius : int
        The last shell.

    Returns
    -------
    (radius + 1,) ndarray of float64
    """
    xp = namespace(accumulator)
    limit = accumulator.shape[2] - 1
    sums, counts = xp.zeros(radius + 1), xp.zeros(radius + 1)
    for z in range(-limit, limit + 1):
        shells = xp.asarray(grid_shells(limit, z, padding)).ravel()
        inside = shells <= radius
        shells = shells[inside]
        weights = accumulator[z + limit, :, :, 2].ravel()[inside]
        sums += xp.bincount(shells, weights=weights, minlength=radius + 1)
        counts += xp.bincount(shells, minlength=radius + 1)
    means = sums / xp.maximum(counts, 1)
    return means if xp is np else means.get()


def divide(
    accumulator: Array, means: np.ndarray, wiener: np.ndarray, padding: int = PADDING
) -> Array:
    """Divide the sums by their weights.

    Parameters
    ----------
    accumulator : (2 limit + 1, 2 limit + 1, limit + 1, 3) array of float32
        After `complete` and `symmetrize`.
    means : (radius + 1,) ndarray
        Mean weight of each shell; beyond the last the transform is zero.
    wiener : (radius + 1,) ndarray
        What to add to the weights of each shell, as a share of its mean: 1 / SSNR. The quotient
        is scaled so that a sample of mean weight keeps its value; `wiener_filter` does the rest.

    Returns
    -------
    (2 limit + 1, 2 limit + 1, limit + 1) array of complex64
        The volume's half-transform.
    """
    xp = namespace(accumulator)
    limit = accumulator.shape[2] - 1
    radius = len(means) - 1
    transform = xp.zeros(accumulator.shape[:3], dtype=xp.complex64)
    scale = np.append(1.0 + wiener, 0.0)
    added = np.append(wiener * means, 0.0)
    least = np.append(LEAST_WEIGHT * means, 1.0)
    # A shell without any weight holds nothing to divide.
    scale[least == 0], least[least == 0] = 0.0, 1.0
    scale, added, least = (xp.asarray(row, dtype=xp.float32) for row in (scale, added, least))
    for z in range(-limit, limit + 1):
        shells = xp.minimum(xp.asarray(grid_shells(limit, z, padding)), radius + 1)
        sums = accumulator[z + limit]
        share = scale[shells] / (xp.maximum(sums[..., 2], least[shells]) + added[shells])
        transform[z + limit].real = sums[..., 0] * share
        transform[z + limit].imag = sums[..., 1] * share
    return transform


def wiener_term(fsc: np.ndarray, joined: bool) -> np.ndarray:
    """Give 1 / SSNR per shell from the FSC of two half-maps.

    Parameters
    ----------
    fsc : (radius + 1,) ndarray
        Of the half-maps; clipped to 0.001..0.999.
    joined : bool
        For the map of all images, whose SSNR is that of a half-map twice.

    Returns
    -------
    (radius + 1,) ndarray of float64
        (1 - FSC) / FSC, halved for the joined map (Scheres 2012, eq. 10; Sindelar &
        Grigorieff 2012).
    """
    clipped = np.clip(np.asarray(fsc, dtype=np.float64), 1e-3, 0.999)
    return (1.0 - clipped) / clipped / (2.0 if joined else 1.0)


def wiener_filter(volume: Array, wiener: np.ndarray) -> Array:
    """Damp each shell of a map as the Wiener term says, by 1 / (1 + 1 / SSNR).

    Parameters
    ----------
    volume : (N, N, N) array of float32
    wiener : (radius + 1,) ndarray
        1 / SSNR of each shell, as `wiener_term` gives it; further shells are zero.

    Returns
    -------
    (N, N, N) array of float32
    """
    xp = namespace(volume)
    fft = fft_of(xp)
    box = volume.shape[0]
    factors = np.zeros(2 * box)
    factors[: len(wiener)] = 1.0 / (1.0 + wiener)
    shells = shell_indices(box, 3, xp)
    return fft.irfftn(
        fft.rfftn(volume) * xp.asarray(factors, dtype=xp.float32)[shells], s=volume.shape
    )
