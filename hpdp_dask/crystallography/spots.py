"""What the spots of an image say: how many, to which resolution, ice, and whether it is a hit.

The classical answers, beside those of the networks: no training, a few milliseconds an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.columns import Column, measure_images
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import GOOD, Detector
from hpdp_dask.numerics.arrays import Array
from hpdp_dask.numerics.azimuthal import AzimuthalCells, azimuthal_cells, ring_profile
from hpdp_dask.numerics.diffraction import scattering_vectors, solid_angles
from hpdp_dask.numerics.ice_rings import IceRings, find_ice
from hpdp_dask.numerics.lattices import find_lattices
from hpdp_dask.numerics.spot_finding import SpotList, find_spots
from hpdp_dask.numerics.spot_resolution import (
    ResolutionTable,
    SpotResolution,
    resolution_table,
    spot_resolution,
)
from hpdp_dask.stacks.frames import detector_of, open_frames, unit_of

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: A hit has so many spots. Blank images of real detectors have up to two.
FEWEST_SPOTS = 10

#: Spots of larger d, in Å, are the edge of the beam stop.
_COARSEST = 50.0


class SpotFinder(NamedTuple):
    """What all images of a detector share.

    Attributes
    ----------
    cells : AzimuthalCells
    table : ResolutionTable
    place : (3, y, x) ndarray of float32
        Of each pixel, m.
    wavelength : float
        Å.
    """

    cells: AzimuthalCells
    table: ResolutionTable
    place: np.ndarray
    wavelength: float

    def vectors(self, spots: SpotList) -> np.ndarray:
        """Give the scattering vectors of spots: (3, spots), 1/Å."""
        place = _between(self.place, spots.row, spots.column)
        return scattering_vectors(place[0], place[1], place[2], self.wavelength)


def _between(values: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Interpolate (..., y, x) values between the four pixels around places."""
    y = np.clip(row.astype(np.int64), 0, values.shape[-2] - 2)
    x = np.clip(column.astype(np.int64), 0, values.shape[-1] - 2)
    down, right = row - y, column - x
    above = values[..., y, x] * (1.0 - right) + values[..., y, x + 1] * right
    below = values[..., y + 1, x] * (1.0 - right) + values[..., y + 1, x + 1] * right
    return above * (1.0 - down) + below * down


def spot_finder(detector: Detector, name: str) -> SpotFinder:
    """Prepare a detector for finding spots.

    Parameters
    ----------
    detector : Detector
    name : str
        Of the images, for messages.

    Returns
    -------
    SpotFinder

    Raises
    ------
    InputError
        The wavelength is not known, or no pixel is good.
    """
    check_detector(detector, name)
    good = detector.mask == GOOD
    places = detector.pixel_x, detector.pixel_y, detector.pixel_z
    q = scattering_vectors(*places, detector.wavelength)
    return SpotFinder(
        cells=azimuthal_cells(q, good),
        # all pixels of a detector are of one size, whichever it is
        table=resolution_table(q, np.where(good, solid_angles(*places, 1.0), 0.0)),
        place=np.stack(places).astype(np.float32),
        wavelength=detector.wavelength,
    )


def check_detector(detector: Detector, name: str) -> None:
    """Check that spots can be found on a detector.

    Raises
    ------
    InputError
        The wavelength is not known, or no pixel is good.
    """
    if not np.isfinite(detector.wavelength):
        raise InputError(
            f"{name}: no wavelength, which resolutions need; give it with --wavelength."
        )
    if not np.any(detector.mask == GOOD):
        raise InputError(f"{name}: all pixels are masked; give another mask with --mask.")


class SpotAnswer(NamedTuple):
    """What the spots of an image say.

    Attributes
    ----------
    spots : SpotList
        Those that are neither ice nor the edge of the beam stop.
    q : (3, spots) ndarray
        Their scattering vectors, 1/Å.
    ice : IceRings
    resolution : SpotResolution
        NaN for a blank.
    hit : bool
    """

    spots: SpotList
    q: np.ndarray
    ice: IceRings
    resolution: SpotResolution
    hit: bool


