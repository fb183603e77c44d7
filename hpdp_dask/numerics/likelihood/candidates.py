"""Images compared with references and shifts of their own: the fine levels of a search.

Where the poses that are left differ from image to image, the two matrix products of
`GaussianImages` become batches of small ones. The formulas are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.numerics.arrays import Array, csr_matrix, namespace
from hpdp_dask.numerics.fourier import HalfPlane
from hpdp_dask.numerics.likelihood.gaussian import multiplicity, sum_shells
from hpdp_dask.numerics.likelihood.posterior import Posterior

#: Candidates with less than this share of an image's probability are not compressed into.
_LEAST = 1e-3


@dataclass(frozen=True)
class CandidateImages:
    """A batch of images, each with candidates of its own.

    Attributes
    ----------
    plane : HalfPlane
        Where the m samples are.
    signal : (n, m) array of complex64
        C X / s2, CTF times transform over the power of the noise.
    weight : (n, m) array of float32
        C² / s2.
    references : (n, c, m) array of complex64
        Slices without CTF; what fills up a list that is shorter may be anything finite.
    shifts : (n, t, 2) array
        x, y, what to move the images' content by to centre it, pixels.
    """

    plane: HalfPlane
    signal: Array
    weight: Array
    references: Array
    shifts: Array

    def match(self) -> tuple[Array, Array]:
        """Compare every image, in each of its shifts, with each of its references.

        Returns
        -------
        log_likelihoods : (n, t, c) array of float32
            Over that of an empty reference, as `GaussianImages.match` gives.
        shifted : (n, t, m) array of complex64
            C X / s2 in every shift, for `compress_candidates`.
        """
        xp = namespace(self.signal)
        shifted = shift_each(self.signal, self.shifts, self.plane)
        counted = xp.asarray(multiplicity(self.plane))
        ratios = _real_rows(shifted * counted) @ _real_rows(self.references).transpose(0, 2, 1)
        ratios -= np.float32(0.5) * self.expected_power()[:, None, :]
        return ratios, shifted

    def expected_power(self) -> Array:
        """Give <A, A>, the power of each reference seen by its image over that of the noise."""
        xp = namespace(self.signal)
        weight = self.weight * xp.asarray(multiplicity(self.plane))
        squares = self.references.real**2
        squares += self.references.imag**2
        return (squares @ weight[:, :, None])[:, :, 0]


@dataclass(frozen=True)
class CandidateSums:
    """Images compressed into the candidates that matter.

    Attributes
    ----------
    columns : (n, c) array of int
        Which candidates, the most probable first.
    share : (n, c) array of float32
        Their probabilities, of sum 1; 0 where an image has fewer.
    signal : (n, c, m) array of complex64
        C X / s2, centred and weighted by the probabilities.
    product, expected : (n, m) arrays of float32
        `Re conj(A) X / s2` and `|A|² / s2` of each sample, the image with its expectation A by
        the candidates, and A with itself, summed over their probabilities.
    """

    columns: Array
    share: Array
    signal: Array
    product: Array
    expected: Array

    def residual(
        self, transforms: Array, power: Array, group: np.ndarray, groups: int, plane: HalfPlane
    ) -> Array:
        """Sum what the candidates leave unexplained over images and shells.

        Parameters
        ----------
        transforms : (n, m) array of complex64
        power : (n, m) array of float32
            s2 of each sample.
        group : (n,) ndarray of int
            Optics group of each image.
        groups : int
        plane : HalfPlane

        Returns
        -------
        (groups, radius + 1) array of float64
            `|X - A|²`; see `GaussianSums`.
        """
        xp = namespace(transforms)
        left = transforms.real**2 + transforms.imag**2
        left -= power * (2 * self.product - self.expected)
        members = [xp.asarray(group == one) for one in range(groups)]
        return sum_shells(
            xp.stack([left[of].sum(axis=0, dtype=xp.float64) for of in members]), plane
        )

    def add_to(self, signal: Array, weight: Array, candidates: Array, image_weight: Array) -> None:
        """Add the sums of all images to those of references that they have in common.

        Parameters
        ----------
        signal : (r, m) array of complex64
        weight : (r, m) array of float32
            Changed in place.
        candidates : (n, k) array of int
            Which of the r references each image was compared with.
        image_weight : (n, m) array of float32
            C² / s2.
        """
        xp = namespace(self.signal)
        used = self.share > 0
        image = xp.nonzero(used)[0]
        of = xp.take_along_axis(xp.asarray(candidates), self.columns, axis=1)[used]
        references, row = xp.unique(of, return_inverse=True)
        entries, shape = xp.arange(len(of)), (len(references), len(of))
        gather = csr_matrix(xp.ones(len(of), xp.float32), row, entries, shape, xp)
        signal[references] += (gather @ self.signal[used].view(xp.float32)).view(xp.complex64)
        shape = len(references), len(image_weight)
        weight[references] += csr_matrix(self.share[used], row, image, shape, xp) @ image_weight


def compress_candidates(
    posterior: Posterior, shifted: Array, references: Array, weight: Array
) -> CandidateSums:
    """Sum the shifted copies of each image for each of its candidates that matters.

    Parameters
    ----------
    posterior : Posterior
        Of what `CandidateImages.match` gives.
    shifted : (n, t, m) array of complex64
        Of `CandidateImages.match`.
    references : (n, c, m) array of complex64
        That were matched.
    weight : (n, m) array of float32
        C² / s2.

    Returns
    -------
    CandidateSums
        Candidates with less than a thousandth of the probability are left out.
    """
    xp = namespace(shifted)
    shares = posterior.reference_probability
    most = int((shares >= _LEAST).sum(axis=1).max())
    columns = xp.argsort(-shares, axis=1)[:, :most]
    share = xp.take_along_axis(shares, columns, axis=1)
    share = xp.where(share >= _LEAST, share, np.float32(0))
    total = share.sum(axis=1, keepdims=True)
    responsibilities = xp.take_along_axis(posterior.responsibilities, columns[:, None, :], axis=2)
    responsibilities = xp.where(share[:, None, :] > 0, responsibilities, np.float32(0))
    responsibilities /= total[:, None, :]
    share /= total
    signal = (responsibilities.transpose(0, 2, 1) @ _real_rows(shifted)).view(xp.complex64)
    chosen = xp.take_along_axis(references, columns[..., None], axis=1)
    product = chosen.real * signal.real
    product += chosen.imag * signal.imag
    squares = chosen.real**2
    squares += chosen.imag**2
    expected = (share[:, None, :] @ squares)[:, 0] * weight
    return CandidateSums(columns, share, signal, product.sum(axis=1), expected)


def shift_each(images: Array, shifts: Array, plane: HalfPlane) -> Array:
    """Move each image by each of its shifts.

    Parameters
    ----------
    images : (n, m) array of complex64
    shifts : (n, t, 2) array
        x, y, pixels.
    plane : HalfPlane

    Returns
    -------
    (n, t, m) array of complex64
    """
    xp = namespace(images)
    reach = int(max(plane.x.max(), abs(plane.y).max()))
    # one factor for each column and one for each row, instead of one for each sample
    frequency = xp.arange(-reach, reach + 1, dtype=xp.float64) / plane.box
    turns = xp.asarray(shifts, dtype=xp.float64)[..., None] * frequency
    factors = xp.exp(-2j * np.pi * (turns - xp.rint(turns))).astype(xp.complex64)
    across = xp.take(factors[:, :, 0], xp.asarray(plane.x + reach), axis=2)
    across *= xp.take(factors[:, :, 1], xp.asarray(plane.y + reach), axis=2)
    across *= images[:, None, :]
    return across


def _real_rows(rows: Array) -> Array:
    """View complex rows as real ones of twice the length."""
    xp = namespace(rows)
    return xp.ascontiguousarray(rows, dtype=xp.complex64).view(xp.float32)
