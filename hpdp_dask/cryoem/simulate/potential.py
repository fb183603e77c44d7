"""The electrostatic potential of atoms as a map, and the slices of a specimen's transform.

The transform of a map is `F(k) = W(k) sum over atoms of o f(k) exp(-B k²/4) exp(-2 pi i k.r)`
with the occupancy o, the electron form factor f of the element, the B-factor B and the band
limit W. The sum over atoms is a non-uniform FFT, exact to its precision. As f(k) exp(-B k²/4)
differs from atom to atom, these smooth radial functions are first expanded in the few that
span them all (singular functions): one FFT each, instead of one for every atom's kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import finufft
import numpy as np
import scipy.fft
from scipy.interpolate import CubicSpline

from hpdp_dask.cryoem.simulate.projection import NUFFT, slice_frequencies, transform_at
from hpdp_dask.cryoem.simulate.specimen import Domain, Specimen, moved
from hpdp_dask.formats.model import AtomicModel, electron_form_factors
from hpdp_dask.numerics.fourier import HalfPlane, shift_phases

#: Width of the band's soft edge, cycles per box (less in boxes below 64 pixels): a sharper one
#: would ring beyond the box.
SOFT_EDGE = 8


def potential_map(
    atoms: AtomicModel, box: int, pixel_size: float, resolution: float | None = None
) -> np.ndarray:
    """Make the map of atoms' electrostatic potential.

    Parameters
    ----------
    atoms : AtomicModel
        The origin comes to the voxel box // 2; what is outside the box comes back on the other
        side.
    box : int
        Voxels a side, even.
    pixel_size : float
        Å.
    resolution : float, optional
        Å; from here on the map falls off, by a raised cosine of `SOFT_EDGE`. By default, and at
        best, it has fallen off at Nyquist's, 2 pixel sizes.

    Returns
    -------
    (box, box, box) ndarray of float32
        [z, y, x]. The sum of its voxels is that of the atoms' form factors at zero angle, Å
        (Peng, Ren, Dudarev & Whelan 1996, Acta Cryst. A52, 257).
    """
    edge = min(SOFT_EDGE, box / 8) / (box * pixel_size)
    limit = 0.5 / pixel_size
    if resolution is not None:
        limit = min(limit, 1.0 / resolution + edge)
    weights, profiles = _radial_expansion(atoms, limit)
    x, y, z = np.ascontiguousarray((2.0 * np.pi / (box * pixel_size)) * atoms.positions.T)
    plan = finufft.Plan(1, (box,) * 3, isign=-1, modeord=1, **NUFFT)
    plan.setpts(z, y, x)

    squares = np.rint(np.fft.fftfreq(box, 1.0 / box)).astype(np.int64) ** 2
    radius_squared = squares[:, None, None] + squares[:, None] + squares[: box // 2]
    inside = radius_squared < (box // 2) ** 2
    shells = radius_squared[inside]  # every table below is looked up by the whole number |m|²
    frequency = np.sqrt(np.arange((box // 2) ** 2)) / (box * pixel_size)
    window = band_limit(frequency, limit, edge)
    transform = np.zeros(len(shells), np.complex64)
    for weight, profile in zip(weights, profiles, strict=True):
        table = profile(np.minimum(frequency, limit)) * window
        modes = plan.execute(weight.astype(np.complex128))[:, :, : box // 2]
        transform += modes[inside] * table.astype(np.float32)[shells]
    spectrum = np.zeros((box, box, box // 2 + 1), np.complex64)
    spectrum[:, :, : box // 2][inside] = transform
    return np.fft.fftshift(scipy.fft.irfftn(spectrum, s=(box,) * 3, overwrite_x=True))


def band_limit(frequency: np.ndarray, limit: float, edge: float) -> np.ndarray:
    """Give one inside the band, zero from its limit on, a raised cosine over the edge between."""
    depth = np.clip((limit - frequency) / edge, 0.0, 1.0)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * depth))


def _radial_expansion(
    atoms: AtomicModel, limit: float, tolerance: float = 1e-6
) -> tuple[np.ndarray, list[CubicSpline]]:
    """Expand `o f(k) exp(-B k²/4)` of all atoms in few functions of k in [0, limit].

    Gives (rank, atoms) weights and the rank functions; what is left out is less than
    `tolerance` of the largest.
    """
    elements, element = np.unique(np.asarray(atoms.elements), return_inverse=True)
    kinds, kind = np.unique(
        np.stack([element, atoms.b_factors], axis=1), axis=0, return_inverse=True
    )
    amplitudes, widths = electron_form_factors([str(name) for name in elements])
    frequency = np.linspace(0.0, limit, 129)
    quarter = frequency**2 / 4.0
    scattering = np.einsum("eg,egk->ek", amplitudes, np.exp(-widths[:, :, None] * quarter))
    samples = scattering[kinds[:, 0].astype(int)] * np.exp(-kinds[:, 1:] * quarter)
    strength, functions = np.linalg.eigh(samples.T @ samples)
    functions = functions[:, strength > tolerance**2 * strength[-1]]
    weights = (samples @ functions)[kind.ravel()] * atoms.occupancies[:, None]
    return weights.T, [CubicSpline(frequency, function) for function in functions.T]


@dataclass(frozen=True)
class Potential:
    """A specimen's maps on the grid of its images.

    Attributes
    ----------
    pixel_size : float
        Å.
    body : (n, n, n) ndarray of float32
        Map [z, y, x] of what does not move, its origin at the voxel n // 2.
    hinged : (n, n, n) ndarray of float32 or None
        Map of one copy of the domain at the angle 0, with the hinge's point at the voxel n // 2.
    domain : Domain or None
        How it turns and which copies there are.
    """

    pixel_size: float
    body: np.ndarray
    hinged: np.ndarray | None = None
    domain: Domain | None = None

    @property
    def parts(self) -> int:
        """How many slices of maps one image takes."""
        return 1 if self.domain is None else 1 + len(self.domain.operators)

    def slices(self, plane: HalfPlane, matrices: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Evaluate the transforms of projections.

        Parameters
        ----------
        plane : HalfPlane
            Of m frequencies.
        matrices : (n, 3, 3) ndarray
            Poses, from the particle's frame to the frame of the image.
        angles : (n,) ndarray
            By which the domain is turned, degrees.

        Returns
        -------
        (n, m) ndarray of complex64
        """
        total = transform_at(self.body, slice_frequencies(plane, matrices))
        if self.domain is None or self.hinged is None:
            return total
        # A copy g of the domain, turned by R about its hinge h, is a particle in the pose A g R
        # that is displaced by A g h.
        copies = matrices[:, None] @ self.domain.operators
        poses = copies @ self.domain.turn(angles)[:, None]
        hinges = (copies @ self.domain.point)[..., :2] / self.pixel_size
        transforms = transform_at(self.hinged, slice_frequencies(plane, poses.reshape(-1, 3, 3)))
        transforms *= shift_phases(plane, hinges.reshape(-1, 2))
        total += transforms.reshape(*copies.shape[:2], len(plane)).sum(axis=1)
        return total


def potential_of(
    specimen: Specimen, box: int, pixel_size: float, resolution: float | None = None
) -> Potential:
    """Make the maps of a specimen; the parameters are those of `potential_map`."""
    body = potential_map(specimen.body, box, pixel_size, resolution)
    domain = specimen.domain
    if domain is None:
        return Potential(pixel_size, body)
    about_hinge = moved(domain.atoms, domain.atoms.positions - domain.point)
    hinged = potential_map(about_hinge, box, pixel_size, resolution)
    return Potential(pixel_size, body, hinged, domain)