def look_for_spots(
    image: Array, finder: SpotFinder, quantum: float | None, fewest: int = FEWEST_SPOTS
) -> SpotAnswer:
    """Find the spots of an image and what they say.

    Parameters
    ----------
    image : (y, x) array
        Photons, or what was read out.
    finder : SpotFinder
    quantum : float or None
        What one photon is in the image: 1 of photons, None where nobody knows.
    fewest : int, optional
        Spots of a hit.

    Returns
    -------
    SpotAnswer
    """
    # a detector's greatest number marks a pixel that overflowed
    highest = float(np.iinfo(image.dtype).max - 1) if image.dtype.kind in "iu" else np.inf
    spots, background = find_spots(image, finder.cells, quantum, highest=highest)
    q = finder.vectors(spots)
    length = np.sqrt((q**2).sum(axis=0))
    ice = find_ice(finder.cells.ring_q, ring_profile(background, finder.cells), length)
    counts = length > 1.0 / _COARSEST
    for first, last in ice.bands:
        counts &= (length < first) | (length > last)
    hit = int(counts.sum()) >= fewest
    resolution = SpotResolution(np.nan, np.nan, np.nan)
    if hit:
        resolution = spot_resolution(length[counts], finder.table, ice.bands)
    return SpotAnswer(spots.take(counts), q[:, counts], ice, resolution, hit)


@dataclass(frozen=True)
class Spots:
    """Spots of each image; a `dataflow.columns.Measure`.

    Gives `spot_count`, Bragg spots without those on ice rings; `spot_resolution`, Å, NaN for a
    blank; `ice_rings` and `ice_score` (`numerics.ice_rings.IceRings`); `spot_hit`, 1 if there are
    enough spots; `spot_intensity`, the sum of all spots, in the units of the images; and
    `lattice_count`, 0 if no lattice is found and -1 if none was looked for.

    Attributes
    ----------
    fewest : int
        Spots of a hit.
    lattices : bool
        Search the hits for lattices, which takes ten times as long.
    """

    fewest: int = FEWEST_SPOTS
    lattices: bool = False

    name: ClassVar[str] = "spots"
    images: ClassVar[tuple[str, ...]] = ("photons", "adu")
    columns: ClassVar[Mapping[str, Column]] = {
        "spot_count": Column(np.int32),
        "spot_resolution": Column(np.float32),
        "ice_rings": Column(np.int32),
        "ice_score": Column(np.float32),
        "spot_hit": Column(np.uint8),
        "spot_intensity": Column(np.float32),
        "lattice_count": Column(np.int8),
    }
    needs: ClassVar[tuple[str, ...]] = ()

    def prepare(self, stack: xr.Dataset) -> SpotFinder:
        """Divide the detector into rings and sectors.

        Raises
        ------
        InputError
            The geometry or the wavelength is missing, or no pixel is good.
        """
        return spot_finder(detector_of(stack), str(stack.attrs.get("path", "the stack")))

    def measure(self, block: xr.Dataset, prepared: SpotFinder) -> dict[str, np.ndarray]:
        """Find the spots of images."""
        unit = unit_of(block)
        quantum = 1.0 if unit == "photons" else None
        found = [
            look_for_spots(image, prepared, quantum, self.fewest) for image in block[unit].values
        ]
        lattices = [self._lattices(answer) for answer in found]
        return spot_columns(found) | {"lattice_count": np.asarray(lattices, np.int8)}

    def _lattices(self, answer: SpotAnswer) -> int:
        if not self.lattices:
            return -1
        return len(find_lattices(answer.q.T)) if answer.hit else 0


def spot_columns(found: list[SpotAnswer]) -> dict[str, np.ndarray]:
    """Give the columns of `Spots` for some images, but the lattices."""
    values = {
        "spot_count": [len(answer.spots.row) for answer in found],
        "spot_resolution": [answer.resolution.best for answer in found],
        "ice_rings": [answer.ice.number for answer in found],
        "ice_score": [answer.ice.score for answer in found],
        "spot_hit": [answer.hit for answer in found],
        "spot_intensity": [answer.spots.intensity.sum() for answer in found],
    }
    return {name: np.asarray(values[name], Spots.columns[name].dtype) for name in values}


def find_spots_of_stack(
    stack_path: str | Path,
    measure: Spots,
    *,
    client: Client | None = None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Find the spots of all frames of a stack, and add what they say to it.

    Parameters
    ----------
    stack_path : str or Path
    measure : Spots
    client, overwrite, history, progress
        As for `dataflow.columns.measure_images`.

    Returns
    -------
    pandas.DataFrame
        The columns that were added.

    Raises
    ------
    InputError
        The stack has no geometry or wavelength, no pixel is good, or it has spots; before any work.
    """
    import pandas as pd

    check_detector(detector_of(open_frames(stack_path)), str(stack_path))
    measure_images(
        stack_path,
        [measure],
        client=client,
        overwrite=overwrite,
        history=history,
        progress=progress,
    )
    stack = open_frames(stack_path)
    return pd.DataFrame({name: stack[name].values for name in measure.columns})
