"""Images that were chosen in the latent space: of clusters, or inside a line drawn by hand."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

#: Points that are held against all sides of a polygon at once.
_AT_ONCE = 100_000


@dataclass(frozen=True)
class Lasso:
    """A closed line in the plane of two columns of the table.

    Attributes
    ----------
    x, y : str
        Names of the columns, see `table.read_table`.
    polygon : (k, 2) ndarray of float64
        Its corners; the last is joined to the first.
    """

    x: str
    y: str
    polygon: np.ndarray


def read_lasso(path: Path) -> Lasso:
    """Read a lasso: JSON, `{"x": "umap1", "y": "umap2", "polygon": [[0, 0], [1, 0], [1, 2]]}`.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Lasso

    Raises
    ------
    InputError
        It cannot be read, or is none.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        x, y, polygon = told["x"], told["y"], np.array(told["polygon"], dtype=np.float64)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f'{path}: is no lasso, expected JSON as {{"x": "umap1", "y": "umap2", "polygon": '
            "[[0, 0], [1, 0], [1, 2]]}."
        ) from None
    if not (isinstance(x, str) and isinstance(y, str)):
        raise InputError(f"{path}: x and y are {x!r} and {y!r}, expected names of columns.")
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise InputError(
            f"{path}: the polygon has the shape {polygon.shape}, expected three corners or more of "
            "two numbers."
        )
    if not np.isfinite(polygon).all():
        raise InputError(f"{path}: the polygon has corners that are not finite numbers.")
    return Lasso(x, y, polygon)


def write_lasso(path: Path, lasso: Lasso) -> None:
    """Write a lasso as `read_lasso` reads it; the file appears when it is whole."""
    told = {"x": lasso.x, "y": lasso.y, "polygon": lasso.polygon.tolist()}
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(json.dumps(told) + "\n", encoding="utf-8")
    temporary.replace(path)


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Tell which points are inside a polygon.

    Parameters
    ----------
    points : (n, 2) ndarray
        One that is not finite is outside.
    polygon : (k, 2) ndarray
        Where sides cross, what is surrounded twice is outside (the even-odd rule).

    Returns
    -------
    (n,) ndarray of bool
    """
    polygon = np.asarray(polygon, dtype=np.float64)
    points = np.asarray(points, dtype=np.float64)
    low, high = polygon.min(0), polygon.max(0)
    near = np.flatnonzero(((points >= low) & (points <= high)).all(1))
    found = np.zeros(len(points), dtype=bool)
    for start in range(0, len(near), _AT_ONCE):
        rows = near[start : start + _AT_ONCE]
        x, y = points[rows].T
        odd = np.zeros(len(rows), dtype=bool)
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
            if y0 == y1:
                continue
            # a ray to the right of the point; a corner on it belongs to the side above
            crossed = (y0 > y) != (y1 > y)
            odd ^= crossed & (x < x0 + (y - y0) * ((x1 - x0) / (y1 - y0)))
        found[rows] = odd
    return found


def select_rows(
    table: pd.DataFrame,
    *,
    lasso: Lasso | None = None,
    cluster: int | Collection[int] | None = None,
    column: str = "cluster",
) -> np.ndarray:
    """Give the places in the stack of images that are in a lasso, in clusters, or in both.

    Parameters
    ----------
    table : pandas.DataFrame
        As `table.read_table` gives it.
    lasso : Lasso, optional
    cluster : int or collection of int, optional
        Numbers of clusters, from 0.
    column : str, optional
        Which clusters are meant: `cluster`, or `landscape_cluster`.

    Returns
    -------
    (m,) ndarray of int64
        In order.

    Raises
    ------
    InputError
        Neither is given, a column or a cluster is not there, or there are no such images.
    """
    if lasso is None and cluster is None:
        raise InputError("give clusters or a lasso: which images to choose.")
    chosen = np.ones(len(table), dtype=bool)
    said = []
    if cluster is not None:
        wanted = {cluster} if isinstance(cluster, int) else set(cluster)
        numbers = _column(table, column).astype(np.int64)
        wrong = sorted(wanted.difference(np.unique(numbers).tolist()))
        if wrong or not wanted:
            raise InputError(
                f"there is no cluster {', '.join(map(str, wrong)) or 'named'}; the clusters are 0 "
                f"to {numbers.max()}."
            )
        chosen &= np.isin(numbers, list(wanted))
        said.append(f"cluster {', '.join(map(str, sorted(wanted)))}")
    if lasso is not None:
        points = np.stack([_column(table, name) for name in (lasso.x, lasso.y)], axis=1)
        chosen &= inside(points, lasso.polygon)
        said.append(f"the lasso in {lasso.x} and {lasso.y}")
    if not chosen.any():
        raise InputError(f"there are no images in {' and '.join(said)}.")
    return np.asarray(table["image"].to_numpy()[chosen], dtype=np.int64)


def _column(table: pd.DataFrame, name: str) -> np.ndarray:
    if name not in table:
        hint = "the columns are " + ", ".join(map(str, table.columns))
        if name.startswith("landscape") and "landscape_cluster" not in table:
            hint = "call hpdp cryoem heterogeneity analyze with a --landscape first"
        elif name.startswith(("umap", "cluster")) and "cluster" not in table:
            hint = "call hpdp cryoem heterogeneity analyze first"
        raise InputError(f"the table of images has no column {name}; {hint}.")
    values = table[name]
    if values.dtype.kind not in "fiub":
        raise InputError(f"the column {name} holds no numbers, expected one that does.")
    return values.to_numpy()
