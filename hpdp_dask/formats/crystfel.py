"""Detector geometry in CrystFEL's `.geom` files, of any number of panels.

A panel is a rectangle of the array that frames are stored as: `min_fs` to `max_fs` along a row,
`min_ss` to `max_ss` from row to row. Its first corner is at `corner_x`, `corner_y` in pixels of
1 / `res` metres, `clen` + `coffset` along the beam, and `fs`, `ss` are the steps to the next pixel
and to the next row. Modules that have an axis of the array of their own (`dim1 = 3`) lie one after
another along the rows here. Source: the manual of CrystFEL, crystfel_geometry(5) (White et al.
2012, J. Appl. Cryst. 45, 335).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.crystfel_text import (
    ENERGIES,
    LENGTHS,
    WAVELENGTHS,
    number_of,
    parse,
    quantity_of,
    vector_of,
)
from hpdp_dask.formats.frames import BAD, GOOD, Detector
from hpdp_dask.formats.stored_frames import wavelength_of

_NEEDED = ("min_fs", "max_fs", "min_ss", "max_ss", "corner_x", "corner_y", "fs", "ss", "res")
#: Pixels along an edge, and in all: more is a slip of a digit.
_MOST_EDGE, _MOST_PIXELS = 2**17, 2**28


@dataclass(frozen=True)
class CrystfelGeometry:
    """What a `.geom` file says.

    Attributes
    ----------
    path : Path
    pixel_x, pixel_y : (y, x) ndarray of float64
        Centres of the pixels, m.
    offset : (y, x) ndarray of float64
        Along the beam from `clen`, m.
    mask : (y, x) ndarray of uint8
        Bad regions, panels that are not to be looked at, and pixels in no panel are bad. The
        latter have the place of the first pixel.
    modules : int
        One after another along the rows.
    pixel_size : float
        m.
    clen, wavelength : float
        m, Å; NaN where the file gives no number.
    notes : tuple of str
        What the file names and is not read.
    """

    path: Path
    pixel_x: np.ndarray
    pixel_y: np.ndarray
    offset: np.ndarray
    mask: np.ndarray
    modules: int
    pixel_size: float
    clen: float
    wavelength: float
    notes: tuple[str, ...]

    def at(self, distance: float | None = None) -> Detector:
        """Give the detector.

        Parameters
        ----------
        distance : float, optional
            m, instead of `clen`.

        Raises
        ------
        InputError
            There is neither.
        """
        along = self.clen if distance is None else distance
        if not np.isfinite(along):
            raise InputError(f"{self.path}: gives no clen in metres; give --distance in m.")
        return Detector(
            pixel_x=self.pixel_x,
            pixel_y=self.pixel_y,
            pixel_z=along + self.offset,
            mask=self.mask,
            wavelength=self.wavelength,
            pixel_size=self.pixel_size,
        )


def read_geometry(path: Path) -> CrystfelGeometry:
    """Read a `.geom` file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    CrystfelGeometry

    Raises
    ------
    InputError
        Names the panel or line that is wrong.
    """
    beam, panels, regions = parse(path)
    places = {name: _place(path, name, panel) for name, panel in panels.items()}
    modules = 1 + max(place.module for place in places.values())
    rows = 1 + max(place.last_row for place in places.values())
    columns = 1 + max(place.last_column for place in places.values())
    if modules * rows * columns > _MOST_PIXELS:
        raise InputError(
            f"{path}: the panels span {modules} x {rows} x {columns} pixels; mend max_ss or max_fs."
        )
    centre = np.full((3, modules, rows, columns), np.nan)
    mask = np.full((modules, rows, columns), BAD, np.uint8)
    for name, place in places.items():
        part = place.part
        if np.isfinite(centre[(0, *part)]).any():
            raise InputError(f"{path}: the panel {name} overlaps another in the array of a frame.")
        centre[(slice(None), *part)] = place.centres
        edge = int(panels[name].get("mask_edge_pixels", "0"))
        if panels[name].get("no_index", "0") in ("0", "false", "no"):
            inner = mask[part]
            inner[edge : inner.shape[0] - edge, edge : inner.shape[1] - edge] = GOOD
    nowhere = np.isnan(centre[0])
    centre[:, nowhere] = next(iter(places.values())).centres[:, :1, 0]
    for name, region in regions.items():
        _mask_region(path, name, region, places, centre, mask)
    flat = (modules * rows, columns)
    sizes = {place.pixel_size for place in places.values()}
    notes = (
        [f"{path}: the masks that it names are not read; give --mask"]
        if any(
            re.fullmatch(r"mask\d*(_file|_data)?", key)
            for panel in panels.values()
            for key in panel
        )
        else []
    )
    if nowhere.any():
        notes.append(f"{path}: {int(nowhere.sum())} pixels are in no panel, and masked")
    return CrystfelGeometry(
        path=path,
        pixel_x=centre[0].reshape(flat),
        pixel_y=centre[1].reshape(flat),
        offset=centre[2].reshape(flat),
        mask=mask.reshape(flat),
        modules=modules,
        pixel_size=sizes.pop() if len(sizes) == 1 else float("nan"),
        clen=_clen(panels),
        wavelength=_wavelength(beam),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Place:
    """Where a panel is in the array and in the laboratory."""

    module: int
    first_row: int
    last_row: int
    first_column: int
    last_column: int
    centres: np.ndarray
    pixel_size: float

    @property
    def part(self) -> tuple[int, slice, slice]:
        return (
            self.module,
            slice(self.first_row, self.last_row + 1),
            slice(self.first_column, self.last_column + 1),
        )


def _place(path: Path, name: str, panel: Mapping[str, str]) -> _Place:
    lacking = [key for key in _NEEDED if key not in panel]
    if lacking:
        raise InputError(f"{path}: the panel {name} has no {lacking[0]}; add it.")
    first_column, last_column, first_row, last_row = (
        int(number_of(path, name, panel, key)) for key in ("min_fs", "max_fs", "min_ss", "max_ss")
    )
    resolution = number_of(path, name, panel, "res")
    if not (0 <= first_column <= last_column and 0 <= first_row <= last_row and resolution > 0):
        raise InputError(
            f"{path}: the panel {name} goes from {first_column} to {last_column} along fs and "
            f"{first_row} to {last_row} along ss with res {resolution:g}, expected rising numbers "
            "and a positive res."
        )
    if max(last_row, last_column) >= _MOST_EDGE:
        raise InputError(
            f"{path}: the panel {name} goes to row {last_row} and column {last_column}, beyond "
            f"{_MOST_EDGE}; mend max_ss or max_fs."
        )
    along, down = (vector_of(path, name, panel[key], key) for key in ("fs", "ss"))
    column = np.arange(last_column - first_column + 1) + 0.5
    row = np.arange(last_row - first_row + 1) + 0.5
    corner = [number_of(path, name, panel, key) for key in ("corner_x", "corner_y")]
    pixels = (
        np.array([*corner, 0.0])[:, None, None]
        + along[:, None, None] * column
        + down[:, None, None] * row[:, None]
    )
    centres = pixels / resolution
    if "coffset" in panel:
        centres[2] += number_of(path, name, panel, "coffset")
    return _Place(
        module=_module(path, name, panel),
        first_row=first_row,
        last_row=last_row,
        first_column=first_column,
        last_column=last_column,
        centres=centres,
        pixel_size=1 / resolution,
    )


def _module(path: Path, name: str, panel: Mapping[str, str]) -> int:
    """Give the module of a panel: the number among its dimensions."""
    dims = [panel[key] for key in sorted(key for key in panel if re.fullmatch(r"dim\d", key))]
    numbers = [int(dim) for dim in dims if dim.isdecimal()]
    if len(numbers) > 1 or [dim for dim in dims if dim in ("ss", "fs")] not in ([], ["ss", "fs"]):
        raise InputError(
            f"{path}: the panel {name} has the dimensions {', '.join(dims)}, expected %, at most "
            "one number, then ss and fs."
        )
    return numbers[0] if numbers else 0


def _mask_region(
    path: Path,
    name: str,
    region: Mapping[str, str],
    places: Mapping[str, _Place],
    centre: np.ndarray,
    mask: np.ndarray,
) -> None:
    """Mask a bad region: rows and columns of the array, or a part of the plane across the beam."""
    panel = region.get("panel")
    if panel is not None and panel not in places:
        raise InputError(f"{path}: {name} is in the panel {panel}, which the file does not have.")
    _, row, column = np.indices(mask.shape)
    size = next(iter(places.values())).pixel_size
    inside = np.ones(mask.shape, bool)
    for axis, values in (
        ("ss", row),
        ("fs", column),
        ("x", centre[0] / size),
        ("y", centre[1] / size),
    ):
        if f"min_{axis}" in region:
            inside &= values >= number_of(path, name, region, f"min_{axis}")
        if f"max_{axis}" in region:
            inside &= values <= number_of(path, name, region, f"max_{axis}")
    if panel is not None:
        among = np.zeros(mask.shape, bool)
        among[places[panel].part] = True
        inside &= among
    mask[inside] = BAD


def _clen(panels: Mapping[str, Mapping[str, str]]) -> float:
    found = {quantity_of(panel["clen"], LENGTHS) for panel in panels.values() if "clen" in panel}
    return found.pop() if len(found) == 1 else float("nan")


def _wavelength(beam: Mapping[str, str]) -> float:
    if "photon_energy" in beam:
        return wavelength_of(quantity_of(beam["photon_energy"], ENERGIES))
    return quantity_of(beam.get("wavelength", ""), WAVELENGTHS)
