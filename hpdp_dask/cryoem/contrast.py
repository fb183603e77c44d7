"""The contrast transfer of the particles in a block of a stack, and of what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from hpdp_dask.numerics import fourier
from hpdp_dask.numerics.arrays import fast_namespace, to_host
from hpdp_dask.numerics.ctf import CtfCoefficients, ctf_coefficients
from hpdp_dask.stacks.schema import CTF_VARIABLES


def coefficients_of(block: xr.Dataset, rows: np.ndarray) -> CtfCoefficients:
    """Give the coefficients of the CTF of some particles.

    Parameters
    ----------
    block : xarray.Dataset
        With the variables of `schema.CTF_VARIABLES`, and `optics_group`.
    rows : (n,) ndarray of int
    """
    groups = block["optics_group"].values[rows]
    phase_shift = block["phase_shift"].values[rows] if "phase_shift" in block else 0.0
    return ctf_coefficients(
        **{
            name: block[name].values[groups if block[name].dims == ("optics",) else rows]
            for name in CTF_VARIABLES
        },
        phase_shift=phase_shift,
    )


@dataclass(frozen=True)
class PackedTransforms:
    """What is kept of images between passes: their transforms inside a circle.

    Attributes
    ----------
    box : int
    radius : int
        The last shell.
    """

    box: int
    radius: int

    def __call__(self, block: xr.Dataset) -> xr.Dataset:
        """Replace `images` by `transforms` (particle, sample), packed and centred."""
        xp = fast_namespace()
        plane = fourier.half_plane(self.box, self.radius)
        images = xp.asarray(block["images"].values, dtype=xp.float32)
        transforms = to_host(fourier.pack(fourier.transform_images(images), plane))
        kept = block.drop_vars("images")
        kept["transforms"] = ("particle", "sample"), transforms.astype(np.complex64, copy=False)
        return kept
