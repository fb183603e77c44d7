"""Detectors to simulate: flat ones with a gap and a beam stop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpdp_dask.formats.frames import BAD, Detector, flat_detector


def with_shadows(detector: Detector, gap: int = 0, beam_stop: float = 0.0) -> Detector:
    """Mask a gap across the middle of a detector and a beam stop around the beam.

    Parameters
    ----------
    detector : Detector
    gap : int, optional
        Rows of pixels next to y = 0, those nearest first.
    beam_stop : float, optional
        Diameter, pixels.

    Returns
    -------
    Detector
    """
    size = detector.pixel_size
    # half a thousandth of a pixel for rounding
    hidden = np.abs(detector.pixel_y) / size < gap / 2.0 - 5e-4
    hidden |= np.hypot(detector.pixel_x, detector.pixel_y) / size < beam_stop / 2.0
    return replace(detector, mask=np.where(hidden, BAD, detector.mask).astype(np.uint8))


def lcls_detector(shape: tuple[int, int] = (128, 128)) -> Detector:
    """Give a detector like that of the coliphage PR772 at LCLS (CXIDB 58), binned.

    Parameters
    ----------
    shape : tuple of int, optional
        Rows and columns.

    Returns
    -------
    Detector
        Pixels of 0.6 mm at 0.586 m, 7.75 Å; a gap of two rows, a beam stop of 8 pixels.
    """
    return with_shadows(flat_detector(shape, 6e-4, 0.586, 7.75), gap=2, beam_stop=8.0)
