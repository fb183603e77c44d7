"""A picture of a latent space in the plane, in which neighbours stay neighbours (UMAP)."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.spatial import cKDTree

#: Neighbours of an image; those by which an image is put into a picture that is there.
_NEIGHBOURS, _PUT_BY = 15, 5

#: Images that the picture is made of, at most.
_MOST = 30_000


def embed(z: np.ndarray, seed: int = 0) -> np.ndarray:
    """Lay images out in the plane (McInnes, Healy & Melville 2018, arXiv:1802.03426).

    With very many images a sample is laid out, and each of the others put between its nearest
    ones of these. Neighbours are exact ones.

    Parameters
    ----------
    z : (n, zdim) ndarray
        Of 3 images or more.
    seed : int, optional

    Returns
    -------
    (n, 2) ndarray of float32
        Distances between far images mean nothing.
    """
    chosen = np.arange(len(z))
    if len(z) > _MOST:
        chosen = np.sort(np.random.default_rng(seed).choice(len(z), _MOST, replace=False))
    points = z[chosen].astype(np.float64)
    tree = cKDTree(points)
    plane = _laid_out(points, tree, seed)
    if len(chosen) == len(z):
        return plane
    distances, near = tree.query(z, _PUT_BY)
    weights = 1.0 / np.maximum(distances, 1e-12) ** 2
    weights /= weights.sum(1, keepdims=True)
    found = np.einsum("nk,nkd->nd", weights, plane[near]).astype(np.float32)
    found[chosen] = plane
    return found


def _laid_out(points: np.ndarray, tree: cKDTree, seed: int) -> np.ndarray:
    count = min(_NEIGHBOURS, len(points) - 1)
    distances, near = tree.query(points, count)
    with warnings.catch_warnings():
        # that TensorFlow is missing, and that nothing can be transformed later
        warnings.simplefilter("ignore")
        from umap import UMAP  # type: ignore[import-untyped]

        made = UMAP(
            n_neighbors=count,
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(near, np.asarray(distances, dtype=np.float32), None),
            force_approximation_algorithm=True,
        ).fit_transform(points)
    return np.asarray(made, dtype=np.float32)
