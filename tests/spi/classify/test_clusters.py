"""Clusters, matched to classes by labels, and frames that come later."""

import numpy as np
import pytest
from test_svm import blobs

from hpdp_dask.spi.classify import clusters
from hpdp_dask.spi.classify.clusters import fit_kmeans, fit_spectral, match_clusters


def rings(number: int, seed: int = 0):
    """Make two rings, one inside the other, which no straight line parts."""
    rng = np.random.default_rng(seed)
    indices = np.arange(number) % 2
    angle = rng.uniform(0.0, 2.0 * np.pi, number)
    radius = np.where(indices == 0, 1.0, 4.0) + rng.normal(0.0, 0.1, number)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), indices


@pytest.mark.parametrize("fit", [fit_kmeans, fit_spectral])
def test_clusters_are_matched_to_classes(fit) -> None:
    features, indices = blobs(3, 300)
    labelled = np.arange(12)
    found = fit(features, labelled, indices[labelled], 0)
    later, truth = blobs(3, 300)
    given = found.probabilities(later[::-1])
    np.testing.assert_allclose(given.sum(axis=1), 1.0)
    assert np.mean(np.argmax(given, axis=1) == truth[::-1]) > 0.99


def test_spectral_clustering_follows_shapes_that_no_line_parts() -> None:
    features, indices = rings(400)
    labelled = np.arange(6)
    found = fit_spectral(features, labelled, indices[labelled], 0)
    later, truth = rings(200, seed=1)
    assert np.mean(np.argmax(found.probabilities(later), axis=1) == truth) > 0.98


def test_of_many_frames_landmarks_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "LANDMARKS", 120)
    features, indices = blobs(3, 5000)
    labelled = np.arange(4900, 4930)
    found = fit_spectral(features, labelled, indices[labelled], 0)
    assert len(found.landmarks) == 120
    assert np.mean(np.argmax(found.probabilities(features), axis=1) == indices) > 0.99


def test_the_majority_decides_and_an_empty_cluster_goes_with_its_neighbour() -> None:
    centers = np.array([[0.0], [10.0], [11.0]])
    membership = match_clusters(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1]), centers)
    np.testing.assert_allclose(membership, [[3 / 5, 2 / 5], [1 / 4, 3 / 4], [1 / 4, 3 / 4]])


def test_equal_seeds_give_equal_clusters() -> None:
    features, indices = blobs(4, 200, apart=0.5)
    labelled = np.arange(20)
    for fit in (fit_kmeans, fit_spectral):
        first, again = (fit(features, labelled, indices[labelled], 5) for _ in range(2))
        np.testing.assert_array_equal(first.probabilities(features), again.probabilities(features))
