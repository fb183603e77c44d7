"""Stills of a detector of panels in `.npz`: pixels of each panel, and where each panel is.

The arrays are `panels` (panel, slow, fast), `origin_mm`, `fast` and `slow` (panel, 3), `pixel_mm`
and `wavelength_A`, with axes as DIALS has them: z against the beam, y up. Origins are the outer
corners of first pixels.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import GOOD, Detector
from hpdp_dask.formats.numpy_frames import load_array
from hpdp_dask.formats.stored_frames import StoredFrames

_NEEDED = ("panels", "origin_mm", "fast", "slow", "pixel_mm", "wavelength_A")


def is_panel_still(path: Path) -> bool:
    """Tell whether a file is a still of panels, by the names of its arrays."""
    if path.suffix.lower() != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {f"{name}.npy" for name in _NEEDED} <= set(archive.namelist())


def read_panel_still(path: Path, dataset: str | None = None) -> StoredFrames:
    """Open a still of panels.

    Parameters
    ----------
    path : Path
    dataset : str, optional
        There is one still; it cannot be named.

    Returns
    -------
    StoredFrames
        One frame of ADU, panels one after another along the rows.

    Raises
    ------
    InputError
        The arrays do not belong together.
    """
    if dataset is not None:
        raise InputError(f"{path}: holds one still; leave --dataset out.")
    panels, origin, fast, slow, pixel, wavelength = (load_array(path, name) for name in _NEEDED)
    number = len(panels)
    if panels.ndim != 3 or any(axes.shape != (number, 3) for axes in (origin, fast, slow)):
        raise InputError(
            f"{path}: panels are {panels.shape} and origin_mm {origin.shape}, expected (panel, "
            "slow, fast) and (panel, 3)."
        )
    _, rows, columns = panels.shape
    size = float(pixel)
    down = (np.arange(rows) + 0.5)[None, :, None, None] * size * slow[:, None, None]
    along = (np.arange(columns) + 0.5)[None, None, :, None] * size * fast[:, None, None]
    # z along the beam instead of against it, and so x the other way round
    places = 1e-3 * (origin[:, None, None] + down + along).reshape(number * rows, columns, 3)
    return StoredFrames(
        path=path,
        number=1,
        shape=(number * rows, columns),
        dtype=panels.dtype,
        unit="adu",
        reader=PanelReader(path),
        detector=Detector(
            pixel_x=-places[..., 0],
            pixel_y=places[..., 1],
            pixel_z=-places[..., 2],
            mask=np.full((number * rows, columns), GOOD, np.uint8),
            wavelength=float(wavelength),
            pixel_size=1e-3 * size,
        ),
        columns={"source_file": np.array([str(path)], object), "source_index": np.zeros(1, int)},
        modules=number,
    )


@dataclass(frozen=True)
class PanelReader:
    """Reads the one frame of a still of panels."""

    path: Path

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Read frames from `start` to before `stop`."""
        panels = load_array(self.path, "panels")
        return panels.reshape(1, -1, panels.shape[-1])[start:stop]
