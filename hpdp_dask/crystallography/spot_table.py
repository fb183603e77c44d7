"""What the spots of images say where the images lie: a table of images, and one of data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.crystallography.image_table import ImageTables, tabulate
from hpdp_dask.crystallography.spots import Spots
from hpdp_dask.frames.sources import check_complete, open_sources

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


def tabulate_spots(
    measure: Spots,
    inputs: Sequence[str | Path],
    *,
    client: Client | None = None,
    progress: Progress | None = None,
    **described: Any,
) -> ImageTables:
    """Find the spots of images in files.

    Parameters
    ----------
    measure : Spots
    inputs : sequence of path
        Files of images, folders of such, and stacks of frames.
    client : distributed.Client, optional
        Where to; by default in this process.
    progress : Progress, optional
    **described
        What files do not say of their geometry; see `frames.sources.open_sources`.

    Returns
    -------
    ImageTables
        Its images have the columns of `Spots`.

    Raises
    ------
    InputError
        Files cannot be read, or their geometry is not known; told before any image is looked at.
    """
    sources = open_sources(inputs, **described)
    for source in sources:
        check_complete(source)
    measures = [measure] * len(sources)
    return tabulate(sources, measures, summarize_spots, client=client, progress=progress)


def summarize_spots(images: pd.DataFrame) -> pd.DataFrame:
    """Sum up spots by data set.

    Parameters
    ----------
    images : pandas.DataFrame
        `data_set` and the columns of `Spots`.

    Returns
    -------
    pandas.DataFrame
        `data_set`, `images`, `hits`; of the hits `spots` (median), `resolution` and
        `resolution_best_tenth` (median, and mean of the finest tenth, Å) and `several_lattices`
        (share, NaN if none was looked for); and `ice`, the share of images with ice rings.
    """
    import pandas as pd

    rows = []
    for name, group in images.groupby("data_set", sort=False):
        hits = group[group["spot_hit"] > 0]
        resolution = np.sort(hits["spot_resolution"].to_numpy(np.float64))
        searched = hits["lattice_count"][hits["lattice_count"] >= 0]
        rows.append(
            {
                "data_set": name,
                "images": len(group),
                "hits": len(hits),
                "spots": hits["spot_count"].median(),
                "resolution": hits["spot_resolution"].median(),
                "resolution_best_tenth": _mean(resolution[: -(-len(resolution) // 10)]),
                "several_lattices": _mean(searched.to_numpy() > 1),
                "ice": (group["ice_rings"] > 0).mean(),
            }
        )
    return pd.DataFrame(rows)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
