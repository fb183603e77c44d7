"""Feature vectors of frames: numbers that do not depend on how a particle lies in the beam's plane.

The radii of rings are those of the fitted form factor: between its minima and maxima, at
`x = |q| diameter` for all particles alike. On each ring the angular Fourier series tells how
uneven the pattern is, which way and how finely; beside it stand the mean intensities of the rings,
what they are above the fitted form factor, and the size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.columns import Column, measure_images
from hpdp_dask.dataflow.progress import Progress
from hpdp_dask.numerics.angular_correlation import (
    RingSums,
    anisotropy,
    pooled_anisotropy,
    sum_rings,
)
from hpdp_dask.numerics.polar import gather
from hpdp_dask.numerics.sphere_fit import SizeFit, fit_sizes
from hpdp_dask.spi.size import ANGLES, SIZE_COLUMNS, PreparedSize, SphereSize, check_sizes
from hpdp_dask.stacks.frames import open_frames

if TYPE_CHECKING:
    from distributed import Client

#: Changes when the same frames would give other numbers.
RECIPE_VERSION = 1

#: Edges of the rings in ``|q|`` diameter: the central maximum where it has fallen to 0.6, 0.16 and
#: 0.02; the first minimum and the maximum after it; then the minima of the sphere's form factor.
RING_EDGES = (0.0, 0.5, 0.9, 1.2, 1.430, 1.834, 2.459, 3.471, 4.477, 5.482, 6.484)

#: Rings that have features each for itself. Those outside the first minimum, where few photons
#: are, have the Fourier series of all of them in common too.
RINGS = 7
OUTSIDE = slice(4, 10)

ORDERS = (2, 4, 6, 8)
OUTSIDE_ORDERS = (2, 4, 6, 8, 10, 12)

#: Edges of the shells whose mean intensities are features, as parts of the detector's reach.
SHELL_EDGES = (0.0, 0.06, 0.12, 0.2, 0.32, 0.5, 1.0)

#: Where an unevenness begins to count by its logarithm.
_KNEE = 0.05


def feature_names() -> tuple[str, ...]:
    """Name the features, in their order."""
    rings = range(1, RINGS + 1)
    return (
        *(f"anisotropy_{order}_ring_{ring}" for ring in rings for order in ORDERS),
        *(f"anisotropy_{order}_outside" for order in OUTSIDE_ORDERS),
        *(f"excess_ring_{ring}" for ring in rings),
        *(f"intensity_ring_{ring}" for ring in rings),
        *(f"intensity_shell_{shell}" for shell in range(1, len(SHELL_EDGES))),
        "size",
        "size_score",
        "photons",
    )


@dataclass(frozen=True)
class Features:
    """Feature vectors of frames; a `dataflow.columns.Measure`.

    Gives `features`, finite numbers in the order of `feature_names`, and what
    `spi.size.SphereSize` gives unless the sizes are there.

    Attributes
    ----------
    sized : bool
        Frames have `particle_size`, which the rings then follow.
    """

    sized: bool = False

    name: ClassVar[str] = "features"

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it gives."""
        given = {} if self.sized else dict(SIZE_COLUMNS)
        return {"features": Column(np.float32, (len(feature_names()),), ("feature",)), **given}

    @property
    def needs(self) -> tuple[str, ...]:
        """Variables of frames that it reads beside the frames."""
        return ("particle_size",) if self.sized else ()

    @property
    def recipe(self) -> dict[str, Any]:
        """How the numbers are made: what a classifier learnt from must be what it is shown."""
        return {"kind": "features", "number": len(feature_names()), "version": RECIPE_VERSION}

    def prepare(self, stack: xr.Dataset) -> PreparedSize:
        """Make what all frames share; as for sizes."""
        return SphereSize().prepare_on(ANGLES, stack)

    def measure(self, block: xr.Dataset, prepared: PreparedSize) -> dict[str, np.ndarray]:
        """Compute the features of frames."""
        polar = gather(block["photons"].values, prepared.cells)
        counts = polar.sum(axis=2)
        known = block["particle_size"].values.astype(np.float64) if self.sized else None
        fit = fit_sizes(counts, prepared.table, known)
        # without a photon there is no size, nor is there anything to see at one
        middle = prepared.table.diameters[len(prepared.table.diameters) // 2]
        diameter = np.where(np.isfinite(fit.diameter), fit.diameter, middle)
        bounds = np.array(RING_EDGES) / diameter[:, None]
        sums = sum_rings(polar, prepared.cells, bounds, prepared.background, fit.background)
        found = {"features": _vectors(counts, sums, bounds, diameter, fit, prepared)}
        if not self.sized:
            found |= {
                "particle_size": fit.diameter,
                "size_error": fit.error,
                "size_score": fit.score,
            }
        return found


class FeaturesSummary(NamedTuple):
    """What was computed.

    Attributes
    ----------
    number : int
        Frames.
    features : int
        Of each.
    sized : bool
        Sizes were there before.
    """

    number: int
    features: int
    sized: bool


def compute_features(
    stack_path: str | Path,
    *,
    client: Client | None = None,
    overwrite: bool = False,
    history: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> FeaturesSummary:
    """Compute the features of all frames of a stack, and add them to it.

    Parameters
    ----------
    stack_path : str or Path
        Sizes that are there are used, else found and added.
    client, overwrite, history, progress
        As for `dataflow.columns.measure_images`; the recipe is told of in the history.

    Returns
    -------
    FeaturesSummary

    Raises
    ------
    InputError
        The stack has no photons, geometry or wavelength, or has features; before any work.
    """
    stack = open_frames(stack_path)
    measure = Features(sized="particle_size" in stack)
    check_sizes(stack)
    measure_images(
        stack_path,
        [measure],
        client=client,
        overwrite=overwrite,
        history={**(history or {}), "recipe": measure.recipe},
        progress=progress,
    )
    number = open_frames(stack_path).sizes["frame"]
    return FeaturesSummary(number, len(feature_names()), measure.sized)


def _vectors(
    counts: np.ndarray,
    sums: RingSums,
    bounds: np.ndarray,
    diameter: np.ndarray,
    fit: SizeFit,
    prepared: PreparedSize,
) -> np.ndarray:
    single = RingSums(*(part[:, :RINGS] for part in sums))
    outside = RingSums(*(part[:, OUTSIDE] for part in sums))
    photons = single.observed.sum(axis=2)
    foreseen = _sum_between(fit.expected, bounds[:, : RINGS + 1], prepared)
    total = counts.sum(axis=1)
    weight = prepared.cells.weight.sum(axis=1)
    mean = np.log((total + 1.0) / weight.sum())
    columns = (
        _compressed(anisotropy(single, ORDERS)).reshape(len(counts), -1),
        _compressed(pooled_anisotropy(outside, OUTSIDE_ORDERS)),
        np.log((photons + 1.0) / (foreseen + 1.0)),
        _ring_intensities(photons, single.weight) - mean[:, None],
        _shell_intensities(counts, weight, prepared),
        np.log(diameter),
        fit.score,
        np.log(total + 1.0),
    )
    return np.column_stack(columns).astype(np.float32)


def _compressed(values: np.ndarray) -> np.ndarray:
    """Bring large values together, as a logarithm does, but for negative ones too."""
    return np.arcsinh(values / _KNEE)


def _sum_between(values: np.ndarray, bounds: np.ndarray, prepared: PreparedSize) -> np.ndarray:
    """Sum values of the cells' rings between radii: (n, k)."""
    edges = prepared.cells.edges
    middle = 0.5 * (edges[1:] + edges[:-1])
    below = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    place = np.searchsorted(middle, bounds)
    return np.diff(np.take_along_axis(below, place, axis=1), axis=1)


def _ring_intensities(photons: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Give log mean intensities; a ring that is not on the detector has those of its neighbour."""
    there = weight > 0.0
    mean = np.where(there, np.log((photons + 1.0) / np.where(there, weight, 1.0)), 0.0)
    number = np.arange(weight.shape[1])
    last = np.maximum.accumulate(np.where(there, number, -1), axis=1)
    first = np.minimum(there.argmax(axis=1), len(number) - 1)
    return np.take_along_axis(mean, np.where(last < 0, first[:, None], last), axis=1)


def _shell_intensities(
    counts: np.ndarray, weight: np.ndarray, prepared: PreparedSize
) -> np.ndarray:
    """Give log mean intensities of shells that are the same for all frames."""
    cells = prepared.cells
    reach = np.quantile(cells.q[cells.share > 0.0], 0.8)
    middle = 0.5 * (cells.edges[1:] + cells.edges[:-1]) / reach
    shell = np.searchsorted(SHELL_EDGES, middle, side="right") - 1
    member = (shell[:, None] == np.arange(len(SHELL_EDGES) - 1)).astype(np.float32)
    shares = weight @ member
    found = np.log((counts @ member + 1.0) / np.where(shares > 0.0, shares, 1.0))
    return np.where(shares > 0.0, found, 0.0)
