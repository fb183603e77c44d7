"""From particles to frames: their diffraction, noise, and what is read out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpdp_dask.formats.frames import BAD, GOOD, Detector
from hpdp_dask.numerics.arrays import Array, fast_namespace, namespace, to_host
from hpdp_dask.numerics.diffraction import (
    ELECTRON_RADIUS,
    polarization_factor,
    scattering_vectors,
    solid_angles,
)
from hpdp_dask.numerics.rotations import quaternion_to_matrix, random_rotations
from hpdp_dask.spi.simulate.arrangement import Placed, aggregate, pair
from hpdp_dask.spi.simulate.background import HOT, WORKS
from hpdp_dask.spi.simulate.bodies import Body, body_of
from hpdp_dask.spi.simulate.counting import draw_counts, read_out
from hpdp_dask.spi.simulate.settings import Readout
from hpdp_dask.spi.simulate.species import Species
from hpdp_dask.spi.simulate.truth import Brightness, droplet_of

#: Å² in a µm².
_SQUARE_MICROMETRE = 1e8

#: First numbers of the keys of frames' random streams; those of the truth have shorter keys.
_PLACES, _NOISE, _READOUT = 1_000, 1_001, 1_002

#: Mean photons that a hot pixel reads.
_HOT = 40.0

_ORIGIN = np.zeros(3)

#: Orientations that the brightness of a species is the mean of.
_ORIENTATIONS = 24


@dataclass(frozen=True)
class Scene:
    """All that the frames have in common; arrays of pixels are of those m that count photons.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of a frame.
    pixels : (m,) ndarray of int
        Where they are in a frame.
    good : (m,) ndarray of bool
        Whether the mask calls them good.
    q : (3, m) array of float32
        Scattering vectors in the laboratory, 1/Å.
    strength : (m,) array of float32
        Photons for an electron's scattering and a fluence of 1 photon per µm².
    background : (m,) ndarray of float64
        Mean photons without a particle.
    defects : (y, x) ndarray of uint8
        Of `background.draw_dead_pixels`.
    species : tuple of Species
        The last one is that of droplets.
    bodies : tuple of Body
        Of each species.
    """

    shape: tuple[int, int]
    pixels: np.ndarray
    good: np.ndarray
    q: Array
    strength: Array
    background: np.ndarray
    defects: np.ndarray
    species: tuple[Species, ...]
    bodies: tuple[Body, ...]

    def signal(self, body: Body, particles: Sequence[Placed], fluence: float) -> np.ndarray:
        """Give the mean photons that particles scatter into the pixels.

        Parameters
        ----------
        body : Body
        particles : sequence of Placed
            All lit alike; their waves interfere.
        fluence : float
            Photons per µm².

        Returns
        -------
        (m,) ndarray of float32
        """
        xp = namespace(self.q)
        total = 0.0
        for particle in particles:
            turned = xp.asarray(particle.matrix.T, dtype=xp.float32) @ self.q
            wave = body.amplitude(turned, particle.size)
            if len(particles) > 1:
                place = xp.asarray(2.0 * np.pi * particle.place, dtype=xp.float32)
                wave = wave * xp.exp(1j * (place @ self.q))
            total = total + wave
        intensity = total.real**2 + total.imag**2 if xp.iscomplexobj(total) else total**2
        return to_host(intensity * self.strength * np.float32(fluence))

    def brightness(self, place: int, seed: int) -> Brightness:
        """Tell how a species scatters, from some orientations of a particle of its size."""
        body = self.bodies[place]
        stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PLACES,)))
        round_ = self.species[place].shape == "sphere"
        matrices = random_rotations(1 if round_ else _ORIENTATIONS, stream)
        frames = [
            self.signal(body, [Placed(body.size, matrix, _ORIGIN)], 1.0) for matrix in matrices
        ]
        return Brightness(
            size=body.size,
            reach=body.reach,
            photons=float(np.mean([frame[self.good].sum(dtype=np.float64) for frame in frames])),
            brightest=float(np.max(frames)),
        )


def make_scene(
    detector: Detector, species: Sequence[Species], background: np.ndarray, defects: np.ndarray
) -> Scene:
    """Make ready for exposures, on a device where there is one.

    Parameters
    ----------
    detector : Detector
        With its wavelength and pixel size.
    species : sequence of Species
        Without droplets, which are added.
    background : (y, x) ndarray
        Mean photons without a particle.
    defects : (y, x) ndarray of uint8

    Returns
    -------
    Scene

    Raises
    ------
    InputError
        The file of a species is no atomic model.
    """
    xp = fast_namespace()
    pixels = np.flatnonzero(live_pixels(detector, defects))
    x, y, z = (
        getattr(detector, name).ravel()[pixels] for name in ("pixel_x", "pixel_y", "pixel_z")
    )
    q = xp.asarray(scattering_vectors(x, y, z, detector.wavelength), dtype=xp.float32)
    strength = solid_angles(x, y, z, detector.pixel_size)
    strength *= polarization_factor(x, y, z, detector.polarization)
    strength *= ELECTRON_RADIUS**2 / _SQUARE_MICROMETRE
    bodies = [body_of(each, q) for each in species]
    water = droplet_of([body.size for body in bodies])
    return Scene(
        shape=detector.shape,
        pixels=pixels,
        good=detector.mask.ravel()[pixels] == GOOD,
        q=q,
        strength=xp.asarray(strength, dtype=xp.float32),
        background=background.ravel()[pixels].astype(np.float64),
        defects=defects,
        species=(*species, water),
        bodies=(*bodies, body_of(water, q)),
    )


def live_pixels(detector: Detector, defects: np.ndarray) -> np.ndarray:
    """Tell which pixels count photons: (y, x) of bool."""
    return (detector.mask < BAD) & (defects == WORKS)


@dataclass(frozen=True)
class Exposure:
    """Makes frames; all that a task needs to know, but for the scene and the truth.

    Attributes
    ----------
    seed : int
    dtype : str
        Of counts.
    readout : Readout or None
    """

    seed: int
    dtype: str
    readout: Readout | None

    def frame(
        self, scene: Scene, truth: Mapping[str, np.ndarray], row: int, number: int
    ) -> tuple[np.ndarray, float]:
        """Make a frame.

        Parameters
        ----------
        scene : Scene
        truth : mapping of str to ndarray
            Columns.
        row : int
            Which row of them.
        number : int
            Of the frame in the whole set, which with the seed fixes all that is random.

        Returns
        -------
        frame : (y, x) ndarray
            Counts, or ADU as float32.
        photons : float
            Mean photons that particles scatter onto good pixels.
        """
        mean = scene.background * float(truth["true_background_scale"][row])
        photons = 0.0
        if truth["true_members"][row]:
            kind = int(truth["true_class"][row])  # droplets, at -1, are the last of the species
            particles = self._particles(scene.species[kind], truth, row, number)
            fluence = float(truth["true_fluence"][row])
            signal = scene.signal(scene.bodies[kind], particles, fluence)
            photons = float(signal[scene.good].sum(dtype=np.float64))
            mean = mean + signal
        rng = self._stream(_NOISE, number)
        frame = np.zeros(scene.shape[0] * scene.shape[1], self.dtype)
        frame[scene.pixels] = draw_counts(mean, rng)
        frame = frame.reshape(scene.shape)
        hot = scene.defects == HOT
        frame[hot] = rng.poisson(_HOT, int(hot.sum()))
        if self.readout is not None:
            return read_out(
                frame, scene.defects, self.readout, self._stream(_READOUT, number)
            ), photons
        return frame, photons

    def _particles(
        self, species: Species, truth: Mapping[str, np.ndarray], row: int, number: int
    ) -> list[Placed]:
        matrix = quaternion_to_matrix(truth["true_quaternion"][row][None])[0]
        first = Placed(float(truth["true_size"][row]), matrix, _ORIGIN)
        members = int(truth["true_members"][row])
        if members == 1:
            return [first]
        rng = self._stream(_PLACES, number)
        if members == 2:
            partner, distance = (
                float(truth[name][row]) for name in ("true_partner_size", "true_separation")
            )
            return pair(first, partner, distance, rng)
        off = 1.0 + species.spread * np.clip(rng.standard_normal(members - 1), -3.0, 3.0)
        return aggregate(first, (first.size * np.maximum(off, 0.2)).tolist(), rng)

    def _stream(self, what: int, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(what, number)))
