"""From the sums of a pass to the next averages, noise, shares and resolution."""

from __future__ import annotations

import numpy as np

from hpdp_dask.cryoem.classify.model import Model
from hpdp_dask.cryoem.classify.quality import resolved_shells
from hpdp_dask.cryoem.classify.schedule import (
    FIRST_RESOLUTION,
    SHELLS_BEYOND,
    Settings,
    State,
)
from hpdp_dask.cryoem.classify.sums import ClassSums
from hpdp_dask.numerics.arrays import to_host
from hpdp_dask.numerics.fourier import PADDING, HalfPlane, half_plane
from hpdp_dask.numerics.likelihood import multiplicity
from hpdp_dask.numerics.masks import low_pass_filter, soft_circle
from hpdp_dask.numerics.planar import averages_of, fine_plane, transform_averages

#: How much weaker the prior on the averages is than their own spectrum says (RELION's fudge
#: factor for classes: 2).
PRIOR_WEAKNESS = 2.0

#: Sums of part of the images fade: those of pass i, counted from 0, count (i + 2)^-0.6 of all
#: (Cappé & Moulines 2009: an exponent in (0.5, 1]).
FADING = 0.6

#: A class with less than this share of an equal part of the images begins anew, until the last
#: passes.
EMPTY = 0.15

#: Shells that the better classes resolve before a class that resolves none counts as blank.
LEAST_SHELLS = 4

#: Width of the soft edge of the mask, pixels; as RELION's.
EDGE = 5.0

#: The least standard deviation of shifts, pixels.
_LEAST_SIGMA = 0.5


def mask_of(settings: Settings) -> np.ndarray:
    """Give the soft circle that averages are cut to, (N, N) float32."""
    radius = settings.mask_diameter / 2.0 / settings.pixel_size
    circle: np.ndarray = soft_circle(settings.box, radius, EDGE)
    return circle


def next_model(
    settings: Settings, state: State, model: Model, sums: ClassSums
) -> tuple[Model, State]:
    """Make the next model and state.

    Parameters
    ----------
    settings : Settings
    state : State
        That the pass began from, and its model.
    model : Model
    sums : ClassSums
        Of the pass.

    Returns
    -------
    Model, State
    """
    images = float(sums.images.sum())
    full = settings.is_full(state.iteration)
    fresh = 1.0 if full or state.iteration == 0 else (state.iteration + 2.0) ** -FADING
    shares = np.asarray(sums.members) / images
    if state.iteration > 0:
        shares = (1.0 - fresh) * np.array(state.class_share) + fresh * shares
    to_all = settings.number / images
    signal = _mix(model.signal, to_all * sums.signal, fresh)
    weight = _mix(model.weight, to_all * sums.weight, fresh)
    # sums that stand for all images hold no more than those that they were made of
    known = min(1.0, (2.0 - fresh) / fresh / to_all)
    averages, ssnr = regularised(
        settings, state.radius, model.averages, known * signal, known * weight
    )
    shells = resolved_shells(ssnr)
    better = _better(shells, shares)
    if not settings.settles(state.iteration):
        lost = _lost_classes(shells, shares, better)
        averages, signal, weight, shares = _begin_anew(
            settings, state, lost, averages, signal, weight, shares
        )
    squares = float(sums.tallies[0])
    sigma = max(np.sqrt(squares / images / 2.0), _LEAST_SIGMA * settings.pixel_size)
    following = State(
        iteration=state.iteration + 1,
        radius=min(settings.limit, max(settings.first_radius, better + SHELLS_BEYOND)),
        shift_sigma=float(sigma),
        class_share=[float(share) for share in shares],
        shells=[int(shell) for shell in shells],
        history=[*state.history, _entry(settings, state, sums, better)],
    )
    noise = _next_noise(model.noise_power, sums, half_plane(settings.box, state.radius), fresh)
    return Model(averages, signal, weight, noise), following


