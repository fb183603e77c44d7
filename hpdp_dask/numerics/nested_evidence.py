"""How much better images are explained by each of several directions, as evidence.

An image's residual is noise of unit variance plus a sum of directions, each with a weight that
is normal with the variance 1. Weights integrate out, so the evidence is that of a normal
distribution, and that of nested models comes out of one Cholesky factor (Bishop 2006, *Pattern
Recognition and Machine Learning*, sections 2.3 and 12.2).
"""

from __future__ import annotations

import numpy as np


def correlate(residuals: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the products of directions with each other, and with what images show.

    Parameters
    ----------
    residuals : (n, m) ndarray of complex64
        The noise of a sample has the variance 1.
    basis : (n, q, m) ndarray of complex64
        Directions, as each image would show them.

    Returns
    -------
    products : (n, q, q) ndarray of float64
        What images tell of the weights: the inverse covariance of their errors.
    projected : (n, q) ndarray of float64
        Of disjoint samples of an image both add up to those of all.
    """
    flat = np.ascontiguousarray(basis, dtype=np.complex64).view(np.float32)
    seen = np.ascontiguousarray(residuals, dtype=np.complex64).view(np.float32)
    # the density of complex noise of the variance 1 is exp(-|r|²), so twice the real product
    products = 2.0 * (flat @ flat.transpose(0, 2, 1)).astype(np.float64)
    return products, 2.0 * (flat @ seen[:, :, None])[..., 0].astype(np.float64)


def nested_gains(products: np.ndarray, projected: np.ndarray, known: int = 0) -> np.ndarray:
    """Give what each direction adds to the logarithm of the evidence, given those before it.

    Parameters
    ----------
    products, projected : (n, q, q), (n, q) ndarray
        Of `correlate`.
    known : int, optional
        So many of the first directions are in all models; their gain is not told.

    Returns
    -------
    (n, q - known) ndarray of float64
        Nats. Of images that do not vary along a direction the expected gain is negative: a
        direction that is not needed costs evidence.
    """
    factor = np.linalg.cholesky(products + np.eye(products.shape[1]))
    # by substitution: the number of directions is small, that of images is not
    solved = np.zeros_like(projected)
    for j in range(projected.shape[1]):
        rest = projected[:, j] - (factor[:, j, :j] * solved[:, :j]).sum(1)
        solved[:, j] = rest / factor[:, j, j]
    gains = 0.5 * solved**2 - np.log(np.diagonal(factor, axis1=1, axis2=2))
    return np.asarray(gains[:, known:])


def weights_of(
    products: np.ndarray, projected: np.ndarray, known: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Give mean and covariance of the posterior of weights.

    Parameters
    ----------
    products, projected : (n, q, q), (n, q) ndarray
        Of `correlate`.
    known : int, optional
        So many of the first directions are left out of what is given, but were reckoned with.

    Returns
    -------
    mean : (n, q - known) ndarray of float64
    covariance : (n, q - known, q - known) ndarray of float64
    """
    covariance = np.linalg.inv(products + np.eye(products.shape[1]))
    mean = (covariance @ projected[:, :, None])[..., 0]
    return mean[:, known:], covariance[:, known:, known:]


def distance_of_halves(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Compare weights found from disjoint samples of an image with what their widths allow.

    Parameters
    ----------
    first, second : (mean, covariance)
        Of `weights_of`, of the same directions.

    Returns
    -------
    (n,) ndarray of float64
        The squared distance over the number of directions, in units of its covariance; 1 in the
        mean if the widths are right, more if they are too small.
    """
    (mean, covariance), (other, others) = first, second
    unit = np.eye(mean.shape[1])
    # the posterior's mean has shrunk by 1 - C and has the noise (1 - C) C; the weights have the
    # variance 1 and shrink by different amounts
    left = covariance - others
    spread = (unit - covariance) @ covariance + (unit - others) @ others
    spread += left @ left.transpose(0, 2, 1)
    apart = mean - other
    solved = np.linalg.solve(spread, apart[:, :, None])[..., 0]
    return np.asarray((apart * solved).sum(1) / mean.shape[1])
