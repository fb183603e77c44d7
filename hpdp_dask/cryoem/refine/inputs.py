"""What a refinement starts from: a reference and a mask that fit the particles, all checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform

from hpdp_dask.cryoem.postprocess_inputs import check_mask_values
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map, write_map
from hpdp_dask.numerics.masks import low_pass_filter, soft_sphere
from hpdp_dask.numerics.symmetry import point_group, symmetrize
from hpdp_dask.numerics.symmetry_axes import symmetry_score

#: The symmetry of a reference is looked at in so many shells at least.
_FEWEST_SHELLS = 5

#: A mask that leaves out more than this share of the reference is worth a word; more than half
#: of it cannot be meant.
_CUT, _CUT_AWAY = 0.05, 0.5


def prepare_reference(
    path: Path,
    output: Path,
    *,
    box: int,
    pixel_size: float,
    resolution: float,
    mask_diameter: float,
    symmetry: str,
) -> list[str]:
    """Low-pass a reference, bring it to the box and the pixel size of the particles, write it.

    Parameters
    ----------
    path : Path
        A map.
    output : Path
        Where to write it.
    box : int
        Of the particles.
    pixel_size : float
        Of the particles, Å.
    resolution : float
        Å.
    mask_diameter : float
        Of the sphere that the map is cut to, Å.
    symmetry : str
        Point group that it should have.

    Returns
    -------
    list of str
        What a person should know: that it was rescaled, or contradicts the symmetry.

    Raises
    ------
    InputError
        If it is no map of a particle of that size, or has no pixel size.
    """
    volume, found = read_map(path)
    if len(set(volume.shape)) != 1 or len(volume) % 2:
        sides = " x ".join(map(str, volume.shape))
        raise InputError(f"{path}: the box is {sides}, expected a cube of an even side.")
    if not found > 0:
        raise InputError(f"{path}: the header has no pixel size, expected one in Å; mend it.")
    if not np.isfinite(volume).all():
        raise InputError(f"{path}: some voxels are no finite numbers; make the map again.")
    extent = len(volume) * found
    if extent < 0.95 * mask_diameter:
        raise InputError(
            f"{path}: the box is {extent:.0f} Å wide, but the mask diameter is {mask_diameter:.0f} "
            f"Å; is its pixel size, {found:g} Å, right?"
        )
    if resolution < 2.0 * found:
        raise InputError(
            f"{path}: its pixels of {found:g} Å hold nothing finer than {2 * found:g} Å; start "
            f"from a coarser --initial-resolution than {resolution:g} Å."
        )
    notes = []
    volume = low_pass_filter(volume, found, resolution)
    if len(volume) != box or abs(found - pixel_size) > 1e-3 * pixel_size:
        notes.append(
            f"{path}: {len(volume)} pixels of {found:.4g} Å were brought to the particles' {box} "
            f"of {pixel_size:.4g} Å."
        )
        volume = _resample(volume, found, box, pixel_size)
    diameter = mask_diameter / pixel_size
    volume = volume * soft_sphere(box, diameter / 2, 5.0)
    if not volume.std() > 0:
        raise InputError(f"{path}: the map is empty inside the mask diameter; give another map.")
    notes += _check_symmetry(path, volume, symmetry, pixel_size, resolution)
    # images are compared with the views of one asymmetric unit, so all units must be the same
    volume = symmetrize(volume, point_group(symmetry))
    write_map(output, volume.astype(np.float32), pixel_size)
    return notes


def _resample(volume: np.ndarray, found: float, box: int, pixel_size: float) -> np.ndarray:
    """Sample a low-passed map on another grid about the same centre, by cubic splines."""
    factor = pixel_size / found
    offset = len(volume) // 2 - factor * (box // 2)
    return np.asarray(
        affine_transform(
            volume, np.full(3, factor), np.full(3, offset), (box, box, box), order=3, cval=0.0
        )
    )


def _check_symmetry(
    path: Path, volume: np.ndarray, symmetry: str, pixel_size: float, resolution: float
) -> list[str]:
    """Tell if a map is not as a point group would have it."""
    operators = point_group(symmetry)
    if len(operators) == 1:
        return []
    radius = max(_FEWEST_SHELLS, int(len(volume) * pixel_size / resolution))
    found = symmetry_score(volume, operators, radius)
    if found.holds:
        return []
    return [
        f"{path}: at {len(volume) * pixel_size / radius:.0f} Å the map correlates "
        f"{found.score:.2f} with itself turned by the operators of {symmetry}, where chance gives "
        f"{found.chance:.2f}: it has another symmetry, or its axes are not where they should be."
    ]


def check_mask(path: Path, reference: Path, box: int, pixel_size: float) -> list[str]:
    """Check a mask against the particles and the reference.

    Parameters
    ----------
    path : Path
        The mask.
    reference : Path
        Of `prepare_reference`.
    box : int
    pixel_size : float
        Å.

    Returns
    -------
    list of str
        A note if the mask cuts the particle.

    Raises
    ------
    InputError
        If it has another box or pixel size, values outside of 0..1, is empty, or leaves out most
        of the reference.
    """
    mask, found = read_map(path)
    if mask.shape != (box, box, box):
        sides = " x ".join(map(str, mask.shape))
        raise InputError(
            f"{path}: the box is {sides}, expected that of the particles, {box}; make the mask "
            "anew."
        )
    if found > 0 and abs(found - pixel_size) > 1e-2 * pixel_size:
        raise InputError(
            f"{path}: the pixel size is {found:g} Å, expected that of the particles, "
            f"{pixel_size:g} Å; make the mask anew, or mend its header."
        )
    check_mask_values(path, mask)
    volume = np.maximum(read_map(reference)[0], 0.0)
    volume[volume < 0.2 * volume.max()] = 0.0
    left_out = 1.0 - float((volume * mask).sum() / max(volume.sum(), 1e-30))
    if left_out > _CUT_AWAY:
        raise InputError(
            f"{path}: the mask leaves out {100 * left_out:.0f} % of the reference; do they have "
            "the same centre?"
        )
    if left_out > _CUT:
        return [
            f"{path}: the mask cuts {100 * left_out:.0f} % of the reference off; make it wider "
            "unless that is meant."
        ]
    return []
