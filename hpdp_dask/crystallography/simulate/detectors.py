"""Detectors that stills are simulated for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hpdp_dask.numerics.quadrants import pooling_factor


@dataclass(frozen=True)
class DetectorModel:
    """A flat detector of equal modules.

    Attributes
    ----------
    rows, columns : int
        Pixels.
    pixel_size : float
        Edge of a pixel, m.
    module_rows, module_columns : int
        Pixels of a module; 0: the detector is of one piece.
    gap_rows, gap_columns : int
        Pixels between modules.
    sensor : float
        Depth of the sensor, m, for parallax.
    blur : tuple of float
        Range of the standard deviation of the point spread with the beam on the crystal, pixels.
    pedestal : tuple of float
        Range of counts of every pixel; (0, 0) for detectors that count photons.
    """

    rows: int
    columns: int
    pixel_size: float
    module_rows: int = 0
    module_columns: int = 0
    gap_rows: int = 0
    gap_columns: int = 0
    sensor: float = 4.5e-4
    blur: tuple[float, float] = (0.25, 0.7)
    pedestal: tuple[float, float] = (0.0, 0.0)

    @property
    def shape(self) -> tuple[int, int]:
        """Give rows and columns."""
        return self.rows, self.columns

    @property
    def factor(self) -> int:
        """Give how many pixels make the edge of a cell of a quadrant."""
        return pooling_factor(max(self.shape))

    def good_rows(self) -> np.ndarray:
        """Tell which rows are no gaps: (rows,) bool."""
        return _inside(self.rows, self.module_rows, self.gap_rows)

    def good_columns(self) -> np.ndarray:
        """Tell which columns are no gaps: (columns,) bool."""
        return _inside(self.columns, self.module_columns, self.gap_columns)


def _inside(length: int, module: int, gap: int) -> np.ndarray:
    if not module:
        return np.ones(length, np.bool_)
    return np.arange(length) % (module + gap) < module


#: What can be asked for by name; modules and gaps from the makers' manuals.
DETECTORS: Mapping[str, DetectorModel] = {
    "pilatus-6m": DetectorModel(2527, 2463, 172e-6, 195, 487, 17, 7),
    "pilatus-2m": DetectorModel(1679, 1475, 172e-6, 195, 487, 17, 7),
    "eiger-16m": DetectorModel(4371, 4150, 75e-6, 514, 1030, 37, 10, blur=(0.5, 1.4)),
    "eiger-9m": DetectorModel(3269, 3110, 75e-6, 514, 1030, 37, 10, blur=(0.5, 1.4)),
    "eiger-4m": DetectorModel(2167, 2070, 75e-6, 514, 1030, 37, 10, blur=(0.5, 1.4)),
    "ccd-4096": DetectorModel(
        4096, 4096, 73.2e-6, sensor=5e-5, blur=(1.0, 2.0), pedestal=(5.0, 40.0)
    ),
    "ccd-3840": DetectorModel(
        3840, 3840, 78.1e-6, sensor=5e-5, blur=(1.0, 2.0), pedestal=(5.0, 40.0)
    ),
}
