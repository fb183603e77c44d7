"""The files of an iteration, and how running sums become maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpdp_dask.cryoem.initial_model.settings import Settings
from hpdp_dask.numerics import backprojection, fourier, masks, shells, slices

#: How much more the power of a map is trusted than it says, against its noise: RELION's T for
#: classes.
_TRUST = 4.0

#: Grid points that share the weight of one independent sample, by the padding.
_POINTS_PER_SAMPLE = fourier.PADDING**3

#: Width of the mask's edge: Å, and pixels at least.
_EDGE, _LEAST_EDGE = 8.0, 2.0

#: A shell has no less noise than this share of the power of the images.
LEAST_NOISE = 0.1


@dataclass(frozen=True)
class Model:
    """What images are compared with, and the sums that it was made of.

    Attributes
    ----------
    maps : (classes, n, n, n) ndarray of float32
        In the small box, inside the mask, nowhere negative.
    noise_power : (groups, last radius + 1) ndarray of float64
        As `likelihood.GaussianImages` takes it, for the images in their own box.
    image_power : ndarray like `noise_power`
        The mean power of the images themselves.
    sums : (classes, z, y, x, 3) ndarray of float32, or None
        Of `slices.insert_slices`; None for maps that come from elsewhere.
    """

    maps: np.ndarray
    noise_power: np.ndarray
    image_power: np.ndarray
    sums: np.ndarray | None = None

    def save(self, folder: Path) -> None:
        """Write a file for each array."""
        for name, values in vars(self).items():
            if values is not None:
                np.save(folder / f"{name}.npy", values, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Read what `save` wrote."""
        names = ("maps", "noise_power", "image_power", "sums")
        files = {name: folder / f"{name}.npy" for name in names}
        return cls(
            **{
                name: np.load(file, allow_pickle=False)
                for name, file in files.items()
                if name != "sums" or file.exists()
            }
        )

    @staticmethod
    def written(folder: Path) -> int:
        """Give the time at which `save` wrote the maps, nanoseconds."""
        return (folder / "maps.npy").stat().st_mtime_ns


def mask_of(settings: Settings, box: int) -> np.ndarray:
    """Give the soft sphere that holds the particle, in a box of the images' extent."""
    pixel = settings.extent / box
    return np.asarray(
        masks.soft_sphere(box, 0.5 * settings.diameter / pixel, max(_LEAST_EDGE, _EDGE / pixel))
    )


def grown(sums: np.ndarray, radius: int) -> np.ndarray:
    """Copy the sums of a class into a grid for more shells."""
    larger = np.zeros(slices.accumulator_shape(radius), np.float32)
    more = (larger.shape[0] - sums.shape[0]) // 2
    inner = slice(more, more + sums.shape[0])
    larger[inner, inner, : sums.shape[2]] = sums
    return larger


def solve(
    sums: np.ndarray,
    radius: int,
    operators: np.ndarray,
    settings: Settings,
    before: np.ndarray | None,
    box: int,
) -> np.ndarray:
    """Make the map of a class.

    Parameters
    ----------
    sums : (z, y, x, 3) ndarray of float32
        Of signal / noise and CTF² / noise, so that weights are inverse variances.
    radius : int
        The last shell.
    operators : (g, 3, 3) ndarray
    settings : Settings
    before : (n, n, n) ndarray or None
        The last map, whose power in each shell is what is expected of this one; without one
        shells are not damped.
    box : int
        Of the result.

    Returns
    -------
    (box, box, box) ndarray of float32
        Inside the mask.
    """
    whole = sums.copy()
    backprojection.complete(whole)
    whole = backprojection.symmetrize(whole, operators)
    means = backprojection.mean_weights(whole, radius)
    wiener = np.zeros(radius + 1)
    if before is not None:
        power = shells.power_spectrum(before, 3)[: radius + 1] * len(before) ** 3
        information = _TRUST * _POINTS_PER_SAMPLE * power * means
        wiener = 1.0 / np.maximum(information, 1e-3)
    volume = fourier.volume_of(backprojection.divide(whole, means, wiener), box)
    volume = backprojection.wiener_filter(volume, wiener)
    return np.asarray(volume * mask_of(settings, box), np.float32)
