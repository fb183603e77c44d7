"""What is done with every frame of a stream: hits, then size, features and labels of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.columns import Column, Measure
from hpdp_dask.dataflow.stream.report import Histogram
from hpdp_dask.dataflow.stream.task import Labelling, Recipe
from hpdp_dask.dataflow.stream.totals import Total
from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify import Classify, Model
from hpdp_dask.spi.classify.model import digest_of
from hpdp_dask.spi.features import Features
from hpdp_dask.spi.frame_groups import FrameGroups, usual_values
from hpdp_dask.spi.hit_measures import LitPixels
from hpdp_dask.spi.stream.sums import ClassSums, HitSum

#: The sums under a stream.
POWDER = Total("powder", HitSum(), "chosen")
CLASSES = Total("classes", ClassSums(), "labelled")

#: Sizes that are counted, Å.
SIZES = Histogram("particle_size", 50.0, 50_000.0, 230)


@dataclass(frozen=True)
class HitRule:
    """When a live frame is a hit.

    Attributes
    ----------
    lit_pixels : int or None
        With more lit pixels than this.
    sigmas : float or None
        With lit pixels by so many standard deviations above the median of the frames of its
        batch, both by the lower half. If both are None, all frames are hits.
    """

    lit_pixels: int | None = None
    sigmas: float | None = None

    def __str__(self) -> str:
        """Say it as `of` reads it."""
        if self.sigmas is not None:
            return f"auto:{self.sigmas:g}"
        return "all" if self.lit_pixels is None else str(self.lit_pixels)

    @classmethod
    def of(cls, words: str) -> HitRule:
        """Read a rule: *all*, *auto* or *auto:SIGMAS*, or a number of lit pixels.

        Raises
        ------
        InputError
            It is none of these.
        """
        if words == "all":
            return cls()
        name, _, rest = words.partition(":")
        try:
            if name == "auto":
                return cls(sigmas=float(rest or 4.0))
            return cls(lit_pixels=int(words))
        except ValueError:
            raise InputError(
                f"hits {words!r}: expected all, a number of lit pixels, auto, or auto:SIGMAS."
            ) from None


@dataclass(frozen=True)
class FindHits:
    """Tells hits as they come.

    Attributes
    ----------
    rule : HitRule
    """

    rule: HitRule
    name: str = "hits"
    needs: tuple[str, ...] = ("lit_pixels",)

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it gives."""
        return {"hit": Column(np.uint8)}

    def prepare(self, stack: xr.Dataset) -> None:
        """Nothing is shared."""

    def measure(self, block: xr.Dataset, prepared: None) -> Mapping[str, np.ndarray]:
        """Compare lit pixels."""
        lit = block["lit_pixels"].values
        if self.rule.sigmas is None:
            return {"hit": lit > (-1 if self.rule.lit_pixels is None else self.rule.lit_pixels)}
        batch = FrameGroups(np.zeros(len(lit), np.int64), 1, "the batch")
        median, sigma = usual_values(lit, batch)
        return {"hit": lit > median[0] + self.rule.sigmas * sigma[0]}


def recipe_for(folder: Path, hits: HitRule, *, keep: bool) -> Recipe:
    """Give what is done with every frame.

    Parameters
    ----------
    folder : Path
        Of the stream.
    hits : HitRule
    keep : bool
        Keep the photons of hits, since they cannot be had again.

    Returns
    -------
    Recipe
    """
    measures: tuple[Measure, ...] = (LitPixels(), FindHits(hits), Features())
    return Recipe(
        folder, measures, choice="hit", keep=keep, totals=(POWDER, CLASSES), shown=(SIZES,)
    )


def labelling_of(name: str, model: Model) -> Labelling:
    """Give a model as the stream takes it.

    Raises
    ------
    InputError
        It was trained on other features than a stream computes.
    """
    if model.wants == "features" and model.digest != digest_of(Features().recipe):
        raise InputError(
            f"model {name}: it was trained on other features than this version computes; train it "
            "again with hpdp spi classify."
        )
    return Labelling(name, Classify(model), model.classes, photons=model.wants == "pictures")
