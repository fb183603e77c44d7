"""What a model says of images where they lie: a table of images, and one of data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.crystallography.image_table import ImageTables, tabulate
from hpdp_dask.crystallography.predict import HIT_FROM, Predict, of_shots
from hpdp_dask.formats.stored_frames import StoredFrames
from hpdp_dask.frames.sources import check_complete, open_sources

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


def predict_images(
    measure: Predict,
    inputs: Sequence[str | Path],
    *,
    client: Client | None = None,
    progress: Progress | None = None,
    **described: Any,
) -> ImageTables:
    """Look at images with a model.

    Parameters
    ----------
    measure : Predict
        From `predict.predict_measure`.
    inputs : sequence of path
        Files of images, folders of such, stacks of frames, and those of simulated shots.
    client : distributed.Client, optional
        Where to; by default in this process.
    progress : Progress, optional
    **described
        What files do not say of their geometry; see `frames.sources.open_sources`.

    Returns
    -------
    ImageTables

    Raises
    ------
    InputError
        Files cannot be read, or their geometry is not known; told before any image is looked at.
    """
    sources = open_sources(inputs, **described)
    measures = [measure_for(source, measure) for source in sources]
    return tabulate(sources, measures, summarize, client=client, progress=progress)


def measure_for(source: StoredFrames, measure: Predict) -> Predict:
    """Give the measure for a source: of whole frames, or of simulated quadrants.

    Raises
    ------
    InputError
        Neither is possible.
    """
    if "shot_wavelength" in source.columns:
        return of_shots(measure)
    check_complete(source)
    return measure


def summarize(images: pd.DataFrame) -> pd.DataFrame:
    """Sum up images by data set.

    Parameters
    ----------
    images : pandas.DataFrame
        As `ImageTables` has it.

    Returns
    -------
    pandas.DataFrame
        `data_set`, `images`, `hits` (of a probability of 0.5 or more), `resolution` and
        `resolution_spread` (mean and standard deviation over the hits, Å),
        `resolution_best_tenth` (mean of the finest tenth, Å), `several_lattices` (share of the
        hits). What the model was not trained for is missing.
    """
    import pandas as pd

    rows = []
    for name, group in images.groupby("data_set", sort=False):
        row: dict[str, Any] = {"data_set": name, "images": len(group)}
        if "hit_probability" in group:
            row["hits"] = int((group["hit_probability"] >= HIT_FROM).sum())
        if "resolution" in group:
            known = np.sort(group["resolution"].dropna().to_numpy(np.float64))
            best = known[: -(-len(known) // 10)]
            row["resolution"] = known.mean() if len(known) else np.nan
            row["resolution_spread"] = known.std() if len(known) else np.nan
            row["resolution_best_tenth"] = best.mean() if len(known) else np.nan
        if "several_lattices_probability" in group:
            several = group["several_lattices_probability"].dropna()
            row["several_lattices"] = (several >= 0.5).mean() if len(several) else np.nan
        rows.append(row)
    return pd.DataFrame(rows)
