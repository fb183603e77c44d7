"""One simulated still: what is drawn for it, and its picture."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hpdp_dask.crystallography.simulate.crystals import BEYOND, Sample, draw_sample
from hpdp_dask.crystallography.simulate.diffuse import (
    background_level,
    draw_diffuse,
    draw_ice_spots,
)
from hpdp_dask.crystallography.simulate.instrument import (
    Instrument,
    View,
    draw_instrument,
    quadrant_view,
)
from hpdp_dask.crystallography.simulate.settings import Settings
from hpdp_dask.numerics.arrays import fast_namespace, to_host
from hpdp_dask.numerics.bragg_spots import bragg_spots
from hpdp_dask.numerics.quadrants import MOST_COUNTS, SIDE, rooted
from hpdp_dask.numerics.stamped_spots import spot_areas, stamp_spots
from hpdp_dask.numerics.still_image import Diffuse, count_photons

#: Signal over noise of a spot that can be seen.
_SEEN = 4.0

#: Crystals that are tried for one that shows enough spots.
_CRYSTALS = 12


@dataclass(frozen=True)
class Shot:
    """All that a still is made of but its noise.

    Attributes
    ----------
    instrument : Instrument
    diffuse : Diffuse
    sample : Sample or None
        None in a blank.
    ice_spots : (m, 7) ndarray
        As `bragg_spots` gives them, on the whole detector.
    quadrant : int
        Which is looked at.
    noise : int
        Key of the counts.
    truth : dict of str to float
        Of `truth.TRUTHS`, what does not depend on the part that is looked at.
    """

    instrument: Instrument
    diffuse: Diffuse
    sample: Sample | None
    ice_spots: np.ndarray
    quadrant: int
    noise: int
    truth: dict[str, float] = field(default_factory=dict)


def simulate_shot(settings: Settings, index: int) -> tuple[np.ndarray, dict[str, float]]:
    """Simulate a quadrant of a still.

    Parameters
    ----------
    settings : Settings
    index : int
        The place of the shot in the set: its random numbers are of the seed and of this alone.

    Returns
    -------
    quadrant : (512, 512) ndarray of uint8
        As `numerics.quadrants.pool_quadrants` makes them: the beam at row and column 0, the
        largest of the counts of a cell, the floor of its square root.
    truth : dict of str to float
        `true_resolution` (Å), `true_hit`, `true_lattices`, `true_misorientation` (degrees),
        `true_mosaicity` (degrees), `true_b_factor` (Å²), `true_photons` (mean, of spots on the
        quadrant), `true_spots` (of four standard deviations or more there), `true_background`
        (photons of a pixel at its strongest), `true_ice` (0 or 1), `true_quadrant`; and the
        geometry, `shot_detector` (index along the settings'), `shot_wavelength` (Å),
        `shot_distance` and `shot_pixel_size` (m, of a cell), `shot_center_x`, `shot_center_y`
        (cells, of the beam from the centre of cell 0, 0). What a blank does not have is NaN.
    """
    rng = shot_rng(settings, index)
    instrument = draw_instrument(settings, rng)
    shot = draw_shot(settings, instrument, rng)
    view = quadrant_view(instrument, shot.quadrant)
    counts, truth = expose(shot, view, rng)
    quadrant = np.zeros((SIDE, SIDE), np.uint8)
    quadrant[: counts.shape[0], : counts.shape[1]] = rooted(counts)
    center = [
        (sign * (beam - start) - (view.factor - 1) / 2) / view.factor
        for sign, beam, start in zip(view.signs, instrument.center, view.start, strict=True)
    ]
    return quadrant, truth | {
        "shot_detector": float(settings.detectors.index(instrument.name)),
        "shot_wavelength": instrument.beam.wavelength,
        "shot_distance": instrument.distance,
        "shot_pixel_size": view.factor * instrument.model.pixel_size,
        "shot_center_x": center[0],
        "shot_center_y": center[1],
    }


def shot_rng(settings: Settings, index: int) -> np.random.Generator:
    """Give the random stream of a shot."""
    return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(index,)))


def draw_shot(settings: Settings, instrument: Instrument, rng: np.random.Generator) -> Shot:
    """Draw what a still is made of.

    Parameters
    ----------
    settings : Settings
    instrument : Instrument
    rng : Generator
        Of the shot.

    Returns
    -------
    Shot
        With a crystal that shows `settings.fewest_spots` spots in its quadrant, or the one that
        shows most of those that were tried.
    """
    blank = rng.random() < settings.blanks
    ice = float(rng.lognormal(-0.5, 1.0)) if rng.random() < settings.ice else 0.0
    background = background_level(settings, instrument, rng)
    diffuse = draw_diffuse(
        instrument, background, ice, rng, solvent=not blank or rng.random() < 0.7
    )
    spots = np.empty((0, 7))
    if ice and rng.random() < 0.4:
        spots = draw_ice_spots(instrument, background, rng)
    quadrant = int(rng.integers(4))
    sample, most = None, -1
    if not blank:
        view = quadrant_view(instrument, quadrant)
        resolution = _draw_resolution(settings, instrument, rng)
        for _ in range(_CRYSTALS):
            candidate = draw_sample(settings, instrument, diffuse, resolution, rng)
            seen = _seen(instrument, diffuse, sample_spots(candidate, instrument, view))
            if seen > most:
                sample, most = candidate, seen
            if most >= settings.fewest_spots:
                break
    truth = {
        "true_hit": float(not blank),
        "true_background": background,
        "true_ice": float(ice > 0.0),
        "true_quadrant": float(quadrant),
        "true_lattices": float(len(sample.rotations)) if sample else 0.0,
        "true_resolution": sample.resolution if sample else np.nan,
        "true_misorientation": sample.misorientation if sample else np.nan,
        "true_mosaicity": float(np.degrees(sample.mosaicity)) if sample else np.nan,
        "true_b_factor": sample.b_factor if sample else np.nan,
    }
    noise = int(rng.integers(2**63))
    return Shot(instrument, diffuse, sample, spots, quadrant, noise, truth)


def _draw_resolution(settings: Settings, instrument: Instrument, rng: np.random.Generator) -> float:
    low, high = settings.resolution
    finest = min(max(low, instrument.finest), high)
    return float(1.0 / rng.uniform(1.0 / high, 1.0 / finest))


def sample_spots(sample: Sample, instrument: Instrument, view: View) -> np.ndarray:
    """Give all spots of a sample on a part of the detector: (m, 7) ndarray, as `bragg_spots`."""
    return np.concatenate(
        [
            bragg_spots(
                crystal,
                sample.factors,
                instrument.beam,
                view.plane,
                photons,
                finest=BEYOND * sample.resolution,
                blur=instrument.blur,
                parallax=instrument.model.sensor,
            )
            for crystal, photons in sample.pieces()
        ]
    )


def expose(shot: Shot, view: View, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Take the picture of a part of the detector.

    Parameters
    ----------
    shot : Shot
    view : View
    rng : Generator
        Of the shot, for pixels that do not work.

    Returns
    -------
    counts : (rows, columns) ndarray of int32
        The largest of each cell; 0 where there is no pixel that works.
    truth : dict of str to float
    """
    instrument = shot.instrument
    spots = np.empty((0, 7))
    if shot.sample is not None:
        spots = sample_spots(shot.sample, instrument, view)
    image = fast_namespace().zeros(view.plane.shape, np.float32)
    stamp_spots(image, spots)
    stamp_spots(image, view.moved(shot.ice_spots))
    counts = to_host(
        count_photons(
            image,
            view.plane,
            shot.diffuse,
            instrument.stop,
            view.good_rows,
            view.good_columns,
            shot.noise,
            view.factor,
        )
    )
    _spoil(counts, rng)
    return counts, shot.truth | {
        "true_photons": float((spots[:, 5] * spot_areas(spots)).sum()),
        "true_spots": float(_seen(instrument, shot.diffuse, spots)),
    }


def _seen(instrument: Instrument, diffuse: Diffuse, spots: np.ndarray) -> int:
    """Count spots that stand out from the counts under them, their own and the background's."""
    area = spot_areas(spots)
    photons = area * spots[:, 5]
    under = 2.0 * area * diffuse.at(instrument.tangent(spots[:, 6]))
    return int(np.sum(photons > _SEEN * np.sqrt(photons + under)))


def _spoil(counts: np.ndarray, rng: np.random.Generator) -> None:
    """Put hot pixels and small dead patches into counts, in place."""
    rows, columns = counts.shape
    for _ in range(rng.integers(0, 4)):
        row, column = rng.integers(rows), rng.integers(columns)
        if counts[row, column]:
            counts[row, column] = MOST_COUNTS
    for _ in range(rng.integers(0, 5)):
        row, column = rng.integers(rows), rng.integers(columns)
        counts[row : row + rng.integers(1, 4), column : column + rng.integers(1, 4)] = 0
