"""Groups of images in a latent space: cells to look into, and clusters that stand apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

#: Images that groups are found by, at most; all are put into them.
_MOST = 50_000

#: Components of a mixture that are tried, at most; images for each, at least; starts of each.
_MOST_COMPONENTS, _FEWEST, _STARTS = 8, 20, 3

#: Density in a valley, as a share of that at the lower top, below which it parts two clusters;
#: steps in which a valley is crossed.
_VALLEY, _STEPS = 0.5, 50


def k_means(z: np.ndarray, number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Divide images into cells of about equal extent.

    Parameters
    ----------
    z : (n, zdim) ndarray
    number : int
        Of cells, at most n.
    seed : int, optional

    Returns
    -------
    labels : (n,) ndarray of int64
        From 0; neighbouring numbers are of cells that are near along the first principal
        component of the centres.
    centres : (number, zdim) ndarray of float64
    """
    from sklearn.cluster import KMeans

    from hpdp_dask.numerics.latent_path import principal_axes

    found = KMeans(number, n_init=_STARTS, random_state=seed).fit(_sample(z, seed))
    centres = found.cluster_centers_.astype(np.float64)
    centres = centres[np.argsort(principal_axes(centres)[0][:, 0], kind="stable")]
    return nearest(centres, z), centres


def nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Tell, for each of some points, which of the first ones is nearest.

    Parameters
    ----------
    points : (k, d) ndarray
    others : (n, d) ndarray

    Returns
    -------
    (n,) ndarray of int64
    """
    return np.asarray(cKDTree(points).query(others)[1], dtype=np.int64)


@dataclass(frozen=True)
class Clusters:
    """Clusters of images.

    Attributes
    ----------
    labels : (n,) ndarray of int64
        The likeliest cluster of each image, from 0, the largest first.
    probability : (n,) ndarray of float64
        That it is in this cluster.
    shares : (k,) ndarray of float64
        Of the images, by the probabilities of all.
    valleys : (k, k) ndarray of float64
        Density of images in the valley between two clusters, on the way that loses least, over
        that at the lower of both tops; 1 on the diagonal, and where there is no valley.
    """

    labels: np.ndarray
    probability: np.ndarray
    shares: np.ndarray
    valleys: np.ndarray


def find_clusters(points: np.ndarray, number: int | None = None, seed: int = 0) -> Clusters:
    """Find clusters by a mixture of normal distributions, and how many there are.

    As many components are taken as Bayes' information criterion asks for. A curved or uneven
    cloud takes several, so components are joined between which the density of all does not fall
    to a half of the lower of both tops, along the ridge from one to the other (Ray & Lindsay
    2005, Ann. Stat. 33, 2042; Hennig 2010, Adv. Data Anal. Classif. 4, 3).

    Parameters
    ----------
    points : (n, d) ndarray
        Of images.
    number : int, optional
        Of clusters, which are then not joined, whether there is a valley between them or not.
    seed : int, optional

    Returns
    -------
    Clusters
    """
    from sklearn.mixture import GaussianMixture

    fitted = _sample(points, seed).astype(np.float64)
    # without a unit, as the least variance that a component may have is an absolute number
    centre, unit = fitted.mean(0), max(float(fitted.std(0).max()), 1e-30)
    fitted = (fitted - centre) / unit
    most = min(_MOST_COMPONENTS, max(1, len(fitted) // _FEWEST))
    models = [
        GaussianMixture(count, n_init=_STARTS, max_iter=300, reg_covar=1e-5, random_state=seed).fit(
            fitted
        )
        for count in ([number] if number is not None else range(1, most + 1))
    ]
    best = min(models, key=lambda model: float(model.bic(fitted)))
    valleys = _valleys(best.weights_, best.means_, best.covariances_, best.score_samples)
    joined = np.arange(len(valleys))
    if number is None:
        joined = np.asarray(connected_components(valleys > _VALLEY, directed=False)[1])
    count = joined.max() + 1
    member = np.eye(count)[joined]
    chances = best.predict_proba((points.astype(np.float64) - centre) / unit) @ member
    shares = chances.mean(0)
    order = np.argsort(-shares, kind="stable")
    between = np.array(
        [[valleys[np.ix_(joined == a, joined == b)].max() for b in order] for a in order]
    )
    chances = chances[:, order]
    return Clusters(chances.argmax(1), chances.max(1), shares[order], between)


def _valleys(
    weights: np.ndarray,
    means: np.ndarray,
    covariances: np.ndarray,
    log_density: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Give, for all pairs of components, the density in the valley over that at the lower top."""
    count = len(weights)
    precisions = np.linalg.inv(covariances)
    direct = np.eye(count)
    for a in range(count):
        for b in range(a):
            share = np.linspace(0.0, 1.0, _STEPS)[:, None, None]
            mixed = (1.0 - share) * precisions[a] + share * precisions[b]
            pull = (1.0 - share[..., 0]) * (precisions[a] @ means[a])
            pull = pull + share[..., 0] * (precisions[b] @ means[b])
            heights = log_density(np.linalg.solve(mixed, pull[..., None])[..., 0])
            tops = np.maximum.accumulate(heights), np.maximum.accumulate(heights[::-1])[::-1]
            direct[a, b] = direct[b, a] = np.exp((heights - np.minimum(*tops)).min())
    # by way of others the valley may be less deep: the path whose lowest point is highest
    for middle in range(count):
        direct = np.maximum(direct, np.minimum(direct[:, [middle]], direct[[middle]]))
    return direct


def _sample(points: np.ndarray, seed: int) -> np.ndarray:
    if len(points) <= _MOST:
        return points
    return points[np.random.default_rng(seed).choice(len(points), _MOST, replace=False)]
