"""The diffuse scattering of a shot: air, solvent, the loop, ice."""

from __future__ import annotations

import numpy as np

from hpdp_dask.crystallography.simulate.instrument import Instrument
from hpdp_dask.crystallography.simulate.settings import Settings
from hpdp_dask.numerics.diffuse_scatter import (
    ICE_SPACINGS,
    ICE_STRENGTHS,
    air_scatter,
    broad_scatter,
    ice_scatter,
    water_scatter,
)
from hpdp_dask.numerics.still_image import Diffuse

#: Points of the tables over tan(2 theta), fine enough for rings of ice.
_POINTS = 4096

#: A pixel and a distance that backgrounds are told for, m.
_PIXEL, _DISTANCE = 172e-6, 0.25


def background_level(settings: Settings, instrument: Instrument, rng: np.random.Generator) -> float:
    """Draw the photons of a pixel where diffuse scattering is strongest."""
    solid_angle = (instrument.model.pixel_size / _PIXEL / instrument.distance * _DISTANCE) ** 2
    low, high = settings.background
    level = low * (high / low) ** rng.random() if low > 0.0 else rng.uniform(low, high)
    return float(level * solid_angle)


def draw_diffuse(
    instrument: Instrument, photons: float, ice: float, rng: np.random.Generator, *, solvent: bool
) -> Diffuse:
    """Draw what is scattered without making spots.

    Parameters
    ----------
    instrument : Instrument
    photons : float
        In a pixel, where it is strongest.
    ice : float
        Strength of the rings of ice, over the rest.
    rng : Generator
    solvent : bool
        There is a drop or a crystal in the beam, not only air.

    Returns
    -------
    Diffuse
    """
    beam, distance, model = instrument.beam, instrument.distance, instrument.model
    # the corners of a detector whose middle is a little off
    widest = 0.8 * np.hypot(*model.shape) * model.pixel_size / distance
    tangent = np.linspace(0.0, widest, _POINTS)
    angle = np.arctan(tangent)
    stol = np.sin(angle / 2.0) / beam.wavelength
    air = air_scatter(stol)
    profile = rng.uniform(0.3, 1.0) * air / air[0]
    if solvent:
        water = water_scatter(stol)
        profile += rng.uniform(0.0, 1.5) * water / water.max()
        # protein, plastic of a loop, oil
        for _ in range(rng.integers(0, 3)):
            ring = broad_scatter(stol, rng.uniform(3.6, 10.0), rng.uniform(0.08, 0.35))
            profile += rng.uniform(0.0, 0.6) * ring
    profile /= profile.max()
    if ice > 0.0:
        strengths = np.array(ICE_STRENGTHS) * rng.lognormal(0.0, 0.5, len(ICE_STRENGTHS))
        profile += ice * ice_scatter(stol, strengths, rng.uniform(0.001, 0.004))
    # near the beam: what the pin-hole and the windows let through
    profile += rng.exponential(0.3) * np.exp(-stol / rng.uniform(0.004, 0.02))
    profile *= photons * np.cos(angle) ** 3
    cosine, sine = np.cos(angle) ** 2, np.sin(angle) ** 2
    slope = rng.normal(0.0, 0.15, 2) / (distance * widest)
    return Diffuse(
        even=(0.5 * (1.0 + cosine) * profile).astype(np.float32),
        sided=(-0.5 * beam.polarization * sine * profile).astype(np.float32),
        step=float(tangent[1]),
        slope=(float(slope[0]), float(slope[1])),
        pedestal=instrument.pedestal,
    )


def draw_ice_spots(
    instrument: Instrument, background: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw spots of single crystals of ice, anywhere on its rings.

    Parameters
    ----------
    instrument : Instrument
    background : float
        Photons of a pixel, which spots stand out from a little or much.
    rng : Generator

    Returns
    -------
    (m, 7) ndarray
        As `bragg_spots` gives them, on the whole detector.
    """
    number = int(rng.integers(1, 60))
    chances = np.array(ICE_STRENGTHS) / sum(ICE_STRENGTHS)
    spacing = rng.choice(ICE_SPACINGS, number, p=chances)
    spacing = spacing * (1.0 + rng.normal(0.0, 0.002, number))
    tangent, azimuth = instrument.tangent(spacing), rng.uniform(0.0, 2.0 * np.pi, number)
    direction = np.stack(
        [tangent * np.cos(azimuth), tangent * np.sin(azimuth), np.ones(number)], axis=1
    )
    plane, size = instrument.plane, instrument.plane.pixel_size
    normal = np.cross(plane.fast, plane.slow)
    place = direction * (plane.origin @ normal / (direction @ normal))[:, None] - plane.origin
    inverse = (size / (rng.uniform(1.0, 3.0, number) * _PIXEL)) ** 2
    peak = rng.lognormal(np.log(3.0 * np.sqrt(background + 1.0)), 1.2, number)
    return np.stack(
        [
            *(place @ plane.fast / size**2, place @ plane.slow / size**2),
            *(inverse, np.zeros(number), inverse, peak, spacing),
        ],
        axis=1,
    )
