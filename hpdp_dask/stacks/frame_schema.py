"""The variables of a stack of detector frames: names, dimensions, units, meaning."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hpdp_dask.errors import InputError
from hpdp_dask.stacks.schema import Variable, check_variables, stack_name

#: What the attribute `kind` of a stack of frames says.
FRAME_KIND = "frames"

#: Names that the numbers of the detector go by.
FRAME_IMAGES = ("photons", "adu")

_FRAME, _PIXELS = ("frame",), ("y", "x")

FRAME_VARIABLES: dict[str, Variable] = {
    "photons": Variable(("frame", "y", "x"), "i", "", "photons counted"),
    "adu": Variable(("frame", "y", "x"), "f", "", "as read out, in the detector's own units"),
    "mask": Variable(_PIXELS, "i", "", "0 good, 1 good for merging alone, 2 bad"),
    "pixel_x": Variable(_PIXELS, "f", "m", "centre of the pixel; y up, z along the beam"),
    "pixel_y": Variable(_PIXELS, "f", "m", "centre of the pixel, upwards"),
    "pixel_z": Variable(_PIXELS, "f", "m", "centre of the pixel, along the beam from the sample"),
    "wavelength": Variable((), "f", "Å", "of the beam"),
    "pixel_size": Variable((), "f", "m", "edge of a pixel"),
    "beam_center": Variable(("axis",), "f", "m", "x, y of the beam, as the pixels are given"),
    "beam_center_error": Variable(("axis",), "f", "m", "standard error of beam_center"),
    "background": Variable(_PIXELS, "f", "photon", "of a frame without a particle"),
    "train_id": Variable(_FRAME, "i", "", "train of pulses"),
    "pulse_id": Variable(_FRAME, "i", "", "pulse of the train"),
    "cell_id": Variable(_FRAME, "i", "", "memory cell of the detector"),
    "pulse_energy": Variable(_FRAME, "f", "J", "of the pulse"),
    "lit_pixels": Variable(_FRAME, "i", "", "good pixels with a photon or more"),
    "photon_count": Variable(_FRAME, "i", "photon", "on good pixels"),
    "hit_score": Variable(_FRAME, "f", "", "lit pixels above the median, standard deviations"),
    "lambda_score": Variable(_FRAME, "f", "", "log-likelihood against the background"),
    "hit": Variable(_FRAME, "i", "", "1 a hit, 0 not"),
    "miss": Variable(_FRAME, "i", "", "1 chosen as a frame without a particle"),
    "background_scale": Variable(_FRAME, "f", "", "background of the frame over `background`"),
    "particle_size": Variable(_FRAME, "f", "Å", "diameter"),
    "size_error": Variable(_FRAME, "f", "Å", "standard error of particle_size"),
    "size_score": Variable(_FRAME, "f", "", "fidelity of the size"),
    "particle_elongation": Variable(_FRAME, "f", "", "longer over shorter axis as seen"),
    "particle_direction": Variable(_FRAME, "f", "degree", "of the longer axis, from x"),
    "fluence": Variable(_FRAME, "f", "", "of the pulse at the particle, relative"),
    "features": Variable(("frame", "feature"), "f", "", "what classifiers look at"),
    "label": Variable(_FRAME, "i", "", "index along class_name, -1 none"),
    "label_probability": Variable(_FRAME, "f", "", "of the label"),
    "label_accepted": Variable(_FRAME, "i", "", "1 if the probability suffices"),
    "class_name": Variable(("classes",), "U", "", "what labels mean"),
    "resolution": Variable(_FRAME, "f", "Å", "to which the crystal diffracts"),
    "resolution_low": Variable(_FRAME, "f", "Å", "coarse end of the 90 % interval of resolution"),
    "resolution_high": Variable(_FRAME, "f", "Å", "fine end of the 90 % interval of resolution"),
    "hit_probability": Variable(_FRAME, "f", "", "that a crystal was hit"),
    "several_lattices_probability": Variable(_FRAME, "f", "", "of more lattices than one"),
    "quadrants_used": Variable(_FRAME, "i", "", "quadrants with enough good pixels to look at"),
    "spot_count": Variable(_FRAME, "i", "", "Bragg spots found, those of ice left out"),
    "spot_intensity": Variable(_FRAME, "f", "", "of all spots above the background, as counted"),
    "spot_resolution": Variable(_FRAME, "f", "Å", "where the intensity of spots falls off"),
    "spot_hit": Variable(_FRAME, "i", "", "1 if the spots are those of a crystal, 0 a blank"),
    "ice_rings": Variable(_FRAME, "i", "", "rings of hexagonal ice that are seen"),
    "ice_score": Variable(_FRAME, "f", "", "strongest ring of ice over its neighbourhood"),
    "lattice_count": Variable(_FRAME, "i", "", "lattices that explain the spots"),
}

#: Where the pixels are, and the beam.
GEOMETRY_VARIABLES = ("pixel_x", "pixel_y", "pixel_z", "wavelength", "mask")

#: How to get what is missing.
_REMEDIES = {
    **dict.fromkeys(
        ("pixel_x", "pixel_y", "pixel_z", "pixel_size"),
        "import the frames again with --geometry, or with --pixel-size and --distance",
    ),
    "wavelength": "import the frames again with --wavelength",
    "photons": "make photons of it with hpdp spi calibrate",
    "background": "hpdp spi background estimates it",
    "background_scale": "hpdp spi background estimates it where hits are known",
    "beam_center": "hpdp spi center finds it",
    "particle_size": "hpdp spi size finds it",
    **dict.fromkeys(("size_score", "size_error"), "hpdp spi size finds it"),
    **dict.fromkeys(
        ("particle_elongation", "particle_direction"), "hpdp spi size --shape spheroid finds it"
    ),
    "features": "hpdp spi features computes them",
    **dict.fromkeys(
        ("lit_pixels", "photon_count", "hit", "hit_score"), "hpdp spi hits computes it"
    ),
    **dict.fromkeys(("label", "label_probability"), "hpdp spi classify gives them"),
    **dict.fromkeys(
        ("spot_count", "spot_resolution", "spot_hit", "ice_rings", "lattice_count"),
        "hpdp crystals spots finds it",
    ),
    **dict.fromkeys(
        ("resolution", "hit_probability", "several_lattices_probability"),
        "hpdp crystals predict gives it",
    ),
}

#: Å: longer than any X-ray laser's, and shorter.
_WAVELENGTHS = (0.05, 500.0)


def check_frames(stack: xr.Dataset, needed: tuple[str, ...] = ()) -> None:
    """Check that a dataset is a stack of frames and has what a stage needs.

    Parameters
    ----------
    stack : xarray.Dataset
        As `open_frames` gives it.
    needed : tuple of str, optional
        Variables that must be there.

    Raises
    ------
    InputError
        Names the stack, the variable, what was expected, and what gives it.
    """
    name = stack_name(stack)
    check_variables(stack, FRAME_VARIABLES, FRAME_KIND)
    for variable in needed:
        if variable not in stack:
            spec = FRAME_VARIABLES[variable]
            remedy = _REMEDIES.get(variable, "import frames that have it")
            raise InputError(
                f"{name}: no {variable} ({spec.meaning}), which this stage needs; {remedy}."
            )
    if "wavelength" in needed:
        wavelength = float(stack["wavelength"])
        low, high = _WAVELENGTHS
        if not low <= wavelength <= high:
            raise InputError(
                f"{name}: the wavelength is {wavelength:g} Å, expected {low:g} to {high:g} Å; is "
                "it in other units? Import the frames again with --wavelength."
            )
    if "mask" in needed and not np.any(stack["mask"].values == 0):
        raise InputError(f"{name}: all pixels are masked; import the frames with another mask.")
