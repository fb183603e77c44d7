"""Files of one image each, as detectors of crystallography write them: what their readers give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpdp_dask.formats.stored_frames import PartialDetector, Unit

#: Degrees, up to which a detector counts as across the beam: misset is less.
MOST_TURNED = 0.5


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image says.

    Attributes
    ----------
    path : Path
    shape : tuple of int
        Rows and columns.
    dtype : dtype
        Of the numbers.
    unit : {"photons", "adu"}
        Counting detectors give photons, CCDs their own units.
    partial : PartialDetector
        Wavelength, pixel size, distance and centre, as far as they are told; no mask.
    saturation : float
        Numbers from this one on are of pixels that counted no further; NaN if not told.
    notes : tuple of str
        What the user should know.
    """

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype
    unit: Unit
    partial: PartialDetector
    saturation: float = float("nan")
    notes: tuple[str, ...] = ()


def across_beam(header: ImageHeader, two_theta: float) -> ImageHeader:
    """Take out the geometry of a detector that is turned: it does not stand across the beam.

    Parameters
    ----------
    header : ImageHeader
    two_theta : float
        Degrees between the beam and the normal of the detector; NaN if not told.

    Returns
    -------
    ImageHeader
        Without distance and centre, and with a note, if it is turned.
    """
    if not abs(two_theta) > MOST_TURNED:
        return header
    note = (
        f"{header.path.name}: the detector is turned by {two_theta:g}°, which its header alone "
        "does not describe; give --geometry"
    )
    partial = replace(header.partial, distance=float("nan"), center=None)
    return replace(header, partial=partial, notes=(*header.notes, note))
