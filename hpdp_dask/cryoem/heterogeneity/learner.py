"""What the networks learn of images: see `dataflow.training.Learner`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.cryoem.heterogeneity.architecture import Architecture, seen_pixels
from hpdp_dask.cryoem.heterogeneity.directions import Seen, read_seen
from hpdp_dask.cryoem.heterogeneity.observations import Observed, Optics, observe
from hpdp_dask.dataflow.training.learner import PLACE
from hpdp_dask.numerics import subspace
from hpdp_dask.numerics.fourier import HalfPlane, half_plane
from hpdp_dask.numerics.frequency_choice import choose, inclusion_probabilities

if TYPE_CHECKING:
    import torch

#: Share of the chosen samples that goes to all alike, whatever they are worth.
_EVENLY = 0.4

#: With a linear start the decoder adds to volumes: what it adds has about this share of the mean
#: map's power.
_ADDED = 0.1


@dataclass(frozen=True)
class ConformationLearner:
    """Learns the conformations from images with poses and CTF.

    Attributes
    ----------
    architecture : Architecture
    optics : Optics
    start : str
        Path of the `directions.Directions` that training starts from; without a linear start the
        mean map and the noise are taken from there, and no directions.
    samples : int
        Frequencies of an image that a step looks at; 0 for all.
    divergence : float
        Weight of the divergence of the latent variable from its prior; 1 is that of the evidence.
    rise : float
        Images in which that weight rises from nothing.
    """

    architecture: Architecture
    optics: Optics
    start: str
    samples: int = 512
    divergence: float = 1.0
    rise: float = 0.0
    name: str = "heterogeneity"

    @property
    def needs(self) -> tuple[str, ...]:
        """Name what must be known of each image."""
        return self.optics.rows

    def build(self) -> torch.nn.Module:
        """Make the network with its first weights."""
        from hpdp_dask.cryoem.heterogeneity.networks import HeterogeneityNetwork

        spread = read_seen(Path(self.start), self.architecture.box).model.spread
        scale = (spread / spread[0]).tolist() if self.architecture.linear else None
        return HeterogeneityNetwork(self.architecture, scale)

    def prepare(
        self,
        images: np.ndarray,
        rows: Mapping[str, np.ndarray],
        randoms: Sequence[np.random.Generator] | None,
    ) -> dict[str, np.ndarray]:
        """Make a batch; without generators, only what the encoder sees."""
        box, encoded = self.architecture.box, self.architecture.encoded
        seen = read_seen(Path(self.start), box)
        plane = half_plane(box, None if randoms is not None else encoded)
        observed = observe(images, rows, self.optics, plane, seen.model.noise)
        coarse = half_plane(box, encoded)
        batch = self._seen(observed, coarse, rows)
        if self.architecture.linear:
            posterior = _posterior(seen, observed, coarse)
            batch = {"seen": posterior, "posterior": posterior} | batch
        if randoms is not None:
            batch |= self._chosen(seen, observed, plane, rows, randoms)
            if self.architecture.zdim:
                draws = [random.standard_normal(self.architecture.zdim) for random in randoms]
                batch["draw"] = np.array(draws, np.float32)
        return batch

    def _seen(
        self, observed: Observed, coarse: HalfPlane, rows: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Give what the encoder sees, unless that is the posterior of the linear model."""
        architecture = self.architecture
        if not architecture.zdim or architecture.encoder == "posterior":
            return {}
        if architecture.encoder == "none":
            return {"seen": rows[PLACE]}
        # without the sign of the CTF
        inner = len(coarse)
        transforms = observed.transforms[:, :inner] * np.sign(observed.ctf[:, :inner])
        if architecture.encoder == "mlp":
            return {"seen": np.ascontiguousarray(transforms).view(np.float32)}
        return {"seen": small_images(transforms, coarse)}

    def _chosen(
        self,
        seen: Seen,
        observed: Observed,
        plane: HalfPlane,
        rows: Mapping[str, np.ndarray],
        randoms: Sequence[np.random.Generator],
    ) -> dict[str, np.ndarray]:
        """Choose frequencies of each image and give what the network needs of them."""
        contrast = observed.ctf * amplitudes(self)[plane.shell]
        number = min(self.samples or len(plane), len(plane))
        if number == len(plane):
            places = np.broadcast_to(np.arange(number), contrast.shape)
            weight = np.full(contrast.shape, 1.0 / number)
        else:
            chances = inclusion_probabilities(np.abs(contrast), number, _EVENLY)
            starts = np.array([random.random() for random in randoms])
            places = choose(chances, number, starts)
            weight = 1.0 / (len(plane) * np.take_along_axis(chances, places, 1))
        coordinates, side = half_space(plane, places, observed.rotations)
        target = _folded(np.take_along_axis(observed.transforms, places, 1), side)
        batch = {
            "coordinates": coordinates,
            "target": target,
            "contrast": np.take_along_axis(contrast, places, 1),
            "weight": weight.astype(np.float32),
        }
        if self.architecture.linear:
            frequencies = coordinates * np.float32(plane.box / 2)
            ctf = np.take_along_axis(observed.ctf, places, 1)
            target -= _pairs(seen.mean_at(frequencies) * ctf)
            basis = seen.other_half_at(frequencies, rows[PLACE]) * ctf[:, None]
            basis *= (plane.shell[places] <= seen.model.reach)[:, None]
            batch["linear"] = _pairs(basis)
        return batch

    def losses(self, network: torch.nn.Module, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Give the squared error in units of the noise, and the weighted divergence, by image."""
        samples = len(half_plane(self.architecture.box))
        found: dict[str, torch.Tensor] = network(batch, self.divergence / samples, self.rise)
        return found

    def outputs(
        self, network: torch.nn.Module, batch: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        """Give the latent variables of images, `z`, and the widths of their posteriors, `width`."""
        from hpdp_dask.cryoem.heterogeneity.networks import HeterogeneityNetwork

        assert isinstance(network, HeterogeneityNetwork)
        mean, log_variance = network.encode(batch)
        scale = network.get_buffer("scale")
        return {"z": mean * scale, "width": (0.5 * log_variance).exp() * scale}

    def judge(
        self, outputs: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Give no figures: there is no truth to judge by."""
        return {}


def amplitudes(learner: ConformationLearner) -> np.ndarray:
    """Give the amplitude, by shell, of what the decoder adds when it gives 1."""
    power = read_seen(Path(learner.start), learner.architecture.box).power
    return np.sqrt((_ADDED if learner.architecture.linear else 1.0) * power).astype(np.float32)


def _posterior(seen: Seen, observed: Observed, coarse: HalfPlane) -> np.ndarray:
    """Give mean and log-variance of the linear model's weights: (n, 2 q)."""
    inner = len(coarse)
    ctf = observed.ctf[:, :inner]
    rest = observed.transforms[:, :inner] - ctf * seen.mean(observed.rotations, coarse)
    basis = seen.directions(observed.rotations, coarse) * ctf[:, None]
    mean, covariance = subspace.posterior(rest, basis)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    return np.concatenate([mean, np.log(variance)], 1).astype(np.float32)


def half_space(
    plane: HalfPlane, places: np.ndarray, rotations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give the frequencies of samples in the frame of the volume, those with x >= 0.

    Parameters
    ----------
    plane : HalfPlane
    places : (n, m) ndarray of int
        Which of its samples.
    rotations : (n, 3, 3) ndarray

    Returns
    -------
    coordinates : (n, m, 3) ndarray of float32
        x, y, z; 1 is Nyquist's frequency.
    side : (n, m) ndarray of float32
        -1 where it is the opposite of the frequency, whose transform is the conjugate.
    """
    axes = (2.0 / plane.box * rotations[:, :2]).astype(np.float32)
    flat = np.stack([plane.x[places], plane.y[places]], axis=-1).astype(np.float32)
    coordinates = flat @ axes
    side = np.where(coordinates[..., 0] < 0.0, np.float32(-1), np.float32(1))
    return coordinates * side[..., None], side


def _folded(values: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Give real and imaginary parts, of the conjugate where the side is -1."""
    return np.stack([values.real, values.imag * side], axis=-1)


def _pairs(values: np.ndarray) -> np.ndarray:
    """Give real and imaginary parts."""
    parts = np.ascontiguousarray(values, np.complex64).view(np.float32)
    return parts.reshape(*values.shape, 2)


def small_images(transforms: np.ndarray, coarse: HalfPlane) -> np.ndarray:
    """Give the small images that convolutions see.

    Parameters
    ----------
    transforms : (n, m) ndarray of complex64
        Samples of the transforms of images, their noise of the variance 1.
    coarse : HalfPlane
        Where they are.

    Returns
    -------
    (n, s, s) ndarray of float32
        `architecture.seen_pixels` a side; the noise of a pixel has the variance 1.
    """
    side = seen_pixels(coarse.radius)
    whole = np.zeros((len(transforms), side, side // 2 + 1), np.complex64)
    # the origin of the transforms is at the central pixel
    sign = 1.0 - 2.0 * ((coarse.x + coarse.y) % 2)
    whole[:, coarse.y % side, coarse.x] = transforms * sign
    # the samples with x = 0 are there once, and their opposites are their conjugates
    axis = coarse.x == 0
    whole[:, -coarse.y[axis] % side, 0] = (transforms * sign)[:, axis].conj()
    images = np.fft.irfftn(whole, s=(side, side), axes=(1, 2))
    return (images * (side**2 / np.sqrt(2.0 * len(coarse)))).astype(np.float32)
