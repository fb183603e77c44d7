"""The space that classifiers of features work in: standardised features, principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.numerics.arrays import Array

#: Principal components that are kept at most, and the share of the variance that suffices.
MOST_COMPONENTS = 40
VARIANCE = 0.99


@dataclass(frozen=True)
class Space:
    """Standardisation and principal components in one affine map.

    Attributes
    ----------
    mean : (f,) ndarray of float64
    matrix : (f, d) ndarray of float64
        Components, each row over the standard deviation of its feature.
    """

    mean: np.ndarray
    matrix: np.ndarray

    def project(self, features: Array) -> Array:
        """Take (n, f) features to (n, d) coordinates."""
        return (features - self.mean) @ self.matrix


def fit_space(features: np.ndarray, seed: int) -> Space:
    """Find the space of features; those of frames without a label help.

    Parameters
    ----------
    features : (n, f) ndarray
        Finite.
    seed : int

    Returns
    -------
    Space
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(np.asarray(features, np.float64))
    most = min(MOST_COMPONENTS, *features.shape)
    pca = PCA(most, random_state=seed).fit(scaler.transform(features))
    needed = 1 + int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), VARIANCE))
    components = pca.components_[:needed]
    return Space(scaler.mean_, components.T / scaler.scale_[:, None])
