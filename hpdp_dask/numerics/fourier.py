"""Centred half-transforms of images and volumes, and the samples of them that we work on.

Transforms have their origin at the central pixel N//2 of real space and hold one half of the
frequencies, x >= 0; the other half is their conjugate. An image's transform is kept *packed*:
the samples inside a circle, in order of their shell, so that "up to this resolution" is a
slice of the array. A volume's is a grid of `(2 limit + 1, 2 limit + 1, limit + 1)` samples
[z, y, x] with zero frequency at `[limit, limit, 0]`, finer than the image's by the padding.

The sums carry no factor, so the transform of a projection (a sum along z) is the central
slice of the transform of the volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hpdp_dask.numerics.arrays import Array, fft_of, namespace

#: How much finer than the image's the grid of a volume's transform is.
PADDING = 2


@dataclass(frozen=True)
class HalfPlane:
    """The samples of an image's half-transform inside a circle, one of each conjugate pair.

    Attributes
    ----------
    box : int
        Side of the image, pixels; even.
    radius : int
        Largest frequency that is kept, cycles per box.
    x, y : (m,) ndarray of int32
        Frequency of each sample, cycles per box; sorted by shell, then by angle.
    shell : (m,) ndarray of int32
        The nearest whole radius of each sample.
    """

    box: int
    radius: int
    x: np.ndarray
    y: np.ndarray
    shell: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def up_to(self, shell: int) -> int:
        """Count the samples from zero frequency through a shell."""
        return int(np.searchsorted(self.shell, shell, side="right"))


@lru_cache(maxsize=16)
def half_plane(box: int, radius: int | None = None) -> HalfPlane:
    """List the samples of an image's half-transform inside a circle.

    Parameters
    ----------
    box : int
        Side of the image, pixels; even.
    radius : int, optional
        The last shell, cycles per box; by default Nyquist's, `box // 2`, of which all samples
        are taken but those on the edge of the transform, where frequencies alias.

    Returns
    -------
    HalfPlane

    Raises
    ------
    ValueError
        If the box is odd or the radius beyond Nyquist's shell.
    """
    if box % 2:
        raise ValueError(f"the box must be even, not {box}")
    radius = box // 2 if radius is None else radius
    if not 0 < radius <= box // 2:
        raise ValueError(f"the radius must be in 1..{box // 2} for a box of {box}")
    edge = min(radius, box // 2 - 1)
    y, x = np.mgrid[-edge : edge + 1, 0 : edge + 1]
    shell = np.rint(np.hypot(x, y)).astype(np.int32)
    kept = (shell <= radius) & ((x > 0) | (y >= 0))
    x, y, shell = x[kept], y[kept], shell[kept]
    order = np.lexsort((np.arctan2(y, x), shell))
    return HalfPlane(
        box, radius, x[order].astype(np.int32), y[order].astype(np.int32), shell[order]
    )


def transform_images(images: Array) -> Array:
    """Transform images: (n, N, N) real to (n, N, N // 2 + 1) complex64, origin at pixel 0."""
    xp = namespace(images)
    return fft_of(xp).rfft2(xp.asarray(images, dtype=xp.float32))


def pack(transforms: Array, plane: HalfPlane) -> Array:
    """Take the samples of a half-plane out of `transform_images`, origin to the central pixel.

    Parameters
    ----------
    transforms : (n, N, N // 2 + 1) array of complex
    plane : HalfPlane
        Of the same box.

    Returns
    -------
    (n, m) array of complex
    """
    xp = namespace(transforms)
    sign = xp.asarray(centre_sign(plane), dtype=transforms.real.dtype)
    return transforms[:, xp.asarray(plane.y), xp.asarray(plane.x)] * sign


def unpack(samples: Array, plane: HalfPlane) -> Array:
    """Turn packed samples back into images: (n, m) complex to (n, N, N) float32."""
    xp = namespace(samples)
    box = plane.box
    sign = xp.asarray(centre_sign(plane), dtype=xp.float32)
    x, y = xp.asarray(plane.x), xp.asarray(plane.y)
    transforms = xp.zeros((len(samples), box, box // 2 + 1), dtype=xp.complex64)
    transforms[:, y, x] = samples * sign
    on_axis = x == 0
    transforms[:, -y[on_axis], 0] = xp.conj(samples[:, on_axis]) * sign[on_axis]
    return fft_of(xp).irfft2(transforms, s=(box, box)).astype(xp.float32)


def centre_sign(plane: HalfPlane) -> np.ndarray:
    """Give the factor ±1 that moves the origin from pixel 0 to N//2 of an even box."""
    return 1.0 - 2.0 * ((plane.x + plane.y) % 2)


def shift_phases(plane: HalfPlane, shifts: Array) -> Array:
    """Give the factors that translate images.

    Parameters
    ----------
    plane : HalfPlane
    shifts : (n, 2) array
        By how much to move the image's content along x and y, pixels.

    Returns
    -------
    (n, m) array of complex64
        exp(-2 pi i (x, y) . shift / N).
    """
    xp = namespace(shifts)
    frequency = xp.stack([xp.asarray(plane.x), xp.asarray(plane.y)]) / plane.box
    turns = xp.asarray(shifts, dtype=xp.float64) @ frequency
    return xp.exp(-2j * np.pi * (turns - xp.rint(turns))).astype(xp.complex64)


def crop_volume(volume: Array, box: int) -> Array:
    """Sample a volume more coarsely, keeping the values of its transform.

    Parameters
    ----------
    volume : (N, N, N) array
    box : int
        Of the new volume, even, at most N; frequencies from box // 2 on are left out.

    Returns
    -------
    (box, box, box) array of float32
        The centre box // 2 is where N // 2 was; grey values are (N / box)³ times as large.
    """
    xp = namespace(volume)
    if box == len(volume):
        return volume
    fft = fft_of(xp)
    old, half = len(volume), box // 2
    transform = fft.rfftn(xp.asarray(volume, dtype=xp.float32))
    frequencies = xp.arange(-half + 1, half)
    small = xp.zeros((box, box, half + 1), dtype=xp.complex64)
    small[xp.ix_(frequencies % box, frequencies % box, xp.arange(half))] = transform[
        xp.ix_(frequencies % old, frequencies % old, xp.arange(half))
    ]
    return fft.irfftn(small, s=(box, box, box)).astype(xp.float32)


def grid_limit(radius: int, padding: int = PADDING) -> int:
    """Give the last index of a volume's grid that slices up to a shell can touch.

    Samples of the shell lie up to half a cycle beyond it, and each has neighbours.
    """
    return padding * radius + padding // 2 + 1


def gridding_window(box: int, padding: int = PADDING) -> np.ndarray:
    """Give the transform of the trilinear kernel along one axis of the padded grid.

    Parameters
    ----------
    box : int
    padding : int, optional

    Returns
    -------
    (box,) ndarray of float32
        sinc²(x / (padding box)) at each pixel, 1 at the central one.
    """
    x = np.arange(box) - box // 2
    return (np.sinc(x / (padding * box)) ** 2).astype(np.float32)


def _divide_by_window(volume: Array, padding: int) -> Array:
    xp = namespace(volume)
    window = xp.asarray(gridding_window(volume.shape[0], padding))
    return volume / (window[:, None, None] * window[None, :, None] * window)


def transform_volume(volume: Array, radius: int | None = None, padding: int = PADDING) -> Array:
    """Transform a volume for `slices.extract_slices`, its gridding corrected beforehand.

    Parameters
    ----------
    volume : (N, N, N) array of real
        [z, y, x], even box.
    radius : int, optional
        The last shell that will be asked for, cycles per box; N // 2 by default.
    padding : int, optional

    Returns
    -------
    (2 limit + 1, 2 limit + 1, limit + 1) array of complex64
        `limit` of `grid_limit`.
    """
    xp = namespace(volume)
    fft = fft_of(xp)
    box = volume.shape[0]
    limit, size = grid_limit(radius or box // 2, padding), padding * box
    grid = _divide_by_window(xp.asarray(volume, dtype=xp.float32), padding)
    # Origin to index 0, so that zero frequency has phase 0; one axis after the other, keeping
    # of each only the frequencies that are wanted.
    for axis, first in ((2, 0), (1, -limit), (0, -limit)):
        grid = fft.fft(_spread(grid, axis, size), axis=axis)
        grid = xp.take(grid, xp.arange(first, limit + 1) % size, axis=axis)
    return xp.ascontiguousarray(grid, dtype=xp.complex64)


def _spread(grid: Array, axis: int, size: int) -> Array:
    """Pad an axis to `size` with the central element at index 0."""
    xp = namespace(grid)
    grid = xp.moveaxis(grid, axis, 0)
    box = grid.shape[0]
    spread = xp.zeros((size, *grid.shape[1:]), dtype=grid.dtype)
    spread[: box - box // 2] = grid[box // 2 :]
    spread[size - box // 2 :] = grid[: box // 2]
    return xp.moveaxis(spread, 0, axis)


def volume_of(transform: Array, box: int, padding: int = PADDING) -> Array:
    """Turn a volume's half-transform into the volume, gridding corrected.

    Parameters
    ----------
    transform : (2 limit + 1, 2 limit + 1, limit + 1) array of complex
        Its plane x = 0 must be Hermitian; frequencies from padding * box / 2 on are left out.
    box : int
        Side N of the volume, even.
    padding : int, optional

    Returns
    -------
    (N, N, N) array of float32
        [z, y, x].
    """
    xp = namespace(transform)
    fft = fft_of(xp)
    size = padding * box
    limit = transform.shape[2] - 1
    last = min(limit, size // 2 - 1)
    inner = slice(limit - last, limit + last + 1)
    grid = transform[inner, inner, : last + 1]
    frequencies = xp.arange(-last, last + 1) % size
    pixels = xp.arange(-(box // 2), box - box // 2) % size
    # Each axis is cut to the box before the next is transformed: 4/7 of the whole work.
    for axis in (0, 1):
        shape = list(grid.shape)
        shape[axis] = size
        full = xp.zeros(shape, dtype=xp.complex64)
        where: list[Array] = [slice(None)] * 3
        where[axis] = frequencies
        full[tuple(where)] = grid
        grid = xp.take(fft.ifft(full, axis=axis, overwrite_x=True), pixels, axis=axis)
    volume = xp.take(fft.irfft(grid, n=size, axis=2), pixels, axis=2)
    return _divide_by_window(volume, padding).astype(xp.float32)
