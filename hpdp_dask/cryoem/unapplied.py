"""What a file says of its images that reconstruction does not take into account.

RELION and cryoSPARC write corrections that we do not apply yet. Leaving them out costs
resolution, which a person should know; images that were changed by their CTF already would be
wrong, and are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpdp_dask.errors import InputError
from hpdp_dask.formats.particles import SourceTables


def _is_set(values: np.ndarray) -> bool:
    """Tell whether any value is not zero; lists in star files are text, `[0,0,0]`."""
    if values.dtype == object:
        numbers = [part for text in values for part in str(text).strip("[]").split(",") if part]
        return any(float(number) != 0 for number in numbers)
    return bool(np.any(values != 0))


def _is_not_one(values: np.ndarray) -> bool:
    return bool(np.any(np.abs(np.asarray(values, dtype=np.float64) - 1.0) > 1e-3))


#: Columns that say that the images are not what a microscope makes.
_CHANGED = {
    "rlnCtfDataAreCtfPremultiplied": "were multiplied by their CTF",
    "rlnCtfDataArePhaseFlipped": "had their phases flipped",
}

#: Columns of corrections that are left out, and when they would change something.
_CORRECTIONS: dict[str, tuple[Callable[[np.ndarray], bool], str]] = {
    "rlnBeamTiltX": (_is_set, "beam tilt"),
    "rlnBeamTiltY": (_is_set, "beam tilt"),
    "rlnOddZernike": (_is_set, "antisymmetric aberrations"),
    "rlnEvenZernike": (_is_set, "symmetric aberrations"),
    "rlnMagMat00": (_is_not_one, "anisotropic magnification"),
    "rlnMagMat01": (_is_set, "anisotropic magnification"),
    "rlnMagMat10": (_is_set, "anisotropic magnification"),
    "rlnMagMat11": (_is_not_one, "anisotropic magnification"),
    "rlnCtfBfactor": (_is_set, "B-factors of the CTF"),
    "rlnCtfScalefactor": (_is_not_one, "scales of the CTF"),
    "ctf/tilt_A": (_is_set, "beam tilt"),
    "ctf/shift_A": (_is_set, "antisymmetric aberrations"),
    "ctf/trefoil_A": (_is_set, "antisymmetric aberrations"),
    "ctf/tetra_A": (_is_set, "symmetric aberrations"),
    "ctf/anisomag": (_is_set, "anisotropic magnification"),
    "ctf/bfactor": (_is_set, "B-factors of the CTF"),
    "ctf/scale": (_is_not_one, "scales of the CTF"),
}


def unapplied_corrections(source: SourceTables | None, path: Path) -> list[str]:
    """Name the corrections that a file has and reconstruction leaves out.

    Parameters
    ----------
    source : SourceTables or None
        The tables as they were read.
    path : Path
        Where from, for the message.

    Returns
    -------
    list of str
        In words, each once: `beam tilt`.

    Raises
    ------
    InputError
        If the images were multiplied by their CTF or phase-flipped.
    """
    if source is None:
        return []
    columns = {**source.particles, **source.optics}
    for name, what in _CHANGED.items():
        if name in columns and _is_set(columns[name]):
            raise InputError(
                f"{path}: {name} says that the images {what}, which reconstruction does not "
                "undo; extract the particles again without that."
            )
    found = [
        what
        for name, (matters, what) in _CORRECTIONS.items()
        if name in columns and matters(columns[name])
    ]
    return list(dict.fromkeys(found))
