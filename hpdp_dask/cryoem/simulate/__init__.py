"""Simulated particles: a phantom or an atomic model, projected exactly and imaged.

`simulate` writes a set as a microscope and RELION would leave it, with the truth beside it;
`simulate_particles` makes a small one in memory; `project_map` only projects.
"""

from hpdp_dask.cryoem.simulate.conformations import HingeRange, HingeStates
from hpdp_dask.cryoem.simulate.hexamer import phantom
from hpdp_dask.cryoem.simulate.models import specimen_from_model
from hpdp_dask.cryoem.simulate.optics import CtfRange
from hpdp_dask.cryoem.simulate.potential import potential_map
from hpdp_dask.cryoem.simulate.projection import project_map
from hpdp_dask.cryoem.simulate.settings import Settings
from hpdp_dask.cryoem.simulate.specimen import Specimen
from hpdp_dask.cryoem.simulate.stage import SimulatedFiles, simulate, simulate_particles

__all__ = [
    "CtfRange",
    "HingeRange",
    "HingeStates",
    "Settings",
    "SimulatedFiles",
    "Specimen",
    "phantom",
    "potential_map",
    "project_map",
    "simulate",
    "simulate_particles",
    "specimen_from_model",
]
