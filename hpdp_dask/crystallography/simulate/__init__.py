"""Simulated stills of crystals: quadrants as networks see them, with the truth.

`simulate_shot` makes one picture, `simulate_shots` a stack of them::

    settings = Settings(number=10_000, misorientation="uniform")
    quadrant, truth = simulate_shot(settings, 0)
"""

from hpdp_dask.crystallography.simulate.detectors import DETECTORS, DetectorModel
from hpdp_dask.crystallography.simulate.reading import read_settings
from hpdp_dask.crystallography.simulate.settings import Settings
from hpdp_dask.crystallography.simulate.shot import simulate_shot
from hpdp_dask.crystallography.simulate.stage import simulate_frames, simulate_shots

__all__ = [
    "DETECTORS",
    "DetectorModel",
    "Settings",
    "read_settings",
    "simulate_frames",
    "simulate_shot",
    "simulate_shots",
]
