"""Points, ways, groups and pictures of a latent space, on clouds whose truth is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness

from hpdp_dask.numerics import latent_clusters, latent_embedding, latent_graph
from hpdp_dask.numerics.latent_path import curve_positions, points_along, principal_axes


def arc(number=1500, noise=0.15, seed=0):
    """Points of three quarters of a circle in three dimensions, and where they are along it."""
    random = np.random.default_rng(seed)
    turn = random.uniform(0.0, 1.5 * np.pi, number)
    flat = np.stack([np.cos(turn), np.sin(turn), np.zeros(number)], axis=1)
    return (flat + noise * random.standard_normal((number, 3))).astype(np.float32), turn


def two(number=2000, apart=5.0, share=0.25, seed=1):
    """Points of two normal clouds, and in which they are."""
    random = np.random.default_rng(seed)
    second = random.random(number) < share
    points = random.standard_normal((number, 4))
    points[:, 1] += apart * second
    return points.astype(np.float32), second


def test_points_along_a_component_are_amid_images():
    random = np.random.default_rng(2)
    z = random.standard_normal((1000, 3)) * [1.0, 5.0, 0.2]
    for component, axis in ((0, 1), (1, 0), (2, 2)):
        points = points_along(z.astype(np.float32), 7, component)
        assert points.shape == (7, 3)
        assert abs(spearmanr(points[:, axis], np.arange(7)).statistic) == pytest.approx(1.0)
        scores = np.abs(principal_axes(z)[0][:, component])
        assert np.abs(points[:, axis]).max() < scores.max()


def test_the_principal_curve_follows_a_bend():
    z, turn = arc()
    along_curve = abs(spearmanr(curve_positions(z), turn).statistic)
    along_line = abs(spearmanr(principal_axes(z)[0][:, 0], turn).statistic)
    assert along_curve > 0.95
    assert along_line < 0.92


def test_positions_on_a_line_are_lengths():
    z = np.linspace(-3.0, 4.0, 500)[:, None] * np.array([[0.6, 0.8]])
    position = curve_positions(z.astype(np.float32))
    np.testing.assert_allclose(np.abs(np.diff(position)), 7.0 / 499, rtol=1e-3)


def test_the_way_through_neighbours_keeps_to_the_images():
    z, turn = arc()
    start, end = int(turn.argmin()), int(turn.argmax())
    images, travelled = latent_graph.path_through(z, [start, end])
    assert (images[0], images[-1]) == (start, end)
    # along the bend, not across the gap
    assert travelled[-1] > 0.85 * 1.5 * np.pi
    assert np.linalg.norm(np.diff(z[images], axis=0), axis=1).max() < 0.4
    assert spearmanr(turn[images], np.arange(len(images))).statistic > 0.9
    chosen = latent_graph.evenly_along(travelled, 6)
    assert len(chosen) == 6
    assert np.ptp(np.diff(travelled[chosen])) < 0.5


def test_the_way_goes_through_all_anchors_and_over_gaps():
    z, second = two(300, apart=40.0)
    anchors = [int(np.flatnonzero(second)[0]), int(np.flatnonzero(~second)[0])]
    anchors.append(int(np.flatnonzero(second)[1]))
    images, _ = latent_graph.path_through(z, anchors)
    places = [images.tolist().index(anchor) for anchor in anchors]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, len(images) - 1)


def test_a_way_with_too_many_images_is_found_among_some(monkeypatch):
    monkeypatch.setattr(latent_graph, "_MOST", 400)
    z, turn = arc()
    images, _ = latent_graph.path_through(z, [int(turn.argmin()), int(turn.argmax())], seed=4)
    again, _ = latent_graph.path_through(z, [int(turn.argmin()), int(turn.argmax())], seed=4)
    np.testing.assert_array_equal(images, again)
    assert spearmanr(turn[images], np.arange(len(images))).statistic > 0.9


def test_cells_are_numbered_along_the_first_component_and_recorded_seeds_repeat():
    z, _ = arc()
    labels, centres = latent_clusters.k_means(z, 12, seed=3)
    again, _ = latent_clusters.k_means(z, 12, seed=3)
    np.testing.assert_array_equal(labels, again)
    distance = np.linalg.norm(z[:, None] - centres, axis=2)
    np.testing.assert_array_equal(labels, distance.argmin(1))
    np.testing.assert_allclose(centres[5], z[labels == 5].mean(0), atol=5e-3)
    assert (np.diff(principal_axes(centres)[0][:, 0]) > 0).all()


@pytest.mark.parametrize("number", [None, 2])
def test_two_clusters_of_unequal_size(number):
    z, second = two()
    found = latent_clusters.find_clusters(z, number)
    assert len(found.shares) == 2
    assert np.mean(found.labels == second) > 0.98
    np.testing.assert_allclose(found.shares, [0.75, 0.25], atol=0.02)
    assert found.valleys[0, 1] < 0.3
    assert ((found.probability >= 0.5) & (found.probability <= 1.0)).all()


def test_one_bent_cloud_is_one_cluster_unless_more_are_asked_for():
    z, _ = arc()
    assert len(latent_clusters.find_clusters(z).shares) == 1
    parted = latent_clusters.find_clusters(z, 3)
    assert len(parted.shares) == 3
    assert (parted.valleys[0, 1:] > 0.3).all()


def test_the_picture_keeps_neighbours(monkeypatch):
    z, _ = two(240, apart=8.0)
    whole = latent_embedding.embed(z, seed=1)
    assert trustworthiness(z, whole, n_neighbors=10) > 0.8
    np.testing.assert_array_equal(whole, latent_embedding.embed(z, seed=1))
    monkeypatch.setattr(latent_embedding, "_MOST", 160)
    part = latent_embedding.embed(z, seed=1)
    assert part.shape == (240, 2)
    assert trustworthiness(z, part, n_neighbors=10) > 0.75
