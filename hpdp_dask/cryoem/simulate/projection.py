"""Projections of a map, evaluated exactly by the non-uniform FFT.

By the Fourier slice theorem the transform of a projection is the central slice of the transform
of the map. The transform of the voxels is a trigonometric polynomial; finufft evaluates it on
the turned slice, with no padded grid and no interpolation of ours in between, so projections
made here share no error with a reconstruction. Reference: Barnett, Magland & af Klinteberg
2019, SIAM J. Sci. Comput. 41, C479 (finufft).
"""

from __future__ import annotations

import finufft
import numpy as np
from numpy.typing import ArrayLike

from hpdp_dask.numerics.fourier import HalfPlane, half_plane, shift_phases, unpack
from hpdp_dask.numerics.rotations import euler_to_matrix

#: How finufft works: in double precision even for float32 maps, for in single precision the
#: rounding of the frequencies alone is 1e-5; on a grid that is little finer than the map's; and
#: on one thread, for workers share the cores.
NUFFT = {"eps": 1e-6, "dtype": "complex128", "upsampfac": 1.25, "nthreads": 1}

#: Frequencies in one call of finufft: many, for each call transforms the whole map once.
FREQUENCIES_PER_CALL = 3_000_000


def image_plane(box: int) -> HalfPlane:
    """List the frequencies of an image that lie inside Nyquist's circle."""
    return half_plane(box, box // 2 - 1)


def slice_frequencies(plane: HalfPlane, matrices: np.ndarray) -> np.ndarray:
    """Turn the frequencies of images into those of the map, `(x, y, 0) @ A`.

    Parameters
    ----------
    plane : HalfPlane
        Of m frequencies.
    matrices : (n, 3, 3) ndarray of float64
        From the particle's frame to the frame of the image.

    Returns
    -------
    (n, m, 3) ndarray of float64
        x, y, z; cycles per pixel.
    """
    in_plane = np.stack([plane.x, plane.y], axis=1) / plane.box
    return np.asarray(in_plane @ matrices[:, :2, :])


def transform_at(volume: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Evaluate the Fourier transform of a map at any frequencies.

    Parameters
    ----------
    volume : (n, n, n) ndarray of float32
        [z, y, x]; the origin is the voxel n // 2.
    frequencies : (..., 3) ndarray
        x, y, z; cycles per pixel, the transform repeats itself beyond one half.

    Returns
    -------
    (...) ndarray of complex64
        The sum over voxels of `volume exp(-2 pi i k.r)`.
    """
    x, y, z = np.ascontiguousarray((2.0 * np.pi) * frequencies.reshape(-1, 3).T)
    plan = finufft.Plan(2, volume.shape, isign=-1, **NUFFT)
    plan.setpts(z, y, x)
    transform = plan.execute(volume.astype(np.complex128))
    return transform.astype(np.complex64).reshape(frequencies.shape[:-1])


def batches(number: int, frequencies: int) -> list[slice]:
    """Cut `number` images of so many frequencies each into calls of `transform_at`."""
    size = max(1, FREQUENCIES_PER_CALL // frequencies)
    return [slice(start, min(start + size, number)) for start in range(0, number, size)]


def project_map(
    volume: np.ndarray,
    euler_angles: ArrayLike,
    shift: ArrayLike = (0.0, 0.0),
    box: int | None = None,
) -> np.ndarray:
    """Project a map: sums along lines of sight, exact inside Nyquist's circle.

    Parameters
    ----------
    volume : (n, n, n) ndarray
        [z, y, x]; its centre is the voxel n // 2.
    euler_angles : (m, 3) array_like
        rot, tilt, psi in degrees, RELION's ZYZ convention.
    shift : (m, 2) or (2,) array_like, optional
        x, y in pixels, in RELION's sense: the content of the image is displaced by minus this.
    box : int, optional
        Side of the images, of the same pixel size as the map; the side of the map if not given.

    Returns
    -------
    (m, box, box) ndarray of float32
        [particle, y, x]; the axis of the projection goes through the pixel box // 2.

    Raises
    ------
    ValueError
        If the map is no cube.
    """
    volume = np.asarray(volume, dtype=np.float32)
    if volume.ndim != 3 or len(set(volume.shape)) != 1:
        raise ValueError(f"expected a cube, found a map of {volume.shape} voxels")
    matrices = euler_to_matrix(np.reshape(euler_angles, (-1, 3)))
    shifts = np.broadcast_to(np.asarray(shift, dtype=np.float64), (len(matrices), 2))
    box = volume.shape[0] if box is None else box
    # In a smaller image than the map, what leaves on one side would come back on the other.
    largest = max(box, volume.shape[0])
    plane = image_plane(largest + largest % 2)
    inner = slice(plane.box // 2 - box // 2, plane.box // 2 - box // 2 + box)
    images = np.empty((len(matrices), box, box), np.float32)
    for rows in batches(len(matrices), len(plane)):
        transforms = transform_at(volume, slice_frequencies(plane, matrices[rows]))
        transforms *= shift_phases(plane, -shifts[rows])
        images[rows] = unpack(transforms, plane)[:, inner, inner]
    return images
