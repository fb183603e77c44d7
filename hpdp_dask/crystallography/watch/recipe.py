"""What is done with every image of a stream: a network looks at it, and hits are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from hpdp_dask.crystallography.predict import HIT_FROM
from hpdp_dask.crystallography.watch.pictures import SpotPicture
from hpdp_dask.dataflow.columns import Column, Measure
from hpdp_dask.dataflow.stream.ranking import Ranking, Trace
from hpdp_dask.dataflow.stream.report import Histogram
from hpdp_dask.dataflow.stream.task import Recipe

#: Resolutions that are counted, Å.
RESOLUTIONS = Histogram("resolution", 0.8, 40.0, 80)


@dataclass(frozen=True)
class Shelf:
    """Images that stand out, as they are shown.

    Attributes
    ----------
    title, words : str
    unit : {"Å", "%"}
        Of the value; a probability is shown in %.
    ranking : Ranking
    """

    title: str
    words: str
    unit: Literal["Å", "%"]
    ranking: Ranking


SHELVES = (
    Shelf("Best", "finest resolution", "Å", Ranking("best", "resolution")),
    Shelf("Worst hits", "coarsest resolution", "Å", Ranking("worst", "resolution", greatest=True)),
    Shelf(
        "Several lattices",
        "most probably",
        "%",
        Ranking("several", "several_lattices_probability", greatest=True),
    ),
)

#: What is followed over time.
TRACES = (Trace("resolution"), Trace("several_lattices_probability", by="mean"))


@dataclass(frozen=True)
class FindHits:
    """Tells hits by their probability; an image of which nothing is known is none.

    Attributes
    ----------
    least : float
        Probability.
    """

    least: float = HIT_FROM
    name: str = "hits"
    needs: tuple[str, ...] = ("hit_probability",)
    images: tuple[str, ...] = ()

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it gives."""
        return {"hit": Column(np.uint8)}

    def prepare(self, stack: xr.Dataset) -> None:
        """Nothing is shared."""

    def measure(self, block: xr.Dataset, prepared: None) -> Mapping[str, np.ndarray]:
        """Compare probabilities."""
        return {"hit": block["hit_probability"].values >= self.least}


def watch_recipe(folder: Path, predict: Measure) -> Recipe:
    """Give what is done with every image.

    Parameters
    ----------
    folder : Path
        Of the stream.
    predict : Measure
        Gives `hit_probability`, `resolution` and `several_lattices_probability`, or some of them.
        Without the first all images are hits.

    Returns
    -------
    Recipe
    """
    tells_hits = "hit_probability" in predict.columns
    return Recipe(
        folder,
        (predict, FindHits()) if tells_hits else (predict,),
        choice="hit" if tells_hits else None,
        shown=(RESOLUTIONS,) if "resolution" in predict.columns else (),
        traces=tuple(trace for trace in TRACES if trace.column in predict.columns),
        rankings=tuple(
            shelf.ranking for shelf in SHELVES if shelf.ranking.column in predict.columns
        ),
        picture=SpotPicture(),
    )
