"""Images with Gaussian noise and a CTF: match and compress as real matrix products.

Of an image X with the CTF C and a reference P the samples are independent, with noise of the
mean power `s2 = <|noise|²>`. A packed sample h stands for itself and its conjugate: it counts
twice in sums over the whole plane, and its log-density is that of a complex number; zero
frequency, which is real, counts once. With this multiplicity w = 2 or 1

    `log p = -1/2 sum_h w |X - C P|² / s2  -  1/2 sum_h w log(2 pi s2 / w)`

is the log-likelihood of the samples. What depends on P is, with y = C X / s2,

    `Re sum_h conj(w P) y  -  1/2 sum_h (C² / s2) w |P|²`,

two real matrix products: a complex row is a row of interleaved real and imaginary parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np

from hpdp_dask.numerics.arrays import Array, namespace
from hpdp_dask.numerics.fourier import HalfPlane, shift_phases
from hpdp_dask.numerics.likelihood.posterior import Posterior
from hpdp_dask.numerics.likelihood.sums import Sums, piece_bytes, pieces


@dataclass(frozen=True)
class GaussianSums(Sums):
    """Images compressed into references, and what they leave unexplained.

    `signal` is the sum of C X / s2, centred, and `weight` that of C² / s2, of each sample
    once: what `slices.insert_slices` takes as contributions.

    Attributes
    ----------
    residual : (groups, radius + 1) array of float64
        The sum of `|X - C P|²` over the samples of a shell, conjugates included, and over the
        images of an optics group. A new noise power is this divided by the group's number of
        images and by the bincount of `multiplicity` over the shell.
    """

    residual: Array


@dataclass(frozen=True)
class GaussianImages:
    """A batch of images as they are compared with references.

    Attributes
    ----------
    plane : HalfPlane
        Where the m samples are: `fourier.half_plane(box, shell)` of the current resolution.
    transforms : (n, m) array of complex64
        Of `fourier.pack`, centred as well as is known.
    ctf : (n, m) array of float32
        Of `ctf.evaluate_ctf`, times the scale of each image; 0 for samples to leave out.
    noise_power : (groups, radius + 1 or more) array
        `<|noise|²>` of each shell and optics group, in the units of `transforms`, positive: white
        noise of variance 1 a pixel has box². (RELION's sigma2Noise is of the real part alone
        and of transforms divided by box²: 1 / (2 box⁴) of this.)
    group : (n,) array of int
        Row of `noise_power` of each image.
    shifts : (t, 2) array
        Shifts to try, x and y, pixels: what to move the images' content by to centre it.
    """

    plane: HalfPlane
    transforms: Array
    ctf: Array
    noise_power: Array
    group: Array
    shifts: Array

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit, and noise without a finite power above 0."""
        shape = len(self.group), len(self.plane)
        if self.transforms.shape != shape or self.ctf.shape != shape:
            raise ValueError(
                f"transforms {self.transforms.shape} and CTFs {self.ctf.shape} must both be "
                f"images x samples of the plane, {shape}"
            )
        used = self.noise_power[:, : self.plane.radius + 1]
        positive = (used > 0) & (used < np.inf)
        if used.shape[1] <= self.plane.radius or not bool(positive.all()):
            raise ValueError(
                f"the noise needs a finite power above 0 in shells 0..{self.plane.radius}"
            )

    @property
    def _xp(self) -> ModuleType:
        return namespace(self.transforms)

    @cached_property
    def _power(self) -> Array:
        """The noise power of each sample, (groups, m)."""
        shell = self._xp.asarray(self.plane.shell)
        return self._xp.asarray(self.noise_power, dtype=self._xp.float32)[:, shell]

    @cached_property
    def _signal(self) -> Array:
        """C X / s2, (n, m) complex64."""
        return self.transforms * (self.ctf / self._power[self.group])

    @cached_property
    def _weight(self) -> Array:
        """C² / s2, (n, m) float32."""
        return self.ctf**2 / self._power[self.group]

    @cached_property
    def _phases(self) -> Array:
        return shift_phases(self.plane, self._xp.asarray(self.shifts))

    def _bytes_each(self, references: int) -> int:
        """Count what one image occupies in a piece: shifted copies and a row of results."""
        return len(self.shifts) * (8 * len(self.plane) + 4 * references)

    def _shifted(self, images: Array) -> Array:
        """Give C X / s2 of some images in every shift, as real rows (images * t, 2 m)."""
        moved = self._signal[images][:, None, :] * self._phases
        return _as_real(moved.reshape(-1, moved.shape[-1]))

    def _expected_power(self, references: Array) -> Array:
        """Give <A, A>, the power of the references seen by each image over that of the noise."""
        power = _squared(references) * self._xp.asarray(multiplicity(self.plane))
        return self._weight @ power.T

    def match(self, references: Array) -> Array:
        """Compare every image, in every shift, with every reference.

        Parameters
        ----------
        references : (r, m) array of complex64
            Transforms without CTF, as of `slices.extract_slices`.

        Returns
        -------
        (n, t, r) array of float32
            The log of the likelihood, over that of an empty reference.
        """
        xp = self._xp
        number, tried, of = len(self.group), len(self.shifts), len(references)
        rows = _as_real(references * xp.asarray(multiplicity(self.plane)))
        half_power = self._expected_power(references)
        half_power *= np.float32(0.5)
        ratios = xp.empty((number, tried, of), dtype=xp.float32)
        for piece in pieces(number, self._bytes_each(of), xp):
            xp.matmul(self._shifted(piece), rows.T, out=ratios[piece].reshape(-1, of))
            ratios[piece] -= half_power[piece][:, None, :]
        return ratios

    def baseline_log_likelihood(self) -> Array:
        """Give the log-likelihood of each image under an empty reference, (n,) float64."""
        xp = self._xp
        counted = xp.asarray(multiplicity(self.plane))
        power = self._power.astype(xp.float64)
        volume = (counted * xp.log(2 * np.pi * power / counted)).sum(axis=1)
        squares = _squared(self.transforms) / self._power[self.group]
        return -0.5 * ((counted * squares).sum(axis=1, dtype=xp.float64) + volume[self.group])

    def compress(self, posterior: Posterior, references: Array) -> GaussianSums:
        """Sum the images, weighted by their probabilities, for each reference.

        The residuals come from the same sums, since for each sample, with probabilities p,
        `sum p |X - C P|² = sum |X|² - 2 s2 Re sum_r conj(P_r) signal_r + s2 sum_r |P_r|² weight_r`.

        Parameters
        ----------
        posterior : Posterior
            Of `match`.
        references : (r, m) array of complex64
            Those that were matched.

        Returns
        -------
        GaussianSums
        """
        xp = self._xp
        groups, samples = self._power.shape
        signal = xp.zeros(references.shape, dtype=xp.complex64)
        weight = xp.zeros(references.shape, dtype=xp.float32)
        unexplained = xp.zeros((groups, samples))
        squares = _squared(references)
        for group in range(groups):
            members = xp.flatnonzero(self.group == group)
            if len(members) == 0:
                continue
            of_group = self._sum_shifted(posterior.responsibilities, members)
            weights = posterior.reference_probability[members].T @ self._weight[members]
            explained = 2.0 * _real_product(references, of_group) - xp.einsum(
                "rm,rm->m", squares, weights, dtype=xp.float64
            )
            power = _squared(self.transforms[members]).sum(axis=0, dtype=xp.float64)
            unexplained[group] = power - self._power[group] * explained
            signal += of_group
            weight += weights
        expected_power = xp.einsum(
            "nr,nr->n",
            posterior.reference_probability,
            self._expected_power(references),
            dtype=xp.float64,
        )
        return GaussianSums(
            signal=signal,
            weight=weight,
            scale_product=posterior.expected_log_likelihood + 0.5 * expected_power,
            scale_power=expected_power,
            residual=sum_shells(unexplained, self.plane),
        )

    def _sum_shifted(self, responsibilities: Array, members: Array) -> Array:
        """Sum C X / s2 of some images over images and shifts, (r, m) complex64."""
        xp = self._xp
        of = responsibilities.shape[2]
        total = xp.zeros((of, 2 * len(self.plane)), dtype=xp.float32)
        everyone = len(members) == len(responsibilities)
        for piece in pieces(len(members), self._bytes_each(of), xp):
            images = piece if everyone else members[piece]
            shares = responsibilities[images].reshape(-1, of)
            total += shares.T @ self._shifted(images)
        return total.view(xp.complex64)


