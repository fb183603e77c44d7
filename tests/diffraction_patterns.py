"""Diffraction patterns of simple bodies on a small detector, by their form factors."""

import numpy as np
from scipy.spatial.transform import Rotation

from hpdp_dask.formats.frames import BAD, flat_detector
from hpdp_dask.numerics import form_factors
from hpdp_dask.numerics.diffraction import (
    polarization_factor,
    scattering_vectors,
    solid_angles,
)

#: Vertex to vertex of an icosahedron over the diameter of the sphere of its volume.
VERTICES = (np.pi / 6 / form_factors.ICOSAHEDRON_VOLUME) ** (1 / 3)


def small_detector(pixels=160, pixel_size=0.84e-3, stop=3.0, gap=2, **more):
    """A detector with a beam stop and a gap, on which spheres of 20 to 200 nm can be told."""
    y, x = np.mgrid[:pixels, :pixels] - (pixels - 1) / 2
    mask = np.where(np.hypot(x, y) < stop, BAD, 0)
    mask[pixels // 2 - gap // 2 : pixels // 2 + gap // 2] = BAD
    return flat_detector((pixels, pixels), pixel_size, 0.586, 7.75, mask=mask, **more)


def shares(detector):
    """What each good pixel counts of an even illumination."""
    places = detector.pixel_x, detector.pixel_y, detector.pixel_z
    share = solid_angles(*places, 1.0) * polarization_factor(*places, detector.polarization)
    return np.where(detector.mask == 0, share, 0.0)


class Patterns:
    """Makes patterns: intensities averaged over the pixels, then photons."""

    def __init__(self, detector, seed=0):
        self.share = shares(detector)
        self.random = np.random.default_rng(seed)
        aside = np.array([-0.25, 0.25]) * detector.pixel_size
        self.q = np.stack(
            [
                scattering_vectors(
                    detector.pixel_x + x,
                    detector.pixel_y + y,
                    detector.pixel_z,
                    detector.wavelength,
                )
                for x in aside
                for y in aside
            ],
            axis=1,
        ).astype(np.float32)

    def sphere(self, diameter):
        return self._intensity(form_factors.sphere(self.q, diameter))

    def icosahedron(self, diameter):
        """In a random orientation; the diameter is that of the sphere of its volume."""
        return self._intensity(self._icosahedron(diameter))

    def spheroid(self, equatorial, polar, axis):
        return self._intensity(form_factors.spheroid(self.q, equatorial, polar, axis))

    def cluster(self, diameter, places):
        """Icosahedra at places in units of their diameter."""
        amplitude = 0.0
        for place in np.asarray(places, np.float32) * diameter:
            phase = 2 * np.pi * np.tensordot(place, self.q, 1)
            amplitude = amplitude + self._icosahedron(diameter) * np.exp(1j * phase)
        return self._intensity(amplitude)

    def rod(self, diameter, length, axis):
        return self._intensity(form_factors.rod(self.q, diameter, length, axis))

    def even(self):
        return self.share.copy()

    def photons(self, intensity, number, background=0.0):
        """Draw photons: so many of the particle, and so many times these of an even background."""
        behind = (self.share > 0) / np.count_nonzero(self.share)
        mean = number * (intensity / intensity.sum() + background * behind)
        return self.random.poisson(mean).astype(np.uint16)

    def direction(self):
        """A random one."""
        return Rotation.random(random_state=self.random).as_matrix()[:, 2]

    def _icosahedron(self, diameter):
        turn = Rotation.random(random_state=self.random).as_matrix().astype(np.float32)
        return form_factors.icosahedron(np.tensordot(turn, self.q, 1), diameter * VERTICES)

    def _intensity(self, amplitude):
        return np.mean(np.abs(amplitude) ** 2, axis=0) * self.share
