"""Maps that were found anywhere, turned into the standard setting of a point group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpdp_dask.cryoem.initial_model.model import Model, mask_of, solve
from hpdp_dask.cryoem.initial_model.settings import Settings, State
from hpdp_dask.numerics.superposition import centre_of_mass, turn_volume
from hpdp_dask.numerics.symmetry import point_group
from hpdp_dask.numerics.symmetry_axes import SymmetryAxes, find_axes

#: What of the last radius can be trusted where axes are looked for.
_TRUSTED = 0.75


def look_for_axes(settings: Settings, model: Model, symmetry: str) -> list[SymmetryAxes | None]:
    """Look for the axes of a point group in the map of each class; None for an empty map."""
    operators, radius = point_group(symmetry), max(4, round(_TRUSTED * settings.last_radius))
    return [find_axes(volume, operators, radius) if volume.any() else None for volume in model.maps]


def turned(settings: Settings, model: Model, axes: Sequence[SymmetryAxes | None]) -> Model:
    """Turn the maps that have the symmetry to its axes; the others stay as they are."""
    mask = mask_of(settings, settings.small_box)
    maps = [
        turn_volume(volume, each.rotation, each.shift) * mask
        if each is not None and each.holds
        else volume
        for volume, each in zip(model.maps, axes, strict=True)
    ]
    return Model(np.maximum(np.stack(maps), 0.0), model.noise_power, model.image_power)


def final_maps(settings: Settings, state: State, model: Model) -> np.ndarray:
    """Make the maps in the images' own box, their centres of mass in its centre.

    They move only where their symmetry leaves it open: not at all if axes cross, along the axis
    if there is one.

    Returns
    -------
    (classes, N, N, N) ndarray of float32
        Not cut off at zero.
    """
    assert model.sums is not None
    radius = settings.at(state.iteration - 1).radius
    maps = []
    for sums, small, operators in zip(model.sums, model.maps, settings.operators, strict=True):
        volume = solve(sums, radius, operators, settings, small, settings.box)
        centre = centre_of_mass(small) * settings.box / settings.small_box
        maps.append(turn_volume(volume, np.eye(3), centre @ operators.mean(axis=0)))
    return np.stack(maps)
