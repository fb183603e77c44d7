"""What is true of each simulated frame: what it shows, and how strongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hpdp_dask.numerics.rotations import matrix_to_quaternion, random_rotations
from hpdp_dask.spi.simulate.settings import Settings
from hpdp_dask.spi.simulate.species import Species

#: Particles of an aggregate, fewest and most.
AGGREGATE = (3, 8)

#: Sizes are at most this many standard deviations off.
_FURTHEST = 3.0

#: Density of water, electrons per Å³, and spread of the sizes of droplets.
_WATER, _DROPLETS = 0.334, 0.25


@dataclass(frozen=True)
class Brightness:
    """How a species scatters.

    Attributes
    ----------
    size, reach : float
        Of a particle of the species' size: diameter of the sphere of equal volume, radius of the
        circumscribed one, Å.
    photons : float
        On the good pixels for a fluence of 1 photon per µm², mean over orientations.
    brightest : float
        In the brightest pixel.
    """

    size: float
    reach: float
    photons: float
    brightest: float


def droplet_of(sizes: Sequence[float]) -> Species:
    """Give the water droplets beside particles of some sizes (Å)."""
    return Species("water", "sphere", float(np.mean(sizes)), _DROPLETS, density=_WATER)


def draw_truth(
    species: Sequence[Species], brightness: Sequence[Brightness], settings: Settings
) -> dict[str, np.ndarray]:
    """Draw what the frames show.

    Every kind of choice has a random stream of its own, so a frame depends on its number and the
    seed alone.

    Parameters
    ----------
    species : sequence of Species
        The last one is that of the droplets.
    brightness : sequence of Brightness
        Of each.
    settings : Settings

    Returns
    -------
    dict of str to (n, ...) ndarray
        Columns of the stack, as `simulate` tells of them.
    """
    number, beam = settings.number, settings.beam
    streams = np.random.SeedSequence(settings.seed).spawn(11)
    rng = [np.random.default_rng(stream) for stream in streams]
    kinds = np.array(list(settings.kinds), dtype=np.str_)
    kind = kinds[_choose(list(settings.kinds.values()), number, rng[0])]
    chosen = _choose([each.share for each in species[:-1]], number, rng[1])
    chosen[kind == "droplet"] = len(species) - 1

    def of_species(values: Sequence[float]) -> np.ndarray:
        return np.array(values, dtype=np.float64)[chosen]

    spread = of_species([each.spread for each in species])
    reference = of_species([each.size for each in brightness])
    size, partner = (reference * _deviation(spread, number, rng[place]) for place in (2, 3))
    factor = rng[4].uniform(*settings.separation, number)
    reach = of_species([each.reach / each.size for each in brightness])
    members = np.select(
        [kind == "empty", kind == "double", kind == "aggregate"],
        [0, 2, rng[5].integers(AGGREGATE[0], AGGREGATE[1] + 1, number)],
        1,
    )
    energy = _gamma(beam.energy_spread, number, rng[6])
    fluence = of_species(_fluences(species, brightness, settings)) * energy
    if beam.shape is not None:
        fluence *= rng[7].gamma(beam.shape, 1.0 / beam.shape, number)
    fluence *= _overlap(beam.faintest, rng[8].random(number))
    scale = energy * _gamma(settings.background.spread, number, rng[9])
    filled, double = kind != "empty", kind == "double"
    matrices = random_rotations(number, rng[10])
    trains, pulses = np.divmod(np.arange(number), beam.pulses_per_train)
    return {
        "train_id": trains.astype(np.int64),
        "pulse_id": pulses.astype(np.int64),
        "cell_id": pulses.astype(np.int64),
        "pulse_energy": (beam.pulse_energy * energy).astype(np.float32),
        "true_kind": kind,
        "true_class": np.where(filled & (kind != "droplet"), chosen, -1).astype(np.int16),
        "true_size": np.where(filled, size, np.nan).astype(np.float32),
        "true_quaternion": np.where(filled[:, None], matrix_to_quaternion(matrices), np.nan).astype(
            np.float32
        ),
        "true_fluence": np.where(filled, fluence, 0.0).astype(np.float32),
        "true_background_scale": scale.astype(np.float32),
        "true_members": members.astype(np.int16),
        "true_partner_size": np.where(double, partner, np.nan).astype(np.float32),
        "true_separation": np.where(double, factor * reach * (size + partner), np.nan).astype(
            np.float32
        ),
    }


def _fluences(
    species: Sequence[Species], brightness: Sequence[Brightness], settings: Settings
) -> list[float]:
    """Give the mean fluence at particles of each species, photons per µm²."""
    beam = settings.beam
    if beam.fluence is not None:
        return [beam.fluence] * len(species)
    return [
        (each.photons or beam.mean_photons) / found.photons
        for each, found in zip(species, brightness, strict=True)
    ]


def _choose(shares: Sequence[float], number: int, rng: np.random.Generator) -> np.ndarray:
    edges = np.cumsum(shares) / np.sum(shares)
    return np.minimum(np.searchsorted(edges, rng.random(number), side="right"), len(edges) - 1)


def _deviation(spread: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Give sizes over their mean: normal, cut off where they would be far off, or near nothing."""
    off = np.clip(rng.standard_normal(number), -_FURTHEST, _FURTHEST)
    return np.maximum(1.0 + spread * off, 0.2)


def _gamma(spread: float, number: int, rng: np.random.Generator) -> np.ndarray:
    """Give positive numbers of mean 1 and a standard deviation."""
    if not spread:
        return np.ones(number)
    return rng.gamma(spread**-2, spread**2, number)


def _overlap(faintest: float, place: np.ndarray) -> np.ndarray:
    """Give the fluence at particles anywhere in a Gaussian beam over their mean.

    Parameters
    ----------
    faintest : float
        At the edge of the stream of particles, over that at the beam's centre.
    place : ndarray
        Squared distance from the centre over that of the edge: even from 0 to 1.
    """
    if faintest == 1.0:
        return np.ones_like(place)
    return np.asarray(faintest**place * np.log(faintest) / (faintest - 1.0))


def true_labels(stack: xr.Dataset) -> np.ndarray:
    """Give the label that a person would give to each frame.

    Parameters
    ----------
    stack : xarray.Dataset
        Simulated, from `open_frames` or `simulate_frames`.

    Returns
    -------
    (frame,) ndarray of object
        The name of its species for a single hit, else its kind: *double*, *aggregate*, ...
    """
    kind = np.asarray(stack["true_kind"].values, dtype=object)
    names = np.array([*stack["true_class_name"].values.tolist(), ""], dtype=object)
    return np.where(kind == "single", names[stack["true_class"].values], kind)
