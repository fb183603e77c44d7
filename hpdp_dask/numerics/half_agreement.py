"""What two volumes from independent halves of the images have in common, place by place."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from hpdp_dask.numerics.shells import fourier_shell_correlation

#: Bands of frequencies that the halves are compared in.
_BANDS = 9

#: Standard deviation of the window they are compared in, wavelengths of the band; and at least,
#: voxels.
_WINDOW, _NARROWEST = 0.5, 1.5


def shared_parts(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take from two volumes what they do not share, band by band and place by place.

    Wiener's filter with the correlation of the halves in the place of the signal's share, as it
    is usual by shell for maps (Rosenthal & Henderson 2003, J. Mol. Biol. 333, 721, equations 10
    to 13), in a window about each voxel: what varies is in few places, and by shell the noise of
    all others would drown it.

    Parameters
    ----------
    first, second : (N, N, N) ndarray
        With the same signal and noise of their own, about alike.

    Returns
    -------
    halves : (2, N, N, N) ndarray of float32
        What is likely to be signal by the one alone, and by the other.
    joined : (N, N, N) ndarray of float32
        By both together.
    """
    box = len(first)
    step = (box // 2) / (_BANDS - 1)
    whole, edge = np.fft.fftfreq(box, 1 / box), np.arange(box // 2 + 1)
    radius = np.sqrt(whole[:, None, None] ** 2 + whole[None, :, None] ** 2 + edge**2)
    transforms = [np.fft.rfftn(each) for each in (first, second)]
    halves = np.zeros((2, *first.shape), np.float32)
    joined = np.zeros(first.shape, np.float32)
    for band in range(_BANDS):
        # triangles, so that the sum of all bands is 1 at every frequency inside the circle
        share = np.clip(1.0 - np.abs(radius / step - band), 0.0, 1.0)
        one, other = (
            np.fft.irfftn(each * share, s=first.shape, axes=(0, 1, 2)) for each in transforms
        )
        width = max(_WINDOW * box / max(step * band, 0.5 * step), _NARROWEST)
        common = gaussian_filter(one * other, width, mode="constant")
        power = gaussian_filter(0.5 * (one**2 + other**2), width, mode="constant")
        correlation = np.clip(common / np.maximum(power, 1e-12 * power.max() + 1e-300), 0.0, 1.0)
        halves += (correlation * np.stack([one, other])).astype(np.float32)
        joined += (correlation / (1.0 + correlation) * (one + other)).astype(np.float32)
    return halves, joined


def last_shared_shell(first: np.ndarray, second: np.ndarray, least: float) -> int:
    """Give the last shell in which two volumes correlate, over it and its neighbours.

    Parameters
    ----------
    first, second : (N, N, N) ndarray
    least : float
        Correlation, above 0.

    Returns
    -------
    int
        At least 1.
    """
    fsc = fourier_shell_correlation(first, second)
    near = np.convolve(fsc, np.full(3, 1 / 3), mode="same")
    return max(1, int(np.flatnonzero(near > least).max(initial=1)))