def sum_shells(values: Array, plane: HalfPlane) -> Array:
    """Sum values over the samples of each shell, conjugates included.

    Parameters
    ----------
    values : (k, m) array
    plane : HalfPlane

    Returns
    -------
    (k, radius + 1) array of float64
    """
    xp = namespace(values)
    shell = xp.asarray(plane.shell)
    counted = values * xp.asarray(multiplicity(plane))
    return xp.stack([xp.bincount(shell, row, plane.radius + 1) for row in counted])


def multiplicity(plane: HalfPlane) -> np.ndarray:
    """Count the samples of the whole plane that each packed one stands for, (m,) float32.

    Two, itself and its conjugate; but one at zero frequency.
    """
    return np.where((plane.x == 0) & (plane.y == 0), 1.0, 2.0).astype(np.float32)


def forecast_bytes(
    images: int, shifts: int, references: int, samples: int, xp: ModuleType = np
) -> int:
    """Forecast the memory that matching and compressing a batch takes at its peak.

    Parameters
    ----------
    images, shifts, references, samples : int
        n, t, r and m.
    xp : module, optional
        `cupy` for a batch on a device, where the pieces are larger.

    Returns
    -------
    int
        Bytes, of all but the inputs.
    """
    probabilities = 4 * images * shifts * references
    of_images = 24 * images * samples + 24 * images * references
    of_references = 40 * references * samples
    one_image = shifts * (8 * samples + 4 * references)
    return probabilities + of_images + of_references + 2 * max(piece_bytes(xp), one_image)


def _as_real(rows: Array) -> Array:
    """View complex rows as real ones of twice the length, real and imaginary parts in turn."""
    xp = namespace(rows)
    return xp.ascontiguousarray(rows, dtype=xp.complex64).view(xp.float32)


def _squared(values: Array) -> Array:
    return values.real**2 + values.imag**2


def _real_product(a: Array, b: Array) -> Array:
    """Sum Re conj(a) b over rows, (m,) float64."""
    xp = namespace(a)
    products = (a.real * b.real, a.imag * b.imag)
    return sum(product.sum(axis=0, dtype=xp.float64) for product in products)
