"""Images of single photons: match and compress as real matrix products.

With k counts expected to be phi W, the fluence times the intensity of a slice,

    log p = sum k log(phi W) - phi W - log k!

Relative to a baseline intensity B: K log(W / B)^T - phi sum (W - B), one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.likelihood.posterior import Posterior
from hpdp_dask.numerics.likelihood.sums import Sums

#: An intensity below this share of the baseline counts as that share: a photon where none can
#: be makes a reference very improbable, not impossible.
LEAST_RATIO = 1e-20


@dataclass(frozen=True)
class PoissonImages:
    """A batch of frames of photon counts as they are compared with intensities.

    The detector stays where it is, so there is one shift, of nothing.

    Attributes
    ----------
    counts : (n, m) array of float32
        Photons in each pixel that takes part; masked pixels are left out beforehand.
    fluence : (n,) array
        What the intensities are multiplied by for each frame, positive.
    baseline : (m,) array
        An intensity for comparison, positive, such as the mean of all slices. The posterior does
        not depend on it; the nearer it is to the slices, the more digits they keep.
    """

    counts: Array
    fluence: Array
    baseline: Array

    def __post_init__(self) -> None:
        """Refuse a baseline under which a photon would be impossible."""
        if not bool((self.baseline > 0).all()) or not bool((self.fluence > 0).all()):
            raise ValueError("the baseline and the fluences must be above 0")

    def match(self, references: Array) -> Array:
        """Compare every frame with every reference.

        Parameters
        ----------
        references : (r, m) array
            Intensities at a fluence of 1, not negative.

        Returns
        -------
        (n, 1, r) array of float32
            The log of the likelihood, over that of the baseline.
        """
        xp = namespace(self.counts)
        ratios = xp.log(xp.maximum(references / self.baseline, LEAST_RATIO))
        ratios = self.counts @ ratios.astype(xp.float32).T
        excess = (references - self.baseline).sum(axis=1, dtype=xp.float64)
        return (ratios - self.fluence[:, None] * excess).astype(xp.float32)[:, None, :]

    def baseline_log_likelihood(self) -> Array:
        """Give the log-likelihood of each frame under the baseline, (n,) float64."""
        xp = namespace(self.counts)
        if xp.__name__ == "cupy":
            from cupyx.scipy.special import gammaln
        else:
            from scipy.special import gammaln
        counts = self.counts.astype(xp.float64)
        baseline = xp.asarray(self.baseline, dtype=xp.float64)
        photons = counts @ xp.log(baseline) + counts.sum(axis=1) * xp.log(self.fluence)
        return photons - self.fluence * baseline.sum() - gammaln(counts + 1.0).sum(axis=1)

    def compress(self, posterior: Posterior, references: Array) -> Sums:
        """Sum the frames, weighted by their probabilities, for each reference.

        Parameters
        ----------
        posterior : Posterior
            Of `match`.
        references : (r, m) array
            Those that were matched.

        Returns
        -------
        Sums
            `signal` (r, m) is the sum of counts, `weight` (r, 1) that of fluences;
            `scale_product` the photons of each frame, `scale_power` those expected.
        """
        xp = namespace(self.counts)
        shares = posterior.reference_probability
        expected = shares @ references.sum(axis=1, dtype=xp.float64)
        fluence = xp.asarray(self.fluence, dtype=xp.float32)
        return Sums(
            signal=shares.T @ self.counts,
            weight=(shares.T @ fluence)[:, None],
            scale_product=self.counts.sum(axis=1, dtype=xp.float64),
            scale_power=self.fluence * expected,
        )
