"""Fourier shell correlation of two maps in files, and the table of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.formats.writing import write_whole
from hpdp_dask.numerics.shells import corrected_fsc, fourier_shell_correlation, resolution_at


@dataclass(frozen=True)
class MapComparison:
    """The correlation of two maps.

    Attributes
    ----------
    curves : dict of str to (N // 2 + 1,) ndarray of float64
        `fsc`; with a mask also `fsc_masked`, `fsc_randomized` and `fsc_corrected`.
    curve : str
        Which of them the resolutions are read off: the corrected one where there is a mask.
    resolution_05, resolution_0143 : float
        Å, where it falls to 0.5 and to 0.143; infinity if it is below from shell 1 on.
    box : int
    pixel_size : float
        Å.
    """

    curves: dict[str, np.ndarray]
    curve: str
    resolution_05: float
    resolution_0143: float
    box: int
    pixel_size: float


def compare_maps(a: Path, b: Path, mask: Path | None = None, *, seed: int = 0) -> MapComparison:
    """Correlate two maps shell by shell.

    Parameters
    ----------
    a, b : Path
        Maps of the same box and pixel size: two half-maps, or a map and the truth.
    mask : Path, optional
        A soft mask of the same box; the correlation that it makes by itself is taken out by
        randomised phases.
    seed : int, optional
        Of the random phases.

    Returns
    -------
    MapComparison

    Raises
    ------
    InputError
        If a file is no map, is not a cube, holds NaN, infinity or one value only, or does not
        fit the others.
    """
    volume_a, pixel_size = read_map(a)
    if not pixel_size > 0:
        raise InputError(f"{a}: the header has no pixel size, expected one in Å; mend it.")
    volume_b = read_fitting_map(b, a, volume_a, pixel_size)
    for path, volume in ((a, volume_a), (b, volume_b)):
        _check_values(path, volume)
    if mask is None:
        curves = {"fsc": fourier_shell_correlation(volume_a, volume_b)}
        curve = "fsc"
    else:
        volume_mask = read_fitting_map(mask, a, volume_a, pixel_size)
        if not np.isfinite(volume_mask).all():
            raise InputError(
                f"{mask}: the mask holds NaN or infinity, expected a soft mask of 0..1."
            )
        if not volume_mask.any():
            raise InputError(f"{mask}: the mask is zero everywhere, expected a soft mask of 0..1.")
        masked = corrected_fsc(volume_a, volume_b, volume_mask, seed=seed)
        curves = {
            "fsc": masked.unmasked,
            "fsc_masked": masked.masked,
            "fsc_randomized": masked.randomized,
            "fsc_corrected": masked.corrected,
        }
        curve = "fsc_corrected"
    box = len(volume_a)
    return MapComparison(
        curves=curves,
        curve=curve,
        resolution_05=resolution_at(curves[curve], 0.5, pixel_size, box),
        resolution_0143=resolution_at(curves[curve], 0.143, pixel_size, box),
        box=box,
        pixel_size=pixel_size,
    )


def _check_values(path: Path, volume: np.ndarray) -> None:
    """Refuse a map that nothing can be correlated with."""
    if not np.isfinite(volume).all():
        raise InputError(f"{path}: the map holds NaN or infinity, expected finite numbers.")
    if volume.min() == volume.max():
        raise InputError(
            f"{path}: the map is {volume.flat[0]:g} everywhere, expected one of a specimen."
        )


def read_fitting_map(path: Path, other: Path, volume: np.ndarray, pixel_size: float) -> np.ndarray:
    """Read a map that must have the box and the pixel size of another.

    Parameters
    ----------
    path : Path
    other : Path
        The other map, for messages.
    volume : ndarray
        What it holds.
    pixel_size : float
        Its pixel size, Å.

    Returns
    -------
    ndarray of float32

    Raises
    ------
    InputError
        Tells what does not fit.
    """
    found, own_pixel_size = read_map(path)
    if found.shape != volume.shape:
        raise InputError(
            f"{path}: the box is {describe_box(found)}, expected {describe_box(volume)} as in "
            f"{other}; crop or pad one of them."
        )
    # written so that NaN, for a header without one, does not pass
    if not abs(own_pixel_size - pixel_size) <= 1e-3 * pixel_size:
        raise InputError(
            f"{path}: the pixel size is {own_pixel_size:g} Å, expected {pixel_size:g} Å as in "
            f"{other}; rescale one of them, or mend its header."
        )
    return found


def describe_resolution(resolution: float | str) -> str:
    """Write a resolution for people: `4.21 Å`, or `none` where the first shell has no correlation.

    Parameters
    ----------
    resolution : float or str
        Å; infinite for none, which `run.json` holds as text.
    """
    value = float(resolution)
    return f"{value:.2f} Å" if np.isfinite(value) else "none"


def describe_box(volume: np.ndarray) -> str:
    """Write the sides of a map for messages: `64 x 64 x 64`."""
    return " x ".join(str(side) for side in volume.shape)


def write_fsc(path: Path, curves: dict[str, np.ndarray], pixel_size: float) -> None:
    """Write correlations per shell as a table: shell, frequency (1/Å), resolution (Å), curves.

    Parameters
    ----------
    path : Path
    curves : dict of str to (N // 2 + 1,) ndarray
        The name of each column and its values.
    pixel_size : float
        Å.

    Raises
    ------
    InputError
        The folder does not exist or cannot be written to, or the disk is full.
    """
    number = len(next(iter(curves.values())))
    side = 2 * (number - 1) * pixel_size
    lines = [",".join(["shell", "frequency", "resolution", *curves])]
    for shell in range(number):
        values = [f"{curve[shell]:.6f}" for curve in curves.values()]
        resolution = f"{side / shell:.4f}" if shell else "inf"
        lines.append(",".join([str(shell), f"{shell / side:.6f}", resolution, *values]))
    content = ("\n".join(lines) + "\n").encode()
    with write_whole(path, len(content)) as file:
        file.write(content)
