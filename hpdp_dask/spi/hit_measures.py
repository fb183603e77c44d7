"""What is measured of each frame to tell hits: lit pixels, photons, the lambda score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hpdp_dask.dataflow.columns import Column
from hpdp_dask.numerics.photon_counts import log_shape, score_shape, sum_frames
from hpdp_dask.stacks.frame_schema import check_frames


def good_pixels(stack: xr.Dataset) -> np.ndarray:
    """Tell which pixels of a stack count: all but those masked; all if there is no mask.

    Returns
    -------
    (y, x) ndarray of bool
    """
    if "mask" not in stack:
        return np.ones((stack.sizes["y"], stack.sizes["x"]), bool)
    check_frames(stack, ("mask",))
    return np.asarray(stack["mask"].values == 0)


@dataclass(frozen=True)
class LitPixels:
    """Counts lit pixels and photons of each frame.

    Attributes
    ----------
    lit_from : int, optional
        A pixel with so many photons is lit.
    """

    lit_from: int = 1
    name: str = "lit"
    needs: tuple[str, ...] = ()

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it gives."""
        return {"lit_pixels": Column(np.int32), "photon_count": Column(np.int64)}

    def prepare(self, stack: xr.Dataset) -> np.ndarray | None:
        """Give the good pixels; None for all, which live frames without a mask have."""
        return good_pixels(stack) if "mask" in stack else None

    def measure(self, block: xr.Dataset, good: np.ndarray | None) -> Mapping[str, np.ndarray]:
        """Count."""
        photons = block["photons"].values
        good = np.ones(photons.shape[1:], bool) if good is None else good
        lit, total = sum_frames(photons, good, self.lit_from)
        return {"lit_pixels": lit, "photon_count": total}


@dataclass(frozen=True)
class LambdaScore:
    """Scores each frame against the background of the stack.

    Attributes
    ----------
    expected : tuple of float
        Photons that are expected of the background: a polynomial of the pulse energy in J, the
        highest power first; one number if that does not matter.
    """

    expected: tuple[float, ...]
    name: str = "lambda"

    @property
    def needs(self) -> tuple[str, ...]:
        """Variables of frames that it reads."""
        return ("photon_count", "pulse_energy") if len(self.expected) > 1 else ("photon_count",)

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it gives."""
        return {"lambda_score": Column(np.float32)}

    def prepare(self, stack: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Give the good pixels, and the logarithm of each one's share of the background."""
        check_frames(stack, ("background",))
        good = good_pixels(stack)
        return good, log_shape(stack["background"].values, good)

    def measure(
        self, block: xr.Dataset, prepared: tuple[np.ndarray, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """Score."""
        score = score_shape(block["photons"].values, *prepared)
        energy = block["pulse_energy"].values if len(self.expected) > 1 else np.zeros(len(score))
        number = np.maximum(np.polyval(self.expected, energy), 1.0)
        return {"lambda_score": score - block["photon_count"].values * np.log(number)}
