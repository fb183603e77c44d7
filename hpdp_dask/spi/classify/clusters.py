"""Clusters of feature vectors, matched to classes by the frames that have labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpdp_dask.spi.classify.space import Space, fit_space

#: A class is rarely one cluster: particles differ in size, pulses in strength.
PER_CLASS = 4

#: Labelled frames that a cluster should have on average, or it would be matched by chance.
LABELS_PER_CLUSTER = 3

#: Frames that spectral clustering looks at, at most: it takes time and memory with the square of
#: their number.
LANDMARKS = 2000

#: A landmark's own scale is the distance of this neighbour; so many of the nearest landmarks
#: speak for a new frame.
NEIGHBOUR = 7
COMPARED = 5


@dataclass(frozen=True)
class Clusters:
    """Landmarks that stand for clusters, and the classes they belong to.

    Attributes
    ----------
    mean, matrix : ndarray
        Of the `Space` of the features.
    landmarks : (m, d) ndarray
        In the space: the centres of k-means, or the frames that spectral clustering looked at.
    membership : (m, k) ndarray
        Probability of each class for a frame at a landmark.
    compared : () ndarray of int
        How many of the nearest landmarks speak for a frame.
    """

    mean: np.ndarray
    matrix: np.ndarray
    landmarks: np.ndarray
    membership: np.ndarray
    compared: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Give the probability of each class for (n, f) features, (n, k)."""
        places = Space(self.mean, self.matrix).project(features)
        squared = np.sum(self.landmarks**2, axis=1) - 2.0 * (places @ self.landmarks.T)
        number = int(self.compared)
        nearest = np.argpartition(squared, number - 1, axis=1)[:, :number]
        return np.asarray(self.membership[nearest].mean(axis=1))


def fit_kmeans(
    features: np.ndarray, labelled: np.ndarray, indices: np.ndarray, seed: int
) -> Clusters:
    """Find clusters by k-means, up to four a class.

    Parameters
    ----------
    features : (n, f) ndarray
        Of all frames, with or without labels.
    labelled : (m,) ndarray of int
        Frames with a label.
    indices : (m,) ndarray of int
        Their classes, 0 to k - 1.
    seed : int

    Returns
    -------
    Clusters
    """
    from sklearn.cluster import KMeans

    space = fit_space(features, seed)
    places = space.project(features)
    found = KMeans(_how_many(indices), n_init=10, random_state=seed).fit(places)
    centers = found.cluster_centers_
    membership = match_clusters(found.labels_[labelled], indices, centers)
    return Clusters(space.mean, space.matrix, centers, membership, np.asarray(1))


def fit_spectral(
    features: np.ndarray, labelled: np.ndarray, indices: np.ndarray, seed: int
) -> Clusters:
    """Find clusters by the spectrum of the graph of frames, up to four a class.

    Frames are joined by how near they are in the scale of their own neighbourhoods (Zelnik-Manor
    and Perona 2004). Of many, `LANDMARKS` are taken at random, labelled ones first; all others,
    then and later, belong where the landmarks nearest to them do. Parameters and result are those
    of `fit_kmeans`.
    """
    from sklearn.cluster import SpectralClustering

    space = fit_space(features, seed)
    chosen = _choose_landmarks(len(features), labelled, seed)
    landmarks = space.project(features[chosen])
    cluster_of = SpectralClustering(
        _how_many(indices), affinity="precomputed", assign_labels="cluster_qr", random_state=seed
    ).fit_predict(_affinity(landmarks))
    known = min(len(labelled), len(chosen))
    centers = np.array(
        [landmarks[cluster_of == cluster].mean(axis=0) for cluster in range(cluster_of.max() + 1)]
    )
    membership = match_clusters(cluster_of[:known], indices[:known], centers)[cluster_of]
    return Clusters(
        space.mean, space.matrix, landmarks, membership, np.asarray(min(COMPARED, len(chosen)))
    )


def match_clusters(clusters: np.ndarray, indices: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Match clusters to classes: the majority of the labelled frames in a cluster decides.

    Parameters
    ----------
    clusters : (m,) ndarray of int
        Cluster of each labelled frame.
    indices : (m,) ndarray of int
        Its class.
    centers : (c, d) ndarray
        Of the clusters; one without labelled frames goes with the nearest that has some.

    Returns
    -------
    (c, k) ndarray
        Probability of each class in each cluster: Laplace's estimate.
    """
    counts = np.zeros((len(centers), int(indices.max()) + 1))
    np.add.at(counts, (clusters, indices), 1.0)
    known = np.flatnonzero(counts.any(axis=1))
    distance = np.linalg.norm(centers[:, None] - centers[known], axis=2)
    counts = counts[known[np.argmin(distance, axis=1)]] + 1.0
    return counts / counts.sum(axis=1, keepdims=True)


def _how_many(indices: np.ndarray) -> int:
    """Say how many clusters so many labels allow."""
    classes = int(indices.max()) + 1
    return int(np.clip(len(indices) // LABELS_PER_CLUSTER, classes, PER_CLASS * classes))


def _choose_landmarks(number: int, labelled: np.ndarray, seed: int) -> np.ndarray:
    """Choose frames: the labelled ones in their order, then others at random."""
    others = np.setdiff1d(np.arange(number), labelled)
    shuffled = np.random.default_rng(seed).permutation(others)
    return np.concatenate([labelled, shuffled])[:LANDMARKS]


def _affinity(places: np.ndarray) -> np.ndarray:
    """Join (m, d) places by exp(-d² / (own scale times that of the other)), (m, m)."""
    from scipy.spatial.distance import cdist

    squared = cdist(places, places, "sqeuclidean")
    neighbour = min(NEIGHBOUR, len(places) - 1)
    scale = np.sqrt(np.partition(squared, neighbour, axis=1)[:, neighbour])
    scale = np.maximum(scale, 1e-6 * max(scale.max(), 1e-300))
    # a graph in one piece, whatever lies far away
    return np.maximum(np.exp(-squared / np.outer(scale, scale)), 1e-12)
