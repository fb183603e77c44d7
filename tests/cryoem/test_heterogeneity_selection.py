"""Lassos and clusters: which images are chosen, and clear refusals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Outline

from hpdp_dask.cryoem.heterogeneity.selection import (
    Lasso,
    inside,
    read_lasso,
    select_rows,
    write_lasso,
)
from hpdp_dask.errors import InputError

SQUARE = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]])


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "image": np.arange(100),
            "umap1": random.uniform(-1, 3, 100),
            "umap2": random.uniform(-1, 2, 100),
            "cluster": np.arange(100) % 5,
            "micrograph": pd.Categorical(["a", "b"] * 50),
        }
    )


@given(
    arrays(np.float64, (7, 2), elements=st.floats(-5, 5).map(lambda v: round(v, 2))),
    st.integers(0, 99),
)
def test_inside_as_matplotlib_finds_it(star, seed):
    # a simple polygon: corners in the order of their directions
    corners = star - star.mean(0)
    corners = corners[np.argsort(np.arctan2(corners[:, 1], corners[:, 0]))]
    points = np.random.default_rng(seed).uniform(-6, 6, (200, 2))
    found = inside(points, corners)
    if np.linalg.matrix_rank(corners) < 2:
        assert not found.any()
        return
    # where a corner is at the middle, or two in one direction, sides may touch
    directions = np.arctan2(corners[:, 1], corners[:, 0])
    if (np.linalg.norm(corners, axis=1) > 1e-3).all() and (np.diff(directions) > 1e-3).all():
        np.testing.assert_array_equal(found, Outline(corners).contains_points(points))


def test_inside_of_crossing_sides_and_points_that_are_none():
    bow = np.array([[0.0, 0.0], [2.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    points = np.array([[1.8, 1.0], [0.2, 1.0], [1.0, 1.8], [np.nan, 1.0], [np.inf, 1.0]])
    assert inside(points, bow).tolist() == [True, True, False, False, False]
    # surrounded twice
    twice = np.concatenate([SQUARE, SQUARE])
    assert not inside(np.array([[1.0, 0.5]]), twice).any()


def test_the_halves_of_a_plane_share_no_points():
    points = np.stack(np.meshgrid(np.arange(-1, 4), np.arange(-1, 3)), -1).reshape(-1, 2)
    left = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    right = left + np.array([1, 0])
    assert not (inside(points, left) & inside(points, right)).any()


def test_a_lasso_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "open.json"
    write_lasso(path, Lasso("umap1", "pc2", SQUARE))
    found = read_lasso(path)
    assert (found.x, found.y) == ("umap1", "pc2")
    np.testing.assert_array_equal(found.polygon, SQUARE)
    assert [each.name for each in tmp_path.iterdir()] == ["open.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no lasso"),
        ("[1, 2]", "is no lasso"),
        ('{"x": "pc1", "polygon": [[0, 0], [1, 0], [1, 1]]}', "is no lasso"),
        ('{"x": "pc1", "y": 2, "polygon": [[0, 0], [1, 0], [1, 1]]}', "expected names of columns"),
        ('{"x": "pc1", "y": "pc2", "polygon": [[0, 0], [1, 0]]}', "three corners or more"),
        ('{"x": "pc1", "y": "pc2", "polygon": [[0, 0, 1], [1, 0, 1], [1, 1, 1]]}', "two numbers"),
        ('{"x": "pc1", "y": "pc2", "polygon": [[0, 0], [1, 0], [1]]}', "is no lasso"),
        ('{"x": "pc1", "y": "pc2", "polygon": [[0, 0], [1, 0], [1, NaN]]}', "not finite"),
    ],
)
def test_what_is_no_lasso_is_refused(text, words, tmp_path):
    path = tmp_path / "lasso.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_lasso(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_lasso(tmp_path / "nowhere.json")


def test_rows_of_clusters_and_lassos(table):
    lasso = Lasso("umap1", "umap2", SQUARE)
    within = table.umap1.between(0, 2) & table.umap2.between(0, 1)
    np.testing.assert_array_equal(select_rows(table, lasso=lasso), np.flatnonzero(within))
    np.testing.assert_array_equal(select_rows(table, cluster=3), np.arange(3, 100, 5))
    both = select_rows(table, lasso=lasso, cluster=[0, 3])
    np.testing.assert_array_equal(both, np.flatnonzero(within & table.cluster.isin([0, 3])))
    assert both.dtype == np.int64


def test_rows_that_are_none(table):
    def refused(words, **chosen):
        with pytest.raises(InputError, match=words):
            select_rows(table, **chosen)

    refused("give clusters or a lasso")
    refused("no cluster 7; the clusters are 0 to 4", cluster=[1, 7])
    refused(
        "no column landscape_cluster; call hpdp cryoem heterogeneity analyze",
        cluster=1,
        column="landscape_cluster",
    )
    refused("no column pc9; the columns are image", lasso=Lasso("pc9", "umap2", SQUARE))
    refused("micrograph holds no numbers", lasso=Lasso("umap1", "micrograph", SQUARE))
    refused("no images in the lasso in umap1 and umap2", lasso=Lasso("umap1", "umap2", SQUARE + 50))
