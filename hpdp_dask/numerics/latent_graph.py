"""The way from image to image through a latent space, along the graph of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

#: Neighbours of each image to begin with; if these do not join all, they are doubled.
_NEIGHBOURS = 10

#: Images that the graph has at most, drawn by chance.
_MOST = 50_000


def path_through(
    z: np.ndarray, anchors: Sequence[int], seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Find the shortest way through images from neighbour to neighbour.

    As the graph traversal of Zhong et al. 2021 (Nat. Methods 18, 176), with squared distances:
    many short steps are a shorter way than few long ones, so it keeps to where there are images
    (Hwang, Damelin & Hero 2016, Ann. Appl. Probab. 26, 2791).

    Parameters
    ----------
    z : (n, zdim) ndarray
    anchors : sequence of int
        Images that it goes through in their order, two or more.
    seed : int, optional
        Of the choice of images for the graph, where they are very many.

    Returns
    -------
    images : (m,) ndarray of int64
        From the first anchor to the last.
    travelled : (m,) ndarray of float64
        Length of the way up to each, in units of the latent space.
    """
    given = np.asarray(anchors, dtype=np.int64)
    kept = np.arange(len(z))
    if len(z) > _MOST:
        drawn = np.random.default_rng(seed).choice(len(z), _MOST, replace=False)
        kept = np.union1d(drawn, given)
    points = z[kept].astype(np.float64)
    stations = np.searchsorted(kept, given)
    graph = _joined_neighbours(points, stations)
    way = [int(stations[0])]
    for start, end in pairwise(stations.tolist()):
        _, before = dijkstra(graph, indices=start, return_predecessors=True)
        back = [end]
        while back[-1] != start:
            back.append(int(before[back[-1]]))
        way += back[-2::-1]
    steps = np.linalg.norm(np.diff(points[way], axis=0), axis=1)
    return kept[way], np.concatenate([[0.0], np.cumsum(steps)])


def _joined_neighbours(points: np.ndarray, stations: np.ndarray) -> csr_array:
    """Give the graph of nearest neighbours, squared distances, in which stations are joined."""
    tree = cKDTree(points)
    count = min(_NEIGHBOURS, len(points) - 1)
    while True:
        found = tree.query(points, count + 1)
        distances, neighbours = (np.asarray(part)[:, 1:].ravel() for part in found)
        rows = np.repeat(np.arange(len(points)), count)
        # images at the same place are joined too: an edge of the length 0 would be none
        weights = np.maximum(distances**2, 1e-300)
        graph = csr_array((weights, (rows, neighbours)), shape=(len(points),) * 2)
        graph = graph.maximum(graph.T).tocsr()
        labels = connected_components(graph, directed=False)[1]
        if len(np.unique(labels[stations])) == 1 or count == len(points) - 1:
            return graph
        count = min(2 * count, len(points) - 1)


def evenly_along(travelled: np.ndarray, number: int) -> np.ndarray:
    """Choose stations of a way that are about evenly far from each other.

    Parameters
    ----------
    travelled : (m,) ndarray
        As `path_through` gives it.
    number : int

    Returns
    -------
    (k,) ndarray of int64
        Places in `travelled`, the first and the last among them; no place twice, so they may be
        fewer than `number`.
    """
    wanted = np.linspace(0.0, travelled[-1], number)
    return np.unique(np.abs(travelled[None] - wanted[:, None]).argmin(1))
