"""What small errors of the imaging look like: of brightness, pose, centre and defocus.

They differ from image to image as conformations do, and a linear model of volumes takes them for
such. Here they are directions of their own, so that what else varies is told beside them: to first
order, and of angles and centre, by which fine detail turns through a whole wave, to second.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.contrast import coefficients_of
from hpdp_dask.cryoem.heterogeneity.directions import Seen
from hpdp_dask.cryoem.heterogeneity.observations import Observed
from hpdp_dask.numerics.ctf import evaluate_ctf
from hpdp_dask.numerics.fourier import HalfPlane, shift_phases
from hpdp_dask.numerics.rotations import rotation_vector_to_matrix

#: Standard deviations that are allowed for, generously, since what is not there costs little: of
#: brightness, as a share; of each angle, degrees; of the centre, as a share of the box; of the
#: defocus, Å.
BRIGHTNESS, ANGLE, CENTRE, DEFOCUS = 0.5, 5.0, 0.04, 750.0

#: Slopes are measured over this share of them to either side.
_STEP = 0.4

#: Of a vector of length 1.
_DIAGONAL = np.sqrt(0.5)

#: How many directions they take: seven slopes, and the curvatures of the angles and the centre.
ERRORS = 13


def imaging_errors(
    seen: Seen, observed: Observed, block: xr.Dataset, plane: HalfPlane
) -> np.ndarray:
    """Give what errors of one standard deviation would add to images, and their squares.

    Parameters
    ----------
    seen : Seen
        The map.
    observed : Observed
        n images.
    block : xarray.Dataset
        What is known of them: the variables of their CTF.
    plane : HalfPlane

    Returns
    -------
    (n, ERRORS, m) ndarray of complex64
        Slopes of brightness, the three angles, x and y of the centre, and defocus; curvatures of
        the three angles, and of the centre along x, y and their diagonal. In units of the noise.
    """
    rotations = observed.rotations
    mean = seen.mean(rotations, plane)
    shown = observed.ctf * mean
    found = np.empty((len(rotations), ERRORS, len(plane)), np.complex64)
    found[:, 0] = BRIGHTNESS * shown
    signs, slope = (_STEP, -_STEP), 0.5 / _STEP
    # a squared normal number varies by the root of 2
    bend = 0.5 * np.sqrt(2.0) / _STEP**2
    for axis in range(3):
        turn = np.radians(ANGLE) * np.eye(3)[axis]
        # about the axes of the image
        there, back = (
            seen.mean(rotation_vector_to_matrix(sign * turn) @ rotations, plane) for sign in signs
        )
        found[:, 1 + axis] = observed.ctf * (slope * (there - back))
        found[:, 7 + axis] = observed.ctf * (bend * (there + back - 2.0 * mean))
    for place, along in enumerate(((1.0, 0.0), (0.0, 1.0), (_DIAGONAL, _DIAGONAL))):
        move = CENTRE * plane.box * np.array([along])
        there, back = (shift_phases(plane, sign * move) for sign in signs)
        if place < 2:
            found[:, 4 + place] = shown * (slope * (there - back))
        found[:, 10 + place] = shown * (bend * (there + back - 2.0))
    there, back = (_ctf(block, sign * DEFOCUS, plane) for sign in signs)
    scale = (1.0 / np.sqrt(seen.model.noise))[plane.shell].astype(np.float32)
    found[:, 6] = slope * (there - back) * scale * mean
    return found


def _ctf(block: xr.Dataset, more: float, plane: HalfPlane) -> np.ndarray:
    """Evaluate the CTFs of images at a defocus that is larger."""
    changed = block.assign({name: block[name] + more for name in ("defocus_u", "defocus_v")})
    coefficients = coefficients_of(changed, np.arange(block.sizes["particle"]))
    return np.asarray(evaluate_ctf(coefficients, plane.x / plane.box, plane.y / plane.box))
