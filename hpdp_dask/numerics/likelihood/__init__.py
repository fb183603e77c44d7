"""Match and compress: how probable every image is in every pose, and the sums that follow.

Images are *matched* with references (slices of a volume, averages of classes, intensities) in
a few matrix products, which gives log-likelihoods; with priors these become a `Posterior`;
and the images, weighted by it, are *compressed* into one sum for each reference. Gaussian
noise with a CTF (`GaussianImages`) and photon counts (`PoissonImages`) are two forms of
`Images`, so that one loop serves both.

A log-likelihood of float32 has seven digits, and what is common to all references is large.
So `match` gives it relative to a baseline that no reference takes part in (an empty image; a
mean intensity), whose own log-likelihood, in float64, is `baseline_log_likelihood`.

Arrays of n images x t shifts x r references are as large as the caller makes the batch;
everything else is worked off in pieces. `forecast_bytes` tells the need beforehand.

References
----------
Sigworth 1998, J. Mol. Biol. 122, 328; Scheres 2012, J. Mol. Biol. 415, 406 and J. Struct.
Biol. 180, 519 (Gaussian); Loh & Elser 2009, Phys. Rev. E 80, 026705 and Loh 2014, Phil.
Trans. R. Soc. B 369, 20130328 (Poisson).
"""

from __future__ import annotations

from typing import Protocol

from hpdp_dask.numerics.arrays import Array
from hpdp_dask.numerics.likelihood.candidates import (
    CandidateImages,
    CandidateSums,
    compress_candidates,
    shift_each,
)
from hpdp_dask.numerics.likelihood.gaussian import (
    GaussianImages,
    GaussianSums,
    forecast_bytes,
    multiplicity,
)
from hpdp_dask.numerics.likelihood.poisson import PoissonImages
from hpdp_dask.numerics.likelihood.posterior import (
    Posterior,
    Significant,
    posterior_of,
    significant_poses,
)
from hpdp_dask.numerics.likelihood.sums import Sums

__all__ = [
    "CandidateImages",
    "CandidateSums",
    "GaussianImages",
    "GaussianSums",
    "Images",
    "PoissonImages",
    "Posterior",
    "Significant",
    "Sums",
    "compress_candidates",
    "forecast_bytes",
    "multiplicity",
    "posterior_of",
    "shift_each",
    "significant_poses",
]


class Images(Protocol):
    """What a loop of expand, match and compress asks of a batch of images."""

    def match(self, references: Array) -> Array:
        """Give log-likelihood ratios to the baseline, (n, t, r) float32."""

    def baseline_log_likelihood(self) -> Array:
        """Give the log-likelihood of each image under the baseline, (n,) float64."""

    def compress(self, posterior: Posterior, references: Array) -> Sums:
        """Sum the images, weighted by their probabilities, for each reference."""
