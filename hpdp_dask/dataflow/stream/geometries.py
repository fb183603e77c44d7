"""The geometries of files that appear in a folder, told apart."""

from __future__ import annotations

import numpy as np

from hpdp_dask.formats.frames import Detector

#: Of distance and wavelength, relative: motors and monochromators do not come back to the digit.
_TOLERANCE = 1e-3

#: Pixels that a pixel may have moved.
_MOVED = 0.1

#: Pixels that are looked at, along each axis.
_SAMPLES = 5


class Geometries:
    """The geometries that were seen, by number in the order in which they came."""

    def __init__(self) -> None:
        self.detectors: list[Detector | None] = []

    def number_of(self, detector: Detector | None) -> int:
        """Give the number of a geometry, a new one if it was not seen."""
        for number, known in enumerate(self.detectors):
            if same_geometry(known, detector):
                return number
        self.detectors.append(detector)
        return len(self.detectors) - 1


def same_geometry(a: Detector | None, b: Detector | None) -> bool:
    """Tell whether two detectors stand alike, as far as pixels over the whole of them tell.

    Parameters
    ----------
    a, b : Detector or None
    """
    if a is None or b is None or a is b:
        return a is b
    if a.shape != b.shape:
        return False
    if not np.allclose(a.wavelength, b.wavelength, rtol=_TOLERANCE, equal_nan=True):
        return False
    rows, columns = (np.linspace(0, size - 1, _SAMPLES).astype(int) for size in a.shape)
    some = np.ix_(rows, columns)
    moved = _MOVED * (a.pixel_size if np.isfinite(a.pixel_size) else 1e-4)
    return (
        np.allclose(a.pixel_z[some], b.pixel_z[some], rtol=_TOLERANCE, atol=0.0)
        and np.allclose(a.pixel_x[some], b.pixel_x[some], rtol=0.0, atol=moved)
        and np.allclose(a.pixel_y[some], b.pixel_y[some], rtol=0.0, atol=moved)
    )
