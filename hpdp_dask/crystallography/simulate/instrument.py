"""The instrument of a shot: detector, beam, beam stop, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.crystallography.simulate.detectors import DETECTORS, DetectorModel
from hpdp_dask.crystallography.simulate.settings import Settings
from hpdp_dask.numerics.bragg_spots import Beam, Plane
from hpdp_dask.numerics.quadrants import SIDE
from hpdp_dask.numerics.rotations import rotation_vector_to_matrix
from hpdp_dask.numerics.still_image import BeamStop

#: Signs of x and y of the quadrants, in the order of `numerics.quadrants`.
_SIGNS = ((1, 1), (-1, 1), (-1, -1), (1, -1))


@dataclass(frozen=True)
class Instrument:
    """What stays as it is from shot to shot at a beamline.

    Attributes
    ----------
    name : str
        Of `DETECTORS`.
    beam : Beam
    plane : Plane
        Of the whole detector.
    center : tuple of float
        Where the beam is said to be: column, row. It is a little off.
    distance : float
        From the sample to where the beam meets the detector, m.
    stop : BeamStop
    blur : float
        Standard deviation of the point spread, pixels.
    pedestal : float
        Counts of every pixel.
    """

    name: str
    beam: Beam
    plane: Plane
    center: tuple[float, float]
    distance: float
    stop: BeamStop
    blur: float
    pedestal: float

    @property
    def model(self) -> DetectorModel:
        """Give the detector."""
        return DETECTORS[self.name]

    @property
    def finest(self) -> float:
        """Give the resolution at the end of the detector's longer half, Å."""
        reach = max(self.model.shape) / 2 * self.model.pixel_size / self.distance
        return float(self.beam.wavelength / (2.0 * np.sin(np.arctan(reach) / 2.0)))

    def tangent(self, resolution: np.ndarray | float) -> np.ndarray:
        """Give tan(2 theta) at a resolution, Å."""
        sine = np.minimum(self.beam.wavelength / (2.0 * np.asarray(resolution)), 0.7)
        return np.asarray(np.tan(2.0 * np.arcsin(sine)))


@dataclass(frozen=True)
class View:
    """A part of the detector, seen with its first pixel in row 0, column 0.

    Attributes
    ----------
    plane : Plane
        Of its pixels; rows and columns that make whole cells.
    good_rows, good_columns : (y,), (x,) ndarray of bool
        Where there are pixels, and no gaps.
    start : tuple of int
        Column and row of the detector that comes first.
    signs : tuple of int
        Whether columns and rows go on as the detector's, 1, or against them, -1.
    factor : int
        Pixels along an edge of a cell.
    """

    plane: Plane
    good_rows: np.ndarray
    good_columns: np.ndarray
    start: tuple[int, int]
    signs: tuple[int, int]
    factor: int

    def moved(self, spots: np.ndarray) -> np.ndarray:
        """Give spots of the whole detector as they are seen here."""
        seen = spots.copy()
        seen[:, 0] = self.signs[0] * (spots[:, 0] - self.start[0])
        seen[:, 1] = self.signs[1] * (spots[:, 1] - self.start[1])
        seen[:, 3] *= self.signs[0] * self.signs[1]
        return seen


def draw_instrument(settings: Settings, rng: np.random.Generator) -> Instrument:
    """Draw an instrument from the ranges of the settings."""
    name = str(rng.choice(settings.detectors))
    model = DETECTORS[name]
    distance = rng.uniform(*settings.distance)
    beam = Beam(
        rng.uniform(*settings.wavelength),
        np.radians(rng.uniform(*settings.divergence)),
        rng.uniform(*settings.bandwidth),
        rng.uniform(*settings.polarization),
    )
    middle = np.array([model.columns - 1, model.rows - 1]) / 2
    center = middle + rng.normal(0.0, settings.beam_offset, 2) / model.pixel_size
    said = center + rng.normal(0.0, settings.beam_error, 2)
    tilt = np.radians(rng.uniform(-settings.tilt, settings.tilt, 2))
    turned = rotation_vector_to_matrix(np.array([[*tilt, 0.0]]))[0]
    fast = turned @ np.array([model.pixel_size, 0.0, 0.0])
    slow = turned @ np.array([0.0, model.pixel_size, 0.0])
    origin = np.array([0.0, 0.0, distance]) - center[0] * fast - center[1] * slow
    return Instrument(
        name=name,
        beam=beam,
        plane=Plane(origin, fast, slow, model.shape),
        center=(float(said[0]), float(said[1])),
        distance=distance,
        stop=_draw_stop(settings, rng),
        blur=rng.uniform(*model.blur),
        pedestal=rng.uniform(*model.pedestal),
    )


def quadrant_view(instrument: Instrument, quadrant: int) -> View:
    """See a quadrant of a detector, the beam in its corner.

    Parameters
    ----------
    instrument : Instrument
    quadrant : int
        0 (+x, +y), 1 (-x, +y), 2 (-x, -y), 3 (+x, -y).

    Returns
    -------
    View
        Its corner is where the beam is said to be.
    """
    model, signs = instrument.model, _SIGNS[quadrant]
    start_x, columns = _outward(model.good_columns(), instrument.center[0], signs[0], model.factor)
    start_y, rows = _outward(model.good_rows(), instrument.center[1], signs[1], model.factor)
    whole = instrument.plane
    plane = Plane(
        whole.origin + start_x * whole.fast + start_y * whole.slow,
        signs[0] * whole.fast,
        signs[1] * whole.slow,
        (len(rows), len(columns)),
    )
    return View(plane, rows, columns, (start_x, start_y), signs, model.factor)


def whole_view(instrument: Instrument) -> View:
    """See all of a detector, pixel by pixel."""
    model = instrument.model
    return View(instrument.plane, model.good_rows(), model.good_columns(), (0, 0), (1, 1), 1)


def _outward(good: np.ndarray, center: float, sign: int, factor: int) -> tuple[int, np.ndarray]:
    """Give the first pixel on one side of the beam, and which from there on are good."""
    start = int(np.ceil(center)) if sign > 0 else int(np.ceil(center)) - 1
    along = (good[start:] if sign > 0 else good[start::-1])[: SIDE * factor]
    return start, np.concatenate([along, np.zeros(-len(along) % factor, np.bool_)])


def _draw_stop(settings: Settings, rng: np.random.Generator) -> BeamStop:
    angle = rng.uniform(0.0, 2.0 * np.pi)
    x, y = rng.normal(0.0, 4e-4, 2)
    return BeamStop(
        x=float(x),
        y=float(y),
        radius=rng.uniform(*settings.beam_stop),
        softness=float(np.exp(rng.uniform(np.log(2e-5), np.log(6e-4)))),
        leak=rng.uniform(0.0, 0.05),
        arm=rng.uniform(2e-4, 1.5e-3) if rng.random() < 0.3 else 0.0,
        arm_x=float(np.cos(angle)),
        arm_y=float(np.sin(angle)),
        arm_leak=rng.uniform(0.1, 0.9),
    )
