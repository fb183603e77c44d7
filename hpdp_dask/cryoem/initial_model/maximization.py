"""From the sums of a pass to the next model."""

from __future__ import annotations

import numpy as np

from hpdp_dask.cryoem.initial_model.model import LEAST_NOISE, Model, grown, solve
from hpdp_dask.cryoem.initial_model.settings import Settings, State
from hpdp_dask.cryoem.initial_model.sums import Sums
from hpdp_dask.numerics.fourier import half_plane
from hpdp_dask.numerics.likelihood import multiplicity


def samples_of_shells(box: int, radius: int) -> np.ndarray:
    """Count the samples of the whole plane in each shell, (radius + 1,)."""
    plane = half_plane(box, radius)
    return np.bincount(plane.shell, weights=multiplicity(plane))


def first_model(settings: Settings, sums: Sums) -> tuple[Model, State]:
    """Make the first model: images in random orientations, and their power for noise."""
    radius = settings.at(0).radius
    counts = samples_of_shells(settings.box, settings.last_radius)
    pooled = sums.residual.sum(axis=0) / sums.images.sum()
    seen = sums.images[:, None] > 0
    power = np.where(seen, sums.residual / np.maximum(sums.images[:, None], 1.0), pooled) / counts
    maps = [
        np.maximum(solve(volume, radius, operators, settings, None, settings.small_box), 0.0)
        for volume, operators in zip(sums.volumes, settings.operators, strict=True)
    ]
    model = Model(np.stack(maps), power, power)
    return model, State(1, [1.0 / settings.classes] * settings.classes)


def next_model(settings: Settings, state: State, model: Model, sums: Sums) -> tuple[Model, State]:
    """Blend the sums of a pass into the running ones, and make the maps and the noise of them."""
    now = settings.at(state.iteration)
    kept = 1.0 - now.share
    volumes = np.array(sums.volumes)
    if model.sums is not None:
        for volume, old in zip(volumes, model.sums, strict=True):
            volume += np.float32(kept) * grown(old, now.radius)
    maps = [
        np.maximum(solve(volume, now.radius, operators, settings, before, settings.small_box), 0.0)
        for volume, operators, before in zip(volumes, settings.operators, model.maps, strict=True)
    ]
    total = sums.images.sum()
    noise = model.noise_power.copy()
    within = slice(now.radius + 1)
    counts = samples_of_shells(settings.box, now.radius)
    seen = sums.images > 0
    found = sums.residual[seen] / (counts * sums.images[seen, None])
    found = np.maximum(found, LEAST_NOISE * model.image_power[seen, within])
    noise[seen, within] = kept * noise[seen, within] + now.share * found
    entry = {
        "iteration": float(state.iteration),
        "resolution": now.resolution,
        "images": float(total),
        "evidence": float(sums.moments[0] / total),
        "certainty": float(sums.moments[1] / total),
    }
    return (
        Model(np.stack(maps), noise, model.image_power, volumes),
        State(state.iteration + 1, (sums.class_share / total).tolist(), [*state.history, entry]),
    )
