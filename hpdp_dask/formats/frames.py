"""What a reader of detector frames gives, whatever the format: a source and its detector.

The laboratory frame is CrystFEL's and extra_geom's: the sample at the origin, z along the beam,
y up, x completing a right-handed frame. Positions are in metres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

Polarization = Literal["x", "y", "none"]

#: What a pixel of a mask says, as in Dragonfly: all stages but merging use the good ones alone.
GOOD, MERGE_ONLY, BAD = 0, 1, 2

#: Photon energy times wavelength, eV Å.
ENERGY_WAVELENGTH = 12398.4198


@dataclass(frozen=True)
class Detector:
    """Where the pixels are, and what is known of the beam.

    Attributes
    ----------
    pixel_x, pixel_y, pixel_z : (y, x) ndarray of float64
        Centre of each pixel, m. Modules lie one after another along y, wherever they stand.
    mask : (y, x) ndarray of uint8
        0 good; 1 good for merging, not used otherwise; 2 bad.
    wavelength : float
        Å; NaN if not known.
    pixel_size : float
        Edge of a pixel, m; NaN if not known.
    polarization : {"x", "y", "none"}
        Direction of the beam's electric field.
    """

    pixel_x: np.ndarray
    pixel_y: np.ndarray
    pixel_z: np.ndarray
    mask: np.ndarray
    wavelength: float = float("nan")
    pixel_size: float = float("nan")
    polarization: Polarization = "x"

    @property
    def shape(self) -> tuple[int, int]:
        """Give rows and columns."""
        rows, columns = self.mask.shape
        return rows, columns

    @property
    def distance(self) -> float:
        """Give the distance from the sample along the beam, m: the median of the pixels."""
        if self.pixel_z.strides == (0, 0):  # one number for all, as `flat_detector` has it
            return abs(float(self.pixel_z[0, 0]))
        return float(np.median(np.abs(self.pixel_z)))


class FrameSource(Protocol):
    """Frames of a file or a run. It opens files itself where it is asked, and can be pickled."""

    @property
    def path(self) -> Path:
        """Where the frames come from, for messages."""

    @property
    def number(self) -> int:
        """Frames."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""

    @property
    def dtype(self) -> np.dtype:
        """Of what `read` gives."""

    @property
    def unit(self) -> Literal["photons", "adu"]:
        """What the numbers are."""

    @property
    def detector(self) -> Detector | None:
        """Geometry, mask and beam; None if nothing is known."""

    @property
    def columns(self) -> Mapping[str, np.ndarray]:
        """What is known of each frame, under the names of `stacks.frame_schema`."""

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know: a missing module, a column that is left out."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read frames that follow each other.

        Returns
        -------
        (stop - start, y, x) ndarray
        """


def flat_detector(
    shape: tuple[int, int],
    pixel_size: float,
    distance: float,
    wavelength: float = float("nan"),
    *,
    center: tuple[float, float] | None = None,
    mask: np.ndarray | None = None,
    polarization: Polarization = "x",
) -> Detector:
    """Make a flat detector across the beam.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    pixel_size : float
        Edge of a pixel, m.
    distance : float
        From the sample, m.
    wavelength : float, optional
        Å.
    center : tuple of float, optional
        Where the beam meets it: column and row, pixels from the centre of the first; by default
        the middle.
    mask : (y, x) ndarray of int, optional
        0 good, 1 good for merging alone, 2 bad; by default all are good.
    polarization : {"x", "y", "none"}, optional

    Returns
    -------
    Detector
        Rows go up with y, CrystFEL's default. Positions are views that cannot be written to: a
        detector of 16 million pixels would need 400 MB for them, and a data set has one each.
    """
    rows, columns = shape
    x, y = ((columns - 1) / 2, (rows - 1) / 2) if center is None else center
    return Detector(
        pixel_x=np.broadcast_to((np.arange(columns) - x) * pixel_size, shape),
        pixel_y=np.broadcast_to(((np.arange(rows) - y) * pixel_size)[:, None], shape),
        pixel_z=np.broadcast_to(np.float64(distance), shape),
        mask=np.zeros(shape, np.uint8) if mask is None else mask.astype(np.uint8),
        wavelength=float(wavelength),
        pixel_size=float(pixel_size),
        polarization=polarization,
    )
