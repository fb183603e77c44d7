"""How far two trainings that share no image agree: of the places of images, and of volumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from hpdp_dask.cryoem.heterogeneity.half_trainings import HalfTraining
from hpdp_dask.numerics.held_out_correlation import held_out_correlations
from hpdp_dask.numerics.latent_path import curve_positions, points_along
from hpdp_dask.numerics.shells import (
    fourier_shell_correlation,
    resolution_at,
    shell_correlation_of_pairs,
)

#: What a correlation must pass to be a sign of anything: so many standard errors, and so much, as
#: directions that were found in noise have a little in common.
_SURELY, _LEAST = 3.0, 0.1

#: Correlations that resolutions are read at.
THRESHOLDS = (0.5, 0.143)


@dataclass(frozen=True)
class LatentAgreement:
    """What the latent variables of two networks have in common; k directions.

    Attributes
    ----------
    correlations : (k,) ndarray
        Of the images' places, direction by direction, see `held_out_correlations`. Each network
        saw other samples of an image, so that they have no noise in common.
    together : (k,) ndarray
        The same of the places by all samples: where directions are alike, so is what the noise
        of an image does.
    curve, curve_together : float
        Rank correlation (Spearman) of the places along the principal curve of each, without its
        sign, which is a matter of convention; by other samples, and by all.
    images : int
    """

    correlations: np.ndarray
    together: np.ndarray
    curve: float
    curve_together: float
    images: int

    @property
    def chance(self) -> float:
        """Give what a correlation must pass to be more than chance."""
        return max(_LEAST, _SURELY / float(np.sqrt(self.images)))

    @property
    def shared(self) -> int:
        """Count the directions that both networks found."""
        return int(np.cumprod(self.correlations > self.chance).sum())


def latent_agreement(halves: tuple[HalfTraining, HalfTraining]) -> LatentAgreement:
    """Compare the places of all images as two networks have them."""
    first, second = halves
    return LatentAgreement(
        held_out_correlations(first.apart, second.apart),
        held_out_correlations(first.z, second.z),
        _along_curves(first.apart, second.apart),
        _along_curves(first.z, second.z),
        len(first.z),
    )


def _along_curves(first: np.ndarray, second: np.ndarray) -> float:
    found = spearmanr(curve_positions(first), curve_positions(second)).statistic
    return abs(float(found)) if np.isfinite(found) else 0.0


@dataclass(frozen=True)
class VolumeAgreement:
    """What the volumes of two networks have in common, at p places.

    Attributes
    ----------
    points : (2, p, zdim) ndarray of float32
        The places in the latent space of each network.
    volumes : (2, p, N, N, N) ndarray of float32
    fsc : (p, N // 2 + 1) ndarray
        Correlation by shell, at each place.
    motion : (N // 2 + 1,) ndarray
        Correlation by shell of what volumes differ by from the mean of those of all places; of
        all places together, as where little differs there is little to tell.
    pixel_size : float
        Å.
    """

    points: np.ndarray
    volumes: np.ndarray
    fsc: np.ndarray
    motion: np.ndarray
    pixel_size: float

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """Give all curves by name, for a table."""
        return {f"fsc_{k}": each for k, each in enumerate(self.fsc, 1)} | {"motion": self.motion}

    def resolutions(self, curve: np.ndarray) -> list[float]:
        """Give the resolutions of a curve at `THRESHOLDS`, Å."""
        box = self.volumes.shape[-1]
        return [resolution_at(curve, each, self.pixel_size, box) for each in THRESHOLDS]


def volume_agreement(halves: tuple[HalfTraining, HalfTraining], places: int) -> VolumeAgreement:
    """Compare volumes of two networks at the same images.

    Images are put in order along the first principal component of both latent variables
    together. At each place the same twentieth of the images says where it is in the latent space
    of the one network and of the other.

    Parameters
    ----------
    halves : tuple of HalfTraining
    places : int
    """
    zdim = halves[0].z.shape[1]
    both = points_along(np.concatenate([each.z for each in halves], axis=1), places)
    points = np.stack([both[:, :zdim], both[:, zdim:]])
    volumes = np.stack(
        [list(half.conformations.volumes(mine)) for half, mine in zip(halves, points, strict=True)]
    )
    means = volumes.mean(1)
    differences = ((one - means[0], other - means[1]) for one, other in volumes.swapaxes(0, 1))
    return VolumeAgreement(
        points,
        volumes,
        np.stack([fourier_shell_correlation(*each) for each in zip(*volumes, strict=True)]),
        shell_correlation_of_pairs(differences),
        halves[0].conformations.pixel_size,
    )
