"""Do the two half-sets find the same axes, and are images at the same places along them?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.cryoem.heterogeneity.directions import Directions
from hpdp_dask.cryoem.heterogeneity.held_out import Found
from hpdp_dask.numerics.canonical import canonical_pairs, chance_correlations
from hpdp_dask.numerics.shells import fourier_shell_correlation

#: How often images are shuffled to learn what chance does, and the quantile of it that is told.
_SHUFFLES, _QUANTILE = 200, 0.99

#: Share of true weights that images must tell, of what they tell of the first direction.
_TOLD = 1e-3


@dataclass(frozen=True)
class Agreement:
    """The axes that both half-sets share, one pair after the other; k pairs.

    Attributes
    ----------
    correlations : (k,) ndarray
        Of the places of images along an axis as the one half-set has it and as the other has it,
        each seen in other samples of the image, so that they have no noise in common.
    chance : float
        Unrelated axes correlate less than this in 99 of 100 cases.
    axes : tuple of (k, b, b, b) ndarray
        By the directions of each half, what volumes differ by at one standard deviation along the
        axis. Cropped in Fourier space, as `Directions` are.
    fsc : (k, shells) ndarray
        Correlation of the two by shell; there is no other noise in common either.
    places : tuple of (n, k) ndarray
        Of images along the axes, by each half; the variance is 1.
    carried : int
        Directions that carry evidence (`verdict`): no more axes are taken for shared.
    """

    correlations: np.ndarray
    chance: float
    axes: tuple[np.ndarray, np.ndarray]
    fsc: np.ndarray
    places: tuple[np.ndarray, np.ndarray]
    carried: int

    @property
    def shared(self) -> int:
        """Count the axes that correlate more than chance does.

        Of directions found in noise a few have a little in common by chance. An image helped to
        find the directions of one half, which then know a little of all its samples: correlations
        of up to about 0.1 come from that. So only as many axes count as carry evidence.
        """
        return min(self.carried, int(np.cumprod(self.correlations > self.chance).sum()))

    @property
    def reliability(self) -> np.ndarray:
        """Give the share of the variance of places that is not noise, with all samples; (k,).

        By the formula of Spearman and Brown: with twice the samples the noise is half.
        """
        return np.asarray(2.0 * self.correlations / (1.0 + self.correlations))


def find_agreement(
    found: Found, models: tuple[Directions, Directions], carried: int, seed: int
) -> Agreement:
    """Find the axes that both half-sets share.

    The weights that images have along the directions of each half are brought together by
    canonical correlation. What chance does is told by images in another order.

    Parameters
    ----------
    found : Found
    models : tuple of Directions
    carried : int
        Directions that carry evidence.
    seed : int
        Of the orders.

    Returns
    -------
    Agreement
    """
    pairs = canonical_pairs(*found.weights)
    chance = chance_correlations(*found.weights, _SHUFFLES, seed)
    axes = []
    for half_set, along in enumerate((pairs.first, pairs.second)):
        together = found.weights[half_set].T @ along / len(along)
        # weights have shrunk towards the prior's mean, volumes have not; directions that images
        # tell nothing of are left out
        together = np.linalg.pinv(found.kept[half_set], _TOLD) @ together
        directions = models[half_set].directions
        axes.append(np.tensordot(together.T, directions, 1).astype(np.float32))
    fsc = np.stack([fourier_shell_correlation(*both) for both in zip(*axes, strict=True)])
    return Agreement(
        pairs.correlations,
        float(np.quantile(chance, _QUANTILE)),
        (axes[0], axes[1]),
        fsc[:, : models[0].radius + 1],
        (pairs.first, pairs.second),
        carried,
    )
