"""Is there heterogeneity, along how many directions, and what of it do both half-sets find?

Each half-set finds a map and directions by itself (`halves`); what these are worth is told by the
images of the other (`held_out`, `verdict`), and by what the two have in common (`agreement`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.heterogeneity.agreement import Agreement, find_agreement
from hpdp_dask.cryoem.heterogeneity.directions import Directions
from hpdp_dask.cryoem.heterogeneity.halves import HalfFit, assigned_halves, find_half_directions
from hpdp_dask.cryoem.heterogeneity.held_out import Found, HeldOut
from hpdp_dask.cryoem.heterogeneity.observations import Optics
from hpdp_dask.cryoem.heterogeneity.stage import (
    HeterogeneitySettings,
    check_settings,
    encoded_shells,
)
from hpdp_dask.cryoem.heterogeneity.verdict import Verdict, judge
from hpdp_dask.cryoem.reconstruct import BackProjection, HalfMaps
from hpdp_dask.cryoem.unposed import one_pixel_size
from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.errors import InputError
from hpdp_dask.numerics.symmetry import point_group
from hpdp_dask.stacks.store import open_stack

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Directions that are looked for, at most; images that each needs in a half-set, at least.
_MOST, _FEWEST = 16, 25


@dataclass(frozen=True)
class AssessmentSettings:
    """How a stack is assessed.

    Attributes
    ----------
    directions : int
        Looked for in each half-set.
    seed : int
        Of the first weights, the wrong sides and the shuffles.
    """

    directions: int = 6
    seed: int = 0


@dataclass(frozen=True)
class Assessment:
    """What is known of the heterogeneity of a stack.

    Attributes
    ----------
    maps : HalfMaps
    models : tuple of Directions
        Of each half-set.
    found : Found
        Of each image.
    verdict : Verdict
    agreement : Agreement
    radius : int
        The last shell that was looked at.
    pixel_size : float
        Å.
    """

    maps: HalfMaps
    models: tuple[Directions, Directions]
    found: Found
    verdict: Verdict
    agreement: Agreement
    radius: int
    pixel_size: float

    @property
    def resolution(self) -> float:
        """Give the finest detail that was looked at, Å."""
        return len(self.maps.half1) * self.pixel_size / self.radius


def check_assessment(stack: xr.Dataset, settings: AssessmentSettings) -> None:
    """See that a stack can be assessed.

    Raises
    ------
    InputError
        What is wrong.
    """
    path, count = stack.attrs["path"], settings.directions
    if not 1 <= count <= _MOST:
        raise InputError(f"--directions is {count}, expected 1 to {_MOST}.")
    number = stack.sizes["particle"]
    if number < 2 * _FEWEST * count:
        raise InputError(
            f"{path}: {number:,} particles for {count} directions, expected {2 * _FEWEST} or more "
            "for each; give more particles or fewer --directions."
        )
    check_settings(stack, HeterogeneitySettings(zdim=1))
    numbers, _ = _halves(stack)
    if min(numbers) < _FEWEST * count:
        raise InputError(
            f"{path}: its half-sets have {numbers[0]:,} and {numbers[1]:,} particles, expected "
            f"{_FEWEST} or more in each for each of {count} directions; give fewer --directions."
        )


def assess(
    stack_path: Path,
    settings: AssessmentSettings,
    folder: Path,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Assessment:
    """Assess the heterogeneity of the particles of a stack.

    Parameters
    ----------
    stack_path : Path
        With poses, CTF and half-sets; if all are in one, images go into halves by turns.
    settings : AssessmentSettings
    folder : Path
        For what workers read, on a file system that they see. What an interrupted run of the
        same work left there is gone on from.
    client, progress : optional
    say : callable, optional
        Told in words how far it is.

    Returns
    -------
    Assessment

    Raises
    ------
    InputError
        See `check_assessment`.
    """
    stack = open_stack(stack_path)
    check_assessment(stack, settings)
    box, number = stack.sizes["x"], stack.sizes["particle"]
    numbers, alternate = _halves(stack)
    folder = folder.absolute()
    reduction = BackProjection(box, box // 2, point_group("C1"), alternate)
    maps: HalfMaps = reduce_images(stack_path, reduction, client=client, progress=progress)
    radius = encoded_shells(box)
    fit = HalfFit(
        Optics.of(stack), box, radius, settings.directions, alternate, numbers, settings.seed
    )
    files = find_half_directions(
        stack_path,
        (maps.half1, maps.half2),
        fit,
        folder,
        client=client,
        progress=progress,
        say=say,
    )
    held_out = HeldOut(files, fit.optics, box, radius, fit.count, number, alternate, settings.seed)
    found: Found = reduce_images(stack_path, held_out, client=client, progress=progress)
    models = (Directions.read(files[0]), Directions.read(files[1]))
    verdict = judge(found)
    agreement = find_agreement(found, models, verdict.directions, settings.seed)
    return Assessment(maps, models, found, verdict, agreement, radius, one_pixel_size(stack))


def _halves(stack: xr.Dataset) -> tuple[tuple[int, int], bool]:
    """Count the images of each half, and tell whether they are taken by turns."""
    first, second = np.bincount(assigned_halves(stack), minlength=2)
    return (int(first), int(second)), bool(np.ptp(stack["half_set"].values) == 0)
