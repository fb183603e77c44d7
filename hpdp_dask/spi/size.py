"""The size of particles: a form factor fitted to each frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.columns import Column, measure_images
from hpdp_dask.dataflow.progress import Progress
from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import GOOD, Detector
from hpdp_dask.numerics.diffraction import (
    polarization_factor,
    scattering_vectors,
    solid_angles,
)
from hpdp_dask.numerics.polar import PolarCells, gather, polar_cells
from hpdp_dask.numerics.size_tables import (
    FormFactor,
    SizeTable,
    icosahedron_form_factor,
    possible_diameters,
    size_table,
    sphere_form_factor,
)
from hpdp_dask.numerics.sphere_fit import fit_sizes
from hpdp_dask.numerics.spheroid_fit import SpheroidTable, fit_spheroids, spheroid_table
from hpdp_dask.stacks.frames import detector_of, open_frames

if TYPE_CHECKING:
    from distributed import Client

Shape = Literal["sphere", "icosahedron"]

FORM_FACTORS: Mapping[str, FormFactor] = {
    "sphere": sphere_form_factor,
    "icosahedron": icosahedron_form_factor,
}

#: Of polar cells, over half a turn.
ANGLES = 32

#: What a fit gives for each frame.
SIZE_COLUMNS: Mapping[str, Column] = {
    "particle_size": Column(np.float32),
    "size_error": Column(np.float32),
    "size_score": Column(np.float32),
}


class PreparedSize(NamedTuple):
    """What all frames of a stack share.

    Attributes
    ----------
    cells : PolarCells
    table : SizeTable
    background : (rings, angles) ndarray
        Shape of the background in the cells.
    """

    cells: PolarCells
    table: SizeTable
    background: np.ndarray


@dataclass(frozen=True)
class SphereSize:
    """Diameter of the sphere that scatters like the particle; a `dataflow.columns.Measure`.

    Gives `particle_size`, diameter of the sphere of equal volume, and `size_error`, one standard
    deviation by the photons, both in Å and NaN for a frame without photons; and `size_score` from
    0 to 1 (see `numerics.sphere_fit.SizeFit`).

    Attributes
    ----------
    shape : {"sphere", "icosahedron"}
        Of the form factor; that of an icosahedron is averaged over orientations.
    smallest, largest : float or None
        Limits of the diameter, Å; by default what the detector can tell.
    """

    shape: Shape = "sphere"
    smallest: float | None = None
    largest: float | None = None

    name: ClassVar[str] = "size"
    columns: ClassVar[Mapping[str, Column]] = SIZE_COLUMNS
    needs: ClassVar[tuple[str, ...]] = ()

    def prepare(self, stack: xr.Dataset) -> PreparedSize:
        """Divide the detector into polar cells and compute the patterns of all sizes.

        Raises
        ------
        InputError
            The geometry or the wavelength is missing, no pixel is good, or the limits leave no
            size.
        """
        return self.prepare_on(1, stack)

    def prepare_on(self, angles: int, stack: xr.Dataset) -> PreparedSize:
        """Do as `prepare`, with polar cells of so many angles: sizes are of whole rings."""
        cells, diameters, background = _prepare(stack, angles, self.smallest, self.largest)
        table = size_table(cells, diameters, FORM_FACTORS[self.shape], background)
        return PreparedSize(cells, table, cells.spread(background))

    def measure(self, block: xr.Dataset, prepared: PreparedSize) -> dict[str, np.ndarray]:
        """Fit the sizes of frames."""
        polar = gather(block["photons"].values, prepared.cells)
        fit = fit_sizes(polar.sum(axis=2), prepared.table)
        return {
            "particle_size": fit.diameter,
            "size_error": fit.error,
            "size_score": fit.score,
        }


@dataclass(frozen=True)
class SpheroidSize:
    """Shadow of an elongated particle; a `dataflow.columns.Measure`.

    Gives `particle_size`, diameter of the circle of the shadow's area, `size_error` and
    `size_score` as `SphereSize` does; `particle_elongation`, the shadow's long over its short
    diameter; and `particle_direction` of the long one, degrees from x towards y.

    Attributes
    ----------
    smallest, largest : float or None
        Limits of the diameter, Å; by default what the detector can tell.
    """

    smallest: float | None = None
    largest: float | None = None

    name: ClassVar[str] = "size"
    columns: ClassVar[Mapping[str, Column]] = {
        **SIZE_COLUMNS,
        "particle_elongation": Column(np.float32),
        "particle_direction": Column(np.float32),
    }
    needs: ClassVar[tuple[str, ...]] = ()

    def prepare(self, stack: xr.Dataset) -> tuple[PolarCells, SpheroidTable]:
        """Do as `SphereSize.prepare`."""
        cells, diameters, background = _prepare(stack, ANGLES, self.smallest, self.largest)
        return cells, spheroid_table(cells, diameters, background)

    def measure(
        self, block: xr.Dataset, prepared: tuple[PolarCells, SpheroidTable]
    ) -> dict[str, np.ndarray]:
        """Fit the shadows of frames."""
        cells, table = prepared
        fit = fit_spheroids(gather(block["photons"].values, cells), table)
        return {
            "particle_size": fit.diameter,
            "size_error": fit.error,
            "size_score": fit.score,
            "particle_elongation": fit.elongation,
            "particle_direction": fit.direction,
        }


def size_measure(
    shape: str, smallest: float | None = None, largest: float | None = None
) -> SphereSize | SpheroidSize:
    """Give the measure of sizes for a shape: sphere, icosahedron or spheroid.

    Raises
    ------
    InputError
        There is no such shape, or the limits are none.
    """
    if shape not in (*FORM_FACTORS, "spheroid"):
        raise InputError(f"The shape {shape!r} is not known; give sphere, icosahedron or spheroid.")
    for limit in (smallest, largest):
        if limit is not None and not 0.0 < limit < np.inf:
            raise InputError(f"A particle of {limit:g} Å cannot be; give a diameter above 0 Å.")
    if smallest is not None and largest is not None and smallest >= largest:
        raise InputError(
            f"The smallest diameter, {smallest:g} Å, is not below the largest, {largest:g} Å."
        )
    if shape == "spheroid":
        return SpheroidSize(smallest, largest)
    return SphereSize("icosahedron" if shape == "icosahedron" else "sphere", smallest, largest)


class SizeSummary(NamedTuple):
    """Sizes of a stack in a few numbers.

    Attributes
    ----------
    number : int
        Frames.
    sized : int
        Frames whose size has a score of a half or more.
    quartiles : (3,) ndarray
        Of the diameters of those, Å; NaN if there are none.
    median : float
        Of all diameters, Å.
    """

    number: int
    sized: int
    quartiles: np.ndarray
    median: float


def find_sizes(
    stack_path: str | Path,
    measure: SphereSize | SpheroidSize,
    *,
    client: Client | None = None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> SizeSummary:
    """Find the size of the particle in each frame of a stack, and add it to the stack.

    Parameters
    ----------
    stack_path : str or Path
    measure : SphereSize or SpheroidSize
    client, overwrite, history, progress
        As for `dataflow.columns.measure_images`.

    Returns
    -------
    SizeSummary

    Raises
    ------
    InputError
        The stack has no photons, geometry or wavelength, or has sizes; before any work.
    """
    check_sizes(open_frames(stack_path), measure.smallest, measure.largest)
    measure_images(
        stack_path,
        [measure],
        client=client,
        overwrite=overwrite,
        history=history,
        progress=progress,
    )
    return summarize_sizes(open_frames(stack_path))


def summarize_sizes(stack: xr.Dataset) -> SizeSummary:
    """Sum up the sizes of a stack that has them."""
    size, score = stack["particle_size"].values, stack["size_score"].values
    sized = size[score >= 0.5]
    quartiles = np.percentile(sized, [25, 50, 75]) if len(sized) else np.full(3, np.nan)
    known = size[np.isfinite(size)]
    median = float(np.median(known)) if len(known) else float("nan")
    return SizeSummary(len(size), len(sized), quartiles, median)


def check_sizes(
    stack: xr.Dataset, smallest: float | None = None, largest: float | None = None
) -> None:
    """Check that sizes can be found in a stack.

    Raises
    ------
    InputError
        The geometry or the wavelength is missing, no pixel is good, or the limits leave no size.
    """
    _cells_and_diameters(stack, 1, smallest, largest)


def _cells_and_diameters(
    stack: xr.Dataset, angles: int, smallest: float | None, largest: float | None
) -> tuple[PolarCells, np.ndarray]:
    name = str(stack.attrs.get("path", "the stack"))
    cells = cells_of(detector_of(stack), name, angles)
    try:
        return cells, possible_diameters(cells, smallest, largest)
    except ValueError as error:
        raise InputError(
            f"{name}: no {error} can be told on this detector; give other limits, in Å."
        ) from error


def _prepare(
    stack: xr.Dataset, angles: int, smallest: float | None, largest: float | None
) -> tuple[PolarCells, np.ndarray, np.ndarray]:
    """Give polar cells, the diameters to try, and an image of the background's shape."""
    cells, diameters = _cells_and_diameters(stack, angles, smallest, largest)
    background = stack["background"].values if "background" in stack else np.ones(cells.q.shape)
    return cells, diameters, background


def cells_of(detector: Detector, name: str, angles: int = ANGLES) -> PolarCells:
    """Divide the good pixels of a detector into polar cells, opposite pixels together.

    Parameters
    ----------
    detector : Detector
    name : str
        Of the stack, for messages.
    angles : int, optional
        Over half a turn.

    Returns
    -------
    PolarCells

    Raises
    ------
    InputError
        The wavelength is not known, or no pixel is good.
    """
    places = detector.pixel_x, detector.pixel_y, detector.pixel_z
    if not np.isfinite(detector.wavelength):
        raise InputError(
            f"{name}: no wavelength, which sizes and features need; import the frames again with "
            "--wavelength."
        )
    good = detector.mask == GOOD
    if not good.any():
        raise InputError(
            f"{name}: all pixels are masked; import the frames again with another mask."
        )
    # all pixels of a detector are of one size, whichever it is
    share = solid_angles(*places, 1.0) * polarization_factor(*places, detector.polarization)
    return polar_cells(
        scattering_vectors(*places, detector.wavelength), np.where(good, share, 0.0), angles=angles
    )
