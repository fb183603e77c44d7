"""What is counted without a particle, and pixels that do not work."""

from __future__ import annotations

import numpy as np

from hpdp_dask.formats.frames import GOOD, Detector
from hpdp_dask.numerics.diffraction import polarization_factor, solid_angles
from hpdp_dask.spi.simulate.settings import Background

#: What a pixel does: it works; it reads nothing; it reads much too much.
WORKS, DARK, HOT = 0, 1, 2

#: Scatter around the beam falls to about a third at this share of the detector's half width, and a
#: streak is this wide.
_HALO, _STREAK = 0.25, 0.03


def true_background(detector: Detector, background: Background, live: np.ndarray) -> np.ndarray:
    """Give the mean photons of a frame without a particle.

    Parameters
    ----------
    detector : Detector
    background : Background
    live : (y, x) ndarray of bool
        Pixels that count photons.

    Returns
    -------
    (y, x) ndarray of float32
        The sum of scatter along the beam line, falling with the third power of the distance from
        the beam far from it, a horizontal streak through it, and even fluorescence, with the
        solid angle and, but for the fluorescence, the polarisation of the pixels.
    """
    place = detector.pixel_x, detector.pixel_y, detector.pixel_z
    angle = solid_angles(*place, detector.pixel_size)
    across, up = detector.pixel_x / detector.pixel_z, detector.pixel_y / detector.pixel_z
    good = detector.mask == GOOD
    width = max(np.abs(across[good]).max(), np.abs(up[good]).max(), 1e-9)
    scattered = angle * polarization_factor(*place, detector.polarization)
    halo = scattered * (1.0 + (np.hypot(across, up) / (_HALO * width)) ** 2) ** -1.5
    streak = scattered / (1.0 + (up / (_STREAK * width)) ** 2)
    streak *= np.exp(-np.abs(across) / width)
    parts = (
        (background.beam_line, halo),
        (background.streak, streak),
        (1.0 - background.beam_line - background.streak, angle),
    )
    total = sum(share * part / part[good].mean() for share, part in parts)
    return np.where(live, background.photons * total, 0.0).astype(np.float32)


def draw_dead_pixels(shape: tuple[int, int], share: float, rng: np.random.Generator) -> np.ndarray:
    """Draw which pixels do not work: (y, x) uint8 of `WORKS`, `DARK`, `HOT`."""
    drawn = rng.random(shape)
    return np.select([drawn < share / 2.0, drawn < share], [DARK, HOT], WORKS).astype(np.uint8)
