"""Shells of Fourier space: sums and means over them, Fourier shell correlation, resolution.

Half transforms are those of `rfftn`: zero frequency first, the last axis (x) from 0 to n//2. The
half that is left out counts as well: every sample stands for itself and its conjugate, but for
those at x = 0 and, in an even box, at x = n//2, whose conjugates are in the same half. Shell s
holds the frequencies whose radius rounds to s, in units of one over the box; shells go from 0
to n//2, what lies outside in the corners is left out. Sums are in float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.arrays import Array, fft_of, namespace, to_host


def shell_radii(box: int, ndim: int, xp: ModuleType = np) -> Array:
    """Give the radius of each sample of a half transform.

    Parameters
    ----------
    box : int
        Edge of the images or the volume, pixels.
    ndim : int
        2 for images, 3 for volumes.
    xp : module, optional
        Where the result lives: numpy or cupy.

    Returns
    -------
    (box, ..., box//2 + 1) array of float64
        In units of one over the box; up to `sqrt(ndim) * box / 2` in the corners.
    """
    full = xp.fft.fftfreq(box, 1.0 / box)
    half = xp.arange(box // 2 + 1, dtype=xp.float64)
    axes = xp.meshgrid(*[full] * (ndim - 1), half, indexing="ij", sparse=True)
    return xp.sqrt(sum(axis * axis for axis in axes))


def shell_indices(box: int, ndim: int, xp: ModuleType = np) -> Array:
    """Tell which shell each sample of a half transform is in: `shell_radii` as integers."""
    return xp.rint(shell_radii(box, ndim, xp)).astype(xp.int64)


def hermitian_weights(box: int, xp: ModuleType = np) -> Array:
    """Tell how many samples of the whole transform each column of a half transform stands for.

    Parameters
    ----------
    box : int
        Edge of the images or the volume, pixels.
    xp : module, optional
        Where the result lives: numpy or cupy.

    Returns
    -------
    (box//2 + 1,) array of float64
        1 for column 0 and, in an even box, for the last; 2 for the others.
    """
    weights = xp.full(box // 2 + 1, 2.0)
    weights[0] = 1.0
    if box % 2 == 0:
        weights[-1] = 1.0
    return weights


def radial_sum(values: Array, ndim: int) -> Array:
    """Add up real values of a half transform over shells, as the whole transform would.

    Parameters
    ----------
    values : (..., box, [box,] box//2 + 1) array
        Real values that are the same at a frequency and its opposite, a power for instance.
    ndim : int
        2 for images, 3 for volumes; axes before them are a batch.

    Returns
    -------
    (..., box//2 + 1) array of float64
    """
    xp = namespace(values)
    box, shells = values.shape[-2], values.shape[-1]
    depth = values.shape[-3] if ndim == 3 else 1
    planes = values.reshape(-1, depth, box, shells)
    batch = xp.arange(len(planes))[:, None, None] * (shells + 1)
    in_plane = shell_radii(box, 2, xp) ** 2
    weights = hermitian_weights(box, xp)
    total = xp.zeros(len(planes) * (shells + 1))
    for z in range(depth):  # by planes, so that the float64 copies stay small
        height = min(z, depth - z)
        shell = xp.rint(xp.sqrt(in_plane + height * height)).astype(xp.int64)
        index = batch + xp.minimum(shell, shells)  # the last bin takes the corners
        total += xp.bincount(index.ravel(), (planes[:, z] * weights).ravel(), minlength=total.size)
    return total.reshape(*values.shape[:-ndim], shells + 1)[..., :-1]


def radial_mean(values: Array, ndim: int) -> Array:
    """Average real values of a half transform over shells, as the whole transform would.

    Parameters
    ----------
    values : (..., box, [box,] box//2 + 1) array
        Real values that are the same at a frequency and its opposite.
    ndim : int
        2 for images, 3 for volumes; axes before them are a batch.

    Returns
    -------
    (..., box//2 + 1) array of float64
    """
    xp = namespace(values)
    count = radial_sum(xp.ones(values.shape[-ndim:], dtype=xp.float32), ndim)
    return radial_sum(values, ndim) / count


def power_spectrum(images: Array, ndim: int) -> Array:
    """Measure the mean power of images or volumes in each shell.

    Parameters
    ----------
    images : (..., [box,] box, box) array
        In real space.
    ndim : int
        2 for images, 3 for volumes; axes before them are a batch.

    Returns
    -------
    (..., box//2 + 1) array of float64
        Mean of `|F|² / box**ndim`: white noise of variance v has the power v in every shell.
    """
    xp = namespace(images)
    transform = fft_of(xp).rfftn(images, axes=tuple(range(-ndim, 0)))
    return radial_mean(_power(transform), ndim) / images.shape[-1] ** ndim


def fourier_shell_correlation(a: Array, b: Array, mask: Array | None = None) -> np.ndarray:
    """Correlate two maps shell by shell.

    Parameters
    ----------
    a, b : (n, n, n) or (n, n) array
        Maps or images in real space.
    mask : array of the same shape, optional
        Multiplies both.

    Returns
    -------
    (n//2 + 1,) ndarray of float64
        `Re sum(A B*) / sqrt(sum |A|² sum |B|²)` (Harauz & van Heel 1986, Optik 73, 146); 0 where
        a map has no power.

    Raises
    ------
    InputError
        If the shapes differ or are not cubes or squares.
    """
    _check_alike(a, b, mask)
    fft = fft_of(namespace(a))
    if mask is not None:
        a, b = a * mask, b * mask
    return _correlate(fft.rfftn(a), fft.rfftn(b))


def shell_correlation_of_pairs(pairs: Iterable[tuple[Array, Array]]) -> np.ndarray:
    """Correlate pairs of maps shell by shell, with the sums over all pairs together.

    Where there is little power in a pair it counts for little.

    Parameters
    ----------
    pairs : iterable of two (n, n, n) or (n, n) arrays
        Maps or images in real space, at least one pair.

    Returns
    -------
    (n//2 + 1,) ndarray of float64
        As `fourier_shell_correlation`, which is that of one pair.

    Raises
    ------
    InputError
        As there.
    """
    sums: np.ndarray | None = None
    for a, b in pairs:
        _check_alike(a, b, None)
        fft = fft_of(namespace(a))
        found = _shell_sums(fft.rfftn(a), fft.rfftn(b))
        sums = found if sums is None else sums + found
    assert sums is not None
    return _normalised(sums)


def resolution_at(fsc: ArrayLike, threshold: float, pixel_size: float, box: int) -> float:
    """Read the resolution off a Fourier shell correlation.

    The rule: the first shell, from 1 on, that is below the threshold ends the resolution; the
    crossing lies on the straight line between that shell and the one before, in shells. Shell 0
    counts as 1. (RELION gives the shell before the crossing, which is coarser by up to a shell.)

    Parameters
    ----------
    fsc : (box//2 + 1,) array_like
        Correlation of the shells 0, 1, ...
    threshold : float
        Between 0 and 1: 0.143 for half-maps, 0.5 against a reference.
    pixel_size : float
        Å.
    box : int
        Edge of the map, pixels.

    Returns
    -------
    float
        Å; that of the last shell if the correlation never falls below the threshold, infinity
        if shell 1 is below it already: the box then has no resolution to read.
    """
    curve = np.array(fsc, dtype=np.float64)
    curve[0] = 1.0
    below = np.flatnonzero(curve < threshold)
    if below.size == 0:
        crossing = float(len(curve) - 1)
    elif below[0] == 1:
        return float("inf")
    else:
        first = int(below[0])
        before, after = curve[first - 1], curve[first]
        crossing = first - 1 + float((before - threshold) / (before - after))
    return box * pixel_size / crossing


@dataclass(frozen=True)
class MaskedFsc:
    """Fourier shell correlations of two half-maps under a mask.

    Attributes
    ----------
    unmasked, masked : (n//2 + 1,) ndarray of float64
        Without and with the mask.
    randomized : (n//2 + 1,) ndarray of float64
        With the mask, after phases were randomised: what the mask alone brings in.
    corrected : (n//2 + 1,) ndarray of float64
        The masked one, freed of that.
    randomized_from : int
        First shell with random phases; n//2 + 1 if there was none.
    """

    unmasked: np.ndarray
    masked: np.ndarray
    randomized: np.ndarray
    corrected: np.ndarray
    randomized_from: int


def corrected_fsc(
    a: Array, b: Array, mask: Array, *, seed: int, randomize_below: float = 0.8
) -> MaskedFsc:
    """Correlate half-maps under a mask and take out the correlation that the mask makes.

    Phases are made random from the first shell on where the unmasked correlation is below
    `randomize_below`; what the masked maps then still correlate, n, is the mask's doing. From two
    shells further on the corrected value is (t - n) / (1 - n) with the masked correlation t, and
    t itself before (Chen et al. 2013, Ultramicroscopy 135, 24).

    Parameters
    ----------
    a, b : (n, n, n) array
        Half-maps.
    mask : (n, n, n) array
        Soft, from 0 to 1.
    seed : int
        Of the random phases.
    randomize_below : float, optional
        RELION's default.

    Returns
    -------
    MaskedFsc

    Raises
    ------
    InputError
        If the shapes differ or are not cubes.
    """
    _check_alike(a, b, mask)
    unmasked = fourier_shell_correlation(a, b)
    masked = fourier_shell_correlation(a, b, mask)
    below = np.flatnonzero(unmasked[1:] < randomize_below)
    start = int(below[0]) + 1 if below.size else len(unmasked)
    generator = np.random.default_rng(seed)
    randomized = fourier_shell_correlation(
        randomize_phases(a, start, generator), randomize_phases(b, start, generator), mask
    )
    corrected = masked.copy()
    beyond = np.arange(len(masked)) >= start + 2
    # A correlation of 1 between random phases leaves nothing to tell.
    told = beyond & (randomized < 1.0 - 1e-6)
    corrected[beyond] = 0.0
    corrected[told] = (masked[told] - randomized[told]) / (1.0 - randomized[told])
    return MaskedFsc(unmasked, masked, randomized, corrected, start)


def randomize_phases(volume: Array, first_shell: int, seed: int | np.random.Generator) -> Array:
    """Replace the phases of a map from one shell on, keeping the amplitudes.

    Parameters
    ----------
    volume : (n, n, n) or (n, n) array
        In real space.
    first_shell : int
        Shells before it keep their phases.
    seed : int or Generator
        Of the phases, which are those of white noise: uniform, and of a real map.

    Returns
    -------
    array like volume, of its precision
    """
    xp = namespace(volume)
    fft = fft_of(xp)
    noise = np.random.default_rng(seed).standard_normal(volume.shape, dtype=np.float32)
    turned = fft.rfftn(xp.asarray(noise))
    transform = fft.rfftn(volume)
    turned *= xp.abs(transform) / xp.maximum(xp.abs(turned), xp.finfo(xp.float32).tiny)
    kept = shell_indices(volume.shape[-1], volume.ndim, xp) < first_shell
    turned[kept] = transform[kept]
    return fft.irfftn(turned, s=volume.shape).astype(volume.dtype, copy=False)


def _power(transform: Array) -> Array:
    return transform.real**2 + transform.imag**2


def _correlate(a: Array, b: Array) -> np.ndarray:
    """Correlate two half transforms shell by shell."""
    return _normalised(_shell_sums(a, b))


def _shell_sums(a: Array, b: Array) -> np.ndarray:
    """Give by shell the sums of the real products of two half transforms, and of their powers."""
    cross = a.real * b.real + a.imag * b.imag
    return np.stack([to_host(radial_sum(each, a.ndim)) for each in (cross, _power(a), _power(b))])


def _normalised(sums: np.ndarray) -> np.ndarray:
    cross, power = sums[0], sums[1] * sums[2]
    return np.divide(cross, np.sqrt(power), out=np.zeros_like(cross), where=power > 0.0)


def _check_alike(a: Array, b: Array, mask: Array | None) -> None:
    if a.ndim not in (2, 3) or len(set(a.shape)) != 1:
        raise InputError(f"A map of shape {a.shape} is not a cube; give one with equal edges.")
    for other, what in ((b, "the second map"), (mask, "the mask")):
        if other is not None and other.shape != a.shape:
            raise InputError(
                f"The first map has the shape {a.shape} and {what} {other.shape}; give maps of "
                "one box."
            )
