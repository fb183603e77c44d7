"""A model applied to frames, stored or arriving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.columns import Column
from hpdp_dask.spi.classify.model import Model
from hpdp_dask.spi.classify.pictures import PictureMaker, plan_pictures
from hpdp_dask.spi.classify.recipe import check_recipe
from hpdp_dask.stacks.frames import detector_of


@dataclass(frozen=True)
class Classify:
    """The measure that classifies frames: `label`, `label_probability`, `label_accepted`.

    Attributes
    ----------
    model : Model
        Its classes are what `label` counts along: the variable `class_name`.
    """

    model: Model

    @property
    def name(self) -> str:
        """One word for the dashboard."""
        return "classify"

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it gives."""
        return {
            "label": Column(np.int16),
            "label_probability": Column(np.float32),
            "label_accepted": Column(np.uint8),
        }

    @property
    def needs(self) -> tuple[str, ...]:
        """Features, or nothing but the frames."""
        return ("features",) if self.model.wants == "features" else ()

    @property
    def images(self) -> tuple[str, ...]:
        """Frames only if there are no features to go by."""
        return () if self.model.wants == "features" else ("photons",)

    def prepare(self, stack: xr.Dataset) -> PictureMaker | None:
        """Check that the model is one for the stack's frames, and plan pictures if it takes them.

        Raises
        ------
        InputError
            The model was trained on other features, or on pictures of another detector.
        """
        pictures = plan_pictures(detector_of(stack)) if self.model.wants == "pictures" else None
        check_recipe(self.model, stack, pictures)
        return pictures

    def measure(self, block: xr.Dataset, prepared: PictureMaker | None) -> Mapping[str, np.ndarray]:
        """Classify frames."""
        looked_at = block["features" if prepared is None else "photons"].values
        inputs = looked_at if prepared is None else prepared(looked_at)
        label, probability, accepted = self.model.decide(inputs)
        return {
            "label": label,
            "label_probability": probability,
            "label_accepted": accepted,
        }
