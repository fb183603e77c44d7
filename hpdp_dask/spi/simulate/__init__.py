"""Simulated frames: particles in an X-ray beam on a detector, with the truth beside them.

`simulate` writes a stack; `simulate_frames` makes a small one in memory. Both take a list of
`Species` and `Settings`::

    virus = Species("virus", "icosahedron", size=600.0, spread=0.02)
    rods = Species("rod", "rod", size=500.0, aspect=4.0)
    settings = Settings(1000, beam=Beam(photons=8000), kinds={"single": 0.8, "double": 0.2})
    simulate([virus, rods], settings, "frames.zarr", client=client)

The truth is in the stack, as `true_class` (along `true_class_name`), `true_kind`, `true_size` and
so on; `true_labels` makes the labels of it that a person would give.
"""

from hpdp_dask.spi.simulate.detectors import lcls_detector, with_shadows
from hpdp_dask.spi.simulate.reading import read_pairs, read_settings, read_species
from hpdp_dask.spi.simulate.settings import Background, Beam, Readout, Settings
from hpdp_dask.spi.simulate.species import KINDS, Species
from hpdp_dask.spi.simulate.stage import simulate, simulate_frames
from hpdp_dask.spi.simulate.truth import true_labels

__all__ = [
    "KINDS",
    "Background",
    "Beam",
    "Readout",
    "Settings",
    "Species",
    "lcls_detector",
    "read_pairs",
    "read_settings",
    "read_species",
    "simulate",
    "simulate_frames",
    "true_labels",
    "with_shadows",
]
