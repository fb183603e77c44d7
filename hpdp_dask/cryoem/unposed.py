"""Particles without poses: what every search for poses asks of a stack before it begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from hpdp_dask.errors import InputError
from hpdp_dask.stacks.schema import CTF_VARIABLES, check_particles


@dataclass(frozen=True)
class Unposed:
    """What a search needs to know of a stack.

    Attributes
    ----------
    number : int
        Particles.
    box : int
        Pixels a side.
    pixel_size : float
        Å.
    groups : int
        Optics groups.
    mask_diameter : float
        Of the circle or sphere that holds the particle, Å.
    """

    number: int
    box: int
    pixel_size: float
    groups: int
    mask_diameter: float


def one_pixel_size(stack: xr.Dataset) -> float:
    """Give the pixel size that all particles of a stack share, Å.

    Raises
    ------
    InputError
        If optics groups have different ones.
    """
    sizes = stack["pixel_size"].values[np.unique(stack["optics_group"].values)]
    if np.ptp(sizes) > 1e-4 * sizes[0]:
        raise InputError(
            f"{stack.attrs['path']}: pixel_size is {', '.join(f'{s:g}' for s in np.unique(sizes))}"
            " Å in different optics groups, expected one; work on them apart."
        )
    return float(sizes[0])


def check_unposed(
    stack: xr.Dataset, mask_diameter: float | None, share: float, *needed: str
) -> Unposed:
    """See that poses of a stack can be searched for.

    Parameters
    ----------
    stack : xarray.Dataset
        As `open_stack` gives it.
    mask_diameter : float or None
        Å.
    share : float
        Of the box, without a mask diameter.
    *needed : str
        Variables that must be there besides images, CTF and optics groups.

    Raises
    ------
    InputError
        What is wrong.
    """
    path = stack.attrs["path"]
    check_particles(stack, ("images", *CTF_VARIABLES, "optics_group", *needed))
    box, pixel_size = stack.sizes["x"], one_pixel_size(stack)
    if box % 2 or box < 16:
        raise InputError(
            f"{path}: the images have {box} pixels a side, expected an even number of 16 or more; "
            "hpdp cryoem normalize --box makes it even."
        )
    extent = box * pixel_size
    diameter = share * extent if mask_diameter is None else mask_diameter
    if not 0.1 * extent <= diameter <= extent:
        raise InputError(
            f"{path}: --mask-diameter is {diameter:g} Å, expected {0.1 * extent:.0f} to "
            f"{extent:.0f} Å, the side of the images."
        )
    return Unposed(stack.sizes["particle"], box, pixel_size, stack.sizes["optics"], float(diameter))


def check_classes(path: str, number: int, classes: int, fewest: int) -> None:
    """See that there are enough particles for a number of classes.

    Raises
    ------
    InputError
        If there are fewer than `fewest` for each, or no class is asked for.
    """
    if classes < 1:
        raise InputError(f"The number of classes is {classes}, expected at least 1.")
    if number < fewest * classes:
        raise InputError(
            f"{path}: {number:,} particle{'s' if number > 1 else ''} for {classes} "
            f"class{'es' if classes > 1 else ''}, expected {fewest} or more for each; give "
            "more particles or ask for fewer classes (--classes)."
        )
