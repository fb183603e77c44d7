"""Whether wavelength, distance and pixel size of a diffraction camera make sense."""

from __future__ import annotations

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.frames import ENERGY_WAVELENGTH
from hpdp_dask.formats.stored_frames import StoredFrames

#: What is refused outside of, and what is said of the rest: option, unit, possible, usual.
_RANGES = {
    "wavelength": ("Å", (0.1, 6.2), (0.3, 5.0)),
    "distance": ("m", (0.01, 10.0), (0.03, 2.0)),
    "pixel_size": ("m", (5e-6, 2e-3), (1e-5, 1e-3)),
}

#: Units that numbers come in by mistake: by what to multiply to have Å, or m.
_OTHERS = {
    "wavelength": {"m": 1e10, "nm": 10.0, "pm": 0.01},
    "distance": {"mm": 1e-3, "cm": 1e-2, "µm": 1e-6},
    "pixel_size": {"mm": 1e-3, "µm": 1e-6, "nm": 1e-9},
}


def check_beam(source: StoredFrames, given: tuple[str, ...] = ()) -> list[str]:
    """Check what is known of the beam and the detector of images of crystals.

    Parameters
    ----------
    source : StoredFrames
    given : tuple of str, optional
        What of it the user gave, as `wavelength`.

    Returns
    -------
    list of str
        What is unusual.

    Raises
    ------
    InputError
        A number is not possible: it says which, and which unit it may be in.
    """
    known = source.partial if source.detector is None else source.detector
    notes = []
    for name, (unit, possible, usual) in _RANGES.items():
        value = float(getattr(known, name))
        if np.isnan(value):
            continue
        option = f"--{name.replace('_', '-')}"
        told = option if name in given else f"the {name.replace('_', ' ')} in its header"
        if not possible[0] <= value <= possible[1]:
            suspected = _suspected(name, value, usual)
            advice = f" ({suspected})" if suspected else ""
            raise InputError(
                f"{source.path}: {told} is {value:g} {unit}, expected {possible[0]:g} to "
                f"{possible[1]:g} {unit}{advice}; give {option} in {unit}."
            )
        if not usual[0] <= value <= usual[1]:
            suspected = _suspected(name, value, usual)
            notes.append(
                f"{source.path}: {told} is {value:g} {unit}, which is unusual"
                f"{'; ' + suspected if suspected else ''}"
            )
    return notes


def _suspected(name: str, value: float, usual: tuple[float, float]) -> str:
    """Say in which unit a number would be usual; empty for none."""
    if value <= 0:
        return ""
    others = {unit: value * factor for unit, factor in _OTHERS[name].items()}
    if name == "wavelength":
        # an energy that is taken for a wavelength
        others = {
            "keV, an energy": ENERGY_WAVELENGTH / 1e3 / value,
            "eV, an energy": ENERGY_WAVELENGTH / value,
        } | others
    likely = [unit for unit, number in others.items() if usual[0] <= number <= usual[1]]
    return f"is it in {likely[0]}?" if likely else ""
