"""What post-processing reads: two half-maps, a mask, the MTF of a detector; all checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hpdp_dask.cryoem.fsc import describe_box, read_fitting_map
from hpdp_dask.errors import InputError
from hpdp_dask.formats.columns import read_numbers
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.formats.star import read_table

#: Columns of RELION's table of a modulation transfer function: cycles per pixel, and value.
_MTF_FREQUENCY, _MTF_VALUE = "rlnResolutionInversePixel", "rlnMtfValue"

#: Measured tables end a little before Nyquist's frequency; so far their last value holds.
_MTF_BEYOND = 0.05

#: A value of a mask may be this far outside of 0..1, for masks that were interpolated.
_MASK_ROUNDING = 1e-3


@dataclass(frozen=True)
class HalfMapPair:
    """Two half-maps that fit each other.

    Attributes
    ----------
    half1, half2 : (N, N, N) ndarray of float32
    pixel_size : float
        Å.
    path : Path
        Of the first, for messages.
    last_shell : int
        The finest one that the reconstruction filled; further ones hold nothing.
    """

    half1: np.ndarray
    half2: np.ndarray
    pixel_size: float
    path: Path
    last_shell: int

    @property
    def box(self) -> int:
        """Side of the maps, pixels."""
        return len(self.half1)


def half_map_files(folder: Path) -> tuple[Path, Path]:
    """Name the half-maps of a folder.

    Raises
    ------
    InputError
        If they are not there.
    """
    paths = folder / "half1.mrc", folder / "half2.mrc"
    for path in paths:
        if not path.is_file():
            raise InputError(
                f"{folder}: there is no {path.name} in it, expected a folder with half1.mrc and "
                "half2.mrc as hpdp cryoem reconstruct makes it."
            )
    return paths


def read_half_maps(folder: Path) -> HalfMapPair:
    """Read the half-maps of a folder.

    Parameters
    ----------
    folder : Path
        With `half1.mrc`, `half2.mrc` and, where it is there, the table `fsc.csv`, whose column
        `fsc` is zero for shells that the reconstruction left out.

    Returns
    -------
    HalfMapPair

    Raises
    ------
    InputError
        If a map is not there, is no cube, has no pixel size, holds values that are no numbers,
        does not fit the other or is the same.
    """
    first, second = half_map_files(folder)
    half1, pixel_size = read_map(first)
    if len(set(half1.shape)) != 1 or len(half1) % 2:
        raise InputError(
            f"{first}: the box is {describe_box(half1)}, expected a cube of an even side."
        )
    if not pixel_size > 0:
        raise InputError(f"{first}: the header has no pixel size, expected one in Å; mend it.")
    half2 = read_fitting_map(second, first, half1, pixel_size)
    for path, half in ((first, half1), (second, half2)):
        if not np.isfinite(half).all():
            raise InputError(f"{path}: some voxels are no finite numbers; make the map again.")
        if not half.any():
            raise InputError(f"{path}: the map is zero everywhere; make it again.")
    if np.array_equal(half1, half2):
        raise InputError(
            f"{first} and {second} are the same map, expected those of two half-sets that share no "
            "particle."
        )
    return HalfMapPair(half1, half2, pixel_size, first, _last_shell(folder / "fsc.csv", len(half1)))


def _last_shell(table: Path, box: int) -> int:
    """Find the last shell that a reconstruction filled: its table of the FSC is zero beyond.

    The sphere that half-maps are cut with lets the last shells leak into the empty ones, alike
    in both halves: under a mask they correlate up to Nyquist's frequency.
    """
    if not table.is_file():
        return box // 2
    columns = pd.read_csv(table)
    if "fsc" not in columns or len(columns) != box // 2 + 1:
        return box // 2
    return int(np.flatnonzero(columns["fsc"].to_numpy()).max(initial=0)) or box // 2


def read_mask(path: Path, maps: HalfMapPair) -> np.ndarray:
    """Read a mask for two half-maps.

    Parameters
    ----------
    path : Path
    maps : HalfMapPair

    Returns
    -------
    (N, N, N) ndarray of float32
        From 0 to 1.

    Raises
    ------
    InputError
        If it has another box or pixel size, values outside of 0..1, or is zero everywhere.
    """
    mask = read_fitting_map(path, maps.path, maps.half1, maps.pixel_size)
    check_mask_values(path, mask)
    return np.clip(mask, 0.0, 1.0)


def check_mask_values(path: Path, mask: np.ndarray) -> None:
    """Check that a mask is one.

    Raises
    ------
    InputError
        If it has values outside of 0..1, or is zero everywhere.
    """
    low, high = float(mask.min()), float(mask.max())
    # written so that NaN does not pass
    if not (low >= -_MASK_ROUNDING and high <= 1.0 + _MASK_ROUNDING):
        raise InputError(
            f"{path}: the values of the mask go from {low:g} to {high:g}, expected 0 (solvent) to "
            "1 (particle); is it a map instead of a mask?"
        )
    if high <= 0.5:
        raise InputError(
            f"{path}: the mask is empty: its largest value is {high:g}, expected 1 inside the "
            "particle."
        )


def read_mtf(path: Path, frequencies: np.ndarray, pixel_size: float) -> np.ndarray:
    """Read the modulation transfer function of a detector.

    Parameters
    ----------
    path : Path
        A STAR file as RELION reads it, with `rlnResolutionInversePixel` and `rlnMtfValue`.
    frequencies : (shells,) ndarray
        Where it is wanted, 1/Å.
    pixel_size : float
        Of the detector pixels that the file counts in, in the specimen, Å.

    Returns
    -------
    (shells,) ndarray of float64
        Interpolated linearly; beyond the end of the table, by 5 % at most, its last value.

    Raises
    ------
    InputError
        If it is no such file, its frequencies do not rise, it does not reach far enough, or a
        value is not above 0.
    """
    table = read_table(path)
    for label in (_MTF_FREQUENCY, _MTF_VALUE):
        if label not in table:
            raise InputError(
                f"{path}: no column {label}; expected the MTF of a detector as RELION has it, with "
                f"{_MTF_FREQUENCY} and {_MTF_VALUE}."
            )
    tabled = read_numbers(table, _MTF_FREQUENCY, path)
    values = read_numbers(table, _MTF_VALUE, path)
    if not (np.diff(tabled) > 0).all():
        row = int(np.argmin(np.diff(tabled) > 0)) + 2
        raise InputError(f"{path}: {_MTF_FREQUENCY} of row {row} is not above that before it.")
    wanted = frequencies * pixel_size
    if wanted[-1] > tabled[-1] * (1.0 + _MTF_BEYOND):
        raise InputError(
            f"{path}: the MTF ends at {tabled[-1]:g} cycles per detector pixel, but the map goes "
            f"to {wanted[-1]:g} of a detector pixel of {pixel_size:g} Å; say with --mtf-pixel-size "
            "how large that is in the specimen."
        )
    found = np.interp(wanted, tabled, values)
    if not (found > 0).all():
        raise InputError(
            f"{path}: {_MTF_VALUE} is {found.min():g} at {wanted[np.argmin(found)]:g} cycles per "
            "detector pixel, expected a number above 0."
        )
    return found
