"""Images of particles: dust, the background outside a circle, smaller boxes.

Stacks of images are (n, y, x); the centre of an image is the pixel box//2. The background is
what lies farther from it than a radius. Statistics are in float64, images stay float32.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from hpdp_dask.numerics.arrays import Array, fft_of, namespace


def background_mask(box: int, radius: float, xp: ModuleType = np) -> Array:
    """Tell which pixels are background.

    Parameters
    ----------
    box : int
        Edge of the image, pixels.
    radius : float
        Of the circle about the pixel box//2 that holds the particle, pixels.

    Returns
    -------
    (box, box) array of bool
        True outside the circle.
    """
    axis = xp.arange(box, dtype=xp.float64) - box // 2
    return axis[:, None] ** 2 + axis**2 > radius**2


def background_statistics(images: Array, radius: float) -> tuple[Array, Array]:
    """Measure the background of images.

    Parameters
    ----------
    images : (n, box, box) array
    radius : float
        Of the circle that holds the particle, pixels.

    Returns
    -------
    mean, std : (n,) arrays of float64
    """
    xp = namespace(images)
    background = images[:, background_mask(images.shape[-1], radius, xp)]
    return background.mean(axis=1, dtype=xp.float64), background.std(axis=1, dtype=xp.float64)


def subtract_ramp(images: Array, radius: float) -> Array:
    """Subtract the plane a + b x + c y that fits the background best, by least squares.

    Parameters
    ----------
    images : (n, box, box) array
    radius : float
        Of the circle that holds the particle, pixels.

    Returns
    -------
    (n, box, box) array of float32
    """
    xp = namespace(images)
    box = images.shape[-1]
    axis = (xp.arange(box, dtype=xp.float64) - box // 2) / box
    ones = xp.ones((box, box))
    plane = xp.stack([ones, ones * axis, ones * axis[:, None]])
    outside = background_mask(box, radius, xp)
    fitted = plane[:, outside]
    to_coefficients = xp.linalg.solve(fitted @ fitted.T, fitted)
    coefficients = images[:, outside].astype(xp.float64) @ to_coefficients.T
    ramp = (coefficients @ plane.reshape(3, -1)).reshape(images.shape)
    return (images - ramp).astype(xp.float32)


def normalize_background(images: Array, radius: float, *, ramp: bool = True) -> Array:
    """Bring the background of images to mean 0 and standard deviation 1.

    Parameters
    ----------
    images : (n, box, box) array
    radius : float
        Of the circle that holds the particle, pixels.
    ramp : bool, optional
        Subtract a plane fitted to the background beforehand, as RELION does.

    Returns
    -------
    (n, box, box) array of float32
        An image whose background is constant, to the digits of float32, has no scale: it comes
        out as NaN throughout.
    """
    xp = namespace(images)
    rounding = xp.finfo(xp.float32).eps * xp.abs(images).max(axis=(1, 2))
    if ramp:
        images = subtract_ramp(images, radius)
    mean, std = background_statistics(images, radius)
    std = xp.where(std > rounding, std, xp.nan)
    return ((images - mean[:, None, None]) / std[:, None, None]).astype(xp.float32)


def remove_dust(images: Array, sigmas: float) -> Array:
    """Replace pixels far from the mean of their image, hot and dead ones or dirt.

    Mean and standard deviation are those of the whole image, not of the background, so that
    a particle of high contrast is not taken for dust. What is replaced becomes the mean of the
    other pixels, which needs no random numbers and adds no structure.

    Parameters
    ----------
    images : (n, box, box) array
    sigmas : float
        How many standard deviations from the mean, to either side, a pixel may be.

    Returns
    -------
    (n, box, box) array of float32
    """
    xp = namespace(images)
    images = images.astype(xp.float32)
    axes = (1, 2)
    mean = images.mean(axis=axes, dtype=xp.float64, keepdims=True)
    std = images.std(axis=axes, dtype=xp.float64, keepdims=True)
    dust = xp.abs(images - mean) > sigmas * std
    others = xp.where(dust, 0.0, images).sum(axis=axes, dtype=xp.float64, keepdims=True)
    clean = others / xp.maximum(xp.sum(~dust, axis=axes, keepdims=True), 1)
    return xp.where(dust, clean, images).astype(xp.float32)


def fourier_crop(images: Array, box: int) -> Array:
    """Sample images more coarsely: the same field of view in a smaller box.

    Only the frequencies that the smaller box can hold are kept. Grey values stay as they are,
    the mean exactly; the pixel size grows by old box / new box. The centre stays the centre: an
    image of odd box is moved by half a pixel for that.

    Parameters
    ----------
    images : (n, old, old) array
    box : int
        Edge of the new images, pixels: even, and not larger than the old.

    Returns
    -------
    (n, box, box) array of float32

    Raises
    ------
    ValueError
        If the new box is odd, or larger than the old one.
    """
    old = images.shape[-1]
    if box % 2 or not 0 < box <= old:
        raise ValueError(f"the new box must be even and at most {old}, not {box}")
    xp = namespace(images)
    fft = fft_of(xp)
    half = box // 2
    whole = fft.rfft2(images.astype(xp.float32, copy=False))[..., : half + 1]
    if old % 2:  # the centre (old - 1) / 2 goes to where old / 2 was
        y = xp.exp(-1j * xp.pi * xp.fft.fftfreq(old, 1.0 / old) / old)
        x = xp.exp(-1j * xp.pi * xp.arange(half + 1) / old)
        whole = whole * (y[:, None] * x).astype(xp.complex64)
    transforms = xp.concatenate([whole[:, :half], whole[:, old - half :]], axis=1)
    # Frequencies half and -half meet in one row; irfft2 joins those of the last column itself.
    transforms[:, half] = (whole[:, half] + whole[:, old - half]) / 2
    transforms *= (box / old) ** 2
    return fft.irfft2(transforms, s=(box, box))
