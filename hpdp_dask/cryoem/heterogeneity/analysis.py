"""What is to be found in a latent space: cells, ways through it, and what it goes with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from hpdp_dask.errors import InputError
from hpdp_dask.numerics.latent_clusters import k_means, nearest
from hpdp_dask.numerics.latent_graph import evenly_along, path_through
from hpdp_dask.numerics.latent_path import curve_positions

if TYPE_CHECKING:
    import pandas as pd

#: Images at either end of the principal curve that a way does not go to, as a share of all: there
#: are outliers.
_ENDS = 0.02

#: Columns of the table that are made of latent variables.
_OWN = {"image", "z", "width", "pc", "umap", "cluster", "landscape", "landscape_cluster"}


@dataclass(frozen=True)
class AnalysisSettings:
    """What is looked at.

    Attributes
    ----------
    clusters : int
        Cells that k-means divides the images into.
    components : int
        Principal components along which volumes are made; at most as many as there are dimensions.
    along : int
        Volumes along each, and along the way through neighbours.
    anchors : tuple of int
        Images that this way goes through; none: from one end of the principal curve to the other.
    landscape : int
        Volumes of the landscape; 0: none.
    landscape_clusters : int or None
        How many clusters it has; None: as many as stand apart.
    seed : int
        Of every random choice.
    """

    clusters: int = 20
    components: int = 2
    along: int = 10
    anchors: tuple[int, ...] = ()
    landscape: int = 200
    landscape_clusters: int | None = None
    seed: int = 0

    def check(self, number: int) -> None:
        """See that they make sense for a number of images.

        Raises
        ------
        InputError
            What does not.
        """
        _within("--clusters", self.clusters, 2, number)
        _within("--components", self.components, 0, number)
        _within("--along", self.along, 2, number)
        if self.landscape:
            _within("--landscape", self.landscape, 10, number)
        if self.landscape_clusters is not None:
            _within("--landscape-clusters", self.landscape_clusters, 1, number)
            if not self.landscape:
                raise InputError(
                    "--landscape-clusters goes with a landscape, but --landscape is 0."
                )
        for anchor in self.anchors:
            _within("--anchor", anchor, 0, number - 1)
        if len(set(self.anchors)) == 1:
            raise InputError("--anchor was given once, expected two images or more, or none.")


def _within(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{option} is {value}, expected {low} to {high:,}.")


@dataclass(frozen=True)
class Cells:
    """The images divided into cells.

    Attributes
    ----------
    labels : (n,) ndarray of int64
        Cell of each image, from 0.
    centres : (k, zdim) ndarray of float64
    images : (k,) ndarray of int64
        The image nearest to each centre.
    """

    labels: np.ndarray
    centres: np.ndarray
    images: np.ndarray


def divide(z: np.ndarray, number: int, seed: int = 0) -> Cells:
    """Divide images into cells by k-means, and find one that stands for each.

    Parameters
    ----------
    z : (n, zdim) ndarray
    number : int
        Of cells.
    seed : int, optional
    """
    labels, centres = k_means(z, number, seed)
    return Cells(labels, centres, nearest(z, centres))


def way_through(
    z: np.ndarray, anchors: Sequence[int], number: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Find the way from neighbour to neighbour, and images evenly along it.

    Parameters
    ----------
    z : (n, zdim) ndarray
    anchors : sequence of int
        See `AnalysisSettings`.
    number : int
        Of images along it.
    seed : int, optional

    Returns
    -------
    images : (m,) ndarray of int64
        All of the way.
    chosen : (k,) ndarray of int64
        Those evenly along it, at most `number`; anchors are among the images, but may not be among
        these.
    """
    if not anchors:
        order = np.argsort(curve_positions(z), kind="stable")
        left_out = round(_ENDS * (len(z) - 1))
        anchors = [int(order[left_out]), int(order[len(z) - 1 - left_out])]
    images, travelled = path_through(z, anchors, seed)
    return images, images[evenly_along(travelled, number)]


def companions(table: pd.DataFrame, components: int) -> list[tuple[str, list[float]]]:
    """Tell how principal components go with what is known of the particles.

    Conformations do not know of the defocus or of the direction of view; where a component does,
    it may be of the imaging, or an error of CTF or poses.

    Parameters
    ----------
    table : pandas.DataFrame
        See `table.read_table`.
    components : int

    Returns
    -------
    list of (str, list of float)
        A column of numbers, and the rank correlation (Spearman) of each component with it. For
        angles, whose ends meet, the larger of those of sine and cosine.
    """
    ranked = [_standard_ranks(table[f"pc{k}"].to_numpy()) for k in range(1, components + 1)]
    found = []
    for name in table:
        values = table[name]
        own = str(name).rstrip("0123456789") in _OWN
        if own or values.dtype.kind not in "fiub":
            continue
        numbers = values.to_numpy().astype(np.float64)
        if not np.isfinite(numbers).all() or np.ptp(numbers) == 0.0:
            continue
        if name in ("rot", "psi", "defocus_angle"):
            turns = (2.0 if name == "defocus_angle" else 1.0) * np.deg2rad(numbers)
            given = [_standard_ranks(np.sin(turns)), _standard_ranks(np.cos(turns))]
        else:
            given = [_standard_ranks(numbers)]
        row = [max((float(a @ b) for b in given), key=abs) for a in ranked]
        found.append((str(name), row))
    return found


def _standard_ranks(values: np.ndarray) -> np.ndarray:
    """Give ranks whose products with each other sum to the rank correlation."""
    ranks = rankdata(values)
    ranks -= ranks.mean()
    size = float(np.linalg.norm(ranks))
    return ranks / size if size > 0.0 else ranks