def regularised(
    settings: Settings,
    radius: int,
    before: np.ndarray,
    signal: np.ndarray,
    weight: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Divide sums by their weights, with the spectra of the last averages as the prior.

    Parameters
    ----------
    settings : Settings
    radius : int
        The last shell.
    before : (k, N, N) ndarray of float32
        The last averages.
    signal : (k, M) ndarray of complex64
    weight : (k, M) ndarray of float32
        Of the images that the averages are made of, on `planar.fine_plane`.

    Returns
    -------
    averages : (k, N, N) ndarray of float32
        Signal over weight and the inverse power that the prior expects, inside the mask (Scheres
        2012).
    ssnr : (k, shells) ndarray of float64
        The power that the prior expects over that of the noise, shell by shell.
    """
    box = settings.box
    fine = fine_plane(box, radius)
    spectrum = _mean_by_shell(np.abs(transform_averages(before, radius)) ** 2, fine)
    # the fine grid shares the weight of each sample of an image among PADDING² of its own
    prior = 1.0 / (PRIOR_WEAKNESS * np.maximum(spectrum, 1e-12) * PADDING**2)
    transforms = (signal / (weight + prior[:, fine.shell])).astype(np.complex64)
    averages = averages_of(transforms, box, radius) * mask_of(settings)
    ssnr = _mean_by_shell(weight, fine) / prior
    return averages.astype(np.float32), ssnr[:, ::PADDING][:, : radius + 1]


def _entry(
    settings: Settings, state: State, sums: ClassSums, better: int
) -> dict[str, float | None]:
    """Describe a pass for the history; see `State`."""
    images = float(sums.images.sum())
    _, certainty, changed, compared = (float(tally) for tally in sums.tallies)
    return {
        "images": images,
        "resolution": settings.extent / better if better else None,
        "compared": settings.extent / state.radius,
        "step": settings.step_for(state.radius),
        "changed": changed / compared if compared else None,
        "certainty": certainty / images,
    }


def _mix(running: np.ndarray, sums: np.ndarray, fresh: float) -> np.ndarray:
    """Let running sums fade for new ones; samples that had none before take the new ones."""
    sums = np.asarray(to_host(sums))
    if fresh >= 1.0:
        return sums
    mixed = sums.copy()
    shared = min(running.shape[1], sums.shape[1])
    mixed[:, :shared] = (1.0 - fresh) * running[:, :shared] + fresh * sums[:, :shared]
    return mixed


def _mean_by_shell(values: np.ndarray, plane: HalfPlane) -> np.ndarray:
    """Average (k, M) values over the shells of a plane, (k, shells) float64."""
    number = plane.radius + 1
    counts = np.bincount(plane.shell, minlength=number)
    sums = [np.bincount(plane.shell, weights=row, minlength=number) for row in values]
    return np.stack(sums) / np.maximum(counts, 1)


def _better(shells: np.ndarray, shares: np.ndarray) -> int:
    """Give what the better third of the classes that have images resolves, in shells."""
    filled = np.sort(shells[shares > 0.3 / len(shares)])
    return int(filled[-max(1, len(filled) // 3)])


def _next_noise(
    noise_power: np.ndarray, sums: ClassSums, plane: HalfPlane, fresh: float
) -> np.ndarray:
    """Take what is unexplained as the noise of the shells that were compared."""
    counts = np.bincount(plane.shell, weights=multiplicity(plane), minlength=plane.radius + 1)
    noise = noise_power.copy()
    for group, images in enumerate(np.asarray(sums.images)):
        if images:
            found = np.asarray(sums.residual)[group] / images / counts
            known = noise[group, : plane.radius + 1]
            # never below a tenth of what it was: too few images can explain themselves away
            known[:] = (1.0 - fresh) * known + fresh * np.maximum(found, 0.1 * known)
    return noise


def _lost_classes(shells: np.ndarray, shares: np.ndarray, better: int) -> np.ndarray:
    """List the classes that should begin anew: the empty ones, and those that show nothing.

    Of the latter the largest stays as it is, since it is where images of nothing go.
    """
    empty = shares < EMPTY / len(shares)
    blank = (shells == 0) & ~empty & (better >= LEAST_SHELLS)
    if blank.any():
        blank[np.where(blank, shares, 0.0).argmax()] = False
    return np.flatnonzero(empty | blank)


def _begin_anew(
    settings: Settings,
    state: State,
    lost: np.ndarray,
    averages: np.ndarray,
    signal: np.ndarray,
    weight: np.ndarray,
    shares: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Let classes begin anew, each with half of the largest of the others and some noise."""
    averages, signal, weight, shares = (
        np.array(part) for part in (averages, signal, weight, shares)
    )
    generator = np.random.default_rng((settings.seed, state.iteration, 1))
    power = np.square(averages).sum(axis=(1, 2))
    for empty in lost:
        # the class of images of nothing is the largest of all sometimes
        largest = int(np.where(power > 0.01 * power.max(), shares, 0.0).argmax())
        noise = generator.standard_normal(averages.shape[1:]).astype(np.float32)
        noise = low_pass_filter(noise, settings.pixel_size, FIRST_RESOLUTION) * mask_of(settings)
        averages[empty] = averages[largest] + 0.5 * averages[largest].std() / noise.std() * noise
        for sums in (signal, weight, shares):
            sums[largest] /= 2
            sums[empty] = sums[largest]
        power[empty] = power[largest]
    return averages, signal, weight, shares / shares.sum()
