"""The loop of a refinement: how it starts, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpdp_dask.cryoem.refine.expectation import RefineExpectation
from hpdp_dask.cryoem.refine.maximization import Maximization, box_for, write_references
from hpdp_dask.cryoem.refine.spectra import Spectra, grey_scale
from hpdp_dask.cryoem.refine.state import LOCAL_ORDER, State
from hpdp_dask.formats import mrc
from hpdp_dask.numerics import fourier
from hpdp_dask.numerics.symmetry import point_group

#: Of shifts, before any are known, Å: their standard deviation, and how far they are searched.
_SHIFT_SIGMA, _SHIFT_RANGE = 10.0, 20.0

#: The first grid, 7.5°, and its step of shifts in pixels.
_FIRST_ORDER, _FIRST_SHIFT_STEP = 3, 1.0


@dataclass(frozen=True)
class RefineLoop:
    """See `dataflow.loops.Loop`.

    Attributes
    ----------
    reference : Path
        Of `inputs.prepare_reference`.
    box : int
    pixel_size : float
        Å.
    symmetry : str
    mask_diameter : float
        Å.
    mask : Path or None
    initial_resolution : float
        Å; what the reference was low-passed to.
    spectra : Spectra
        Of the images.
    micrographs : int
        0 if they are not known.
    seed : int
    """

    reference: Path
    box: int
    pixel_size: float
    symmetry: str
    mask_diameter: float
    mask: Path | None
    initial_resolution: float
    spectra: Spectra
    micrographs: int
    seed: int
    name: str = "refine"
    state_type: type[State] = State

    def begin(self, folder: Path) -> State:
        """Bring the reference to the images' grey scale, and write it for both half-sets."""
        volume, _ = mrc.read_map(self.reference)
        shell = max(2, int(self.box * self.pixel_size / self.initial_resolution))
        volume = volume * np.float32(grey_scale(volume, self.spectra, shell))
        radius = min(self.box // 2, shell + 2)
        volume = fourier.crop_volume(volume, box_for(radius, self.box))
        write_references(folder, [volume, volume])
        return State(
            iteration=0,
            radius=radius,
            order=_FIRST_ORDER,
            local=False,
            shift_step=_FIRST_SHIFT_STEP,
            noise_power=self.spectra.noise_power.tolist(),
            shift_sigma=_SHIFT_SIGMA / self.pixel_size,
            shift_range=_SHIFT_RANGE / self.pixel_size,
            scales=[1.0] * self.micrographs,
        )

    def is_done(self, state: State) -> bool:
        """Tell whether the last iteration has joined everything."""
        return state.finished

    def expectation(self, state: State, folder: Path, following: Path) -> RefineExpectation:
        """Make the next pass."""
        return RefineExpectation(state, self._settings(following), folder, self.seed)

    def largest(self, state: State, folder: Path) -> RefineExpectation:
        """Give a pass to Nyquist's frequency, the one that takes the most memory."""
        last = replace(state, radius=self.box // 2, order=LOCAL_ORDER, local=True)
        first = RefineExpectation(state, self._settings(folder), folder, self.seed)
        return replace(first, state=last, first_bytes=first.plan().batch_bytes)

    def _settings(self, following: Path) -> Maximization:
        return Maximization(
            box=self.box,
            pixel_size=self.pixel_size,
            operators=point_group(self.symmetry),
            diameter=self.mask_diameter / self.pixel_size,
            mask=self.mask,
            following=following,
        )
