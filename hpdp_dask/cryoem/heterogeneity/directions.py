"""A mean volume and the directions in which volumes differ from it, on disk and as slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from hpdp_dask.errors import BEGIN_ANEW, InputError
from hpdp_dask.numerics import fourier, slices
from hpdp_dask.numerics.fourier import HalfPlane
from hpdp_dask.numerics.shells import power_spectrum


@dataclass(frozen=True)
class Directions:
    """A mean volume, the directions in which volumes differ from it, and the noise.

    Volumes may be cropped in Fourier space, as `fourier.crop_volume` does.

    Attributes
    ----------
    mean : (N, N, N) ndarray of float32
    directions : (q, b, b, b) ndarray of float32
        Those that weights of images are found by. Images vary along each with the variance 1.
    noise : (shells,) ndarray of float64
        Variance of a sample of an image's transform, by shell.
    spread : (q,) ndarray of float64
        Root of the sum of squares of each direction, up to the radius that weights are found by.
    radius : int
        Last shell that the directions have.
    halves : (2, q, N, N, N) ndarray of float32, or None
        The same for volumes, to the last shell at which they can be told: from images at even
        places of the stack, and from those at odd ones.
    joined : (q, N, N, N) ndarray of float32, or None
        From all images.
    reach : int
        That last shell.
    """

    mean: np.ndarray
    directions: np.ndarray
    noise: np.ndarray
    spread: np.ndarray
    radius: int
    halves: np.ndarray | None = None
    joined: np.ndarray | None = None
    reach: int = 0

    def save(self, path: Path) -> None:
        """Write to a file, for workers."""
        with path.open("wb") as file:
            names = _FIELDS if self.halves is None else (*_FIELDS, *_FINE)
            np.savez(file, **{name: getattr(self, name) for name in names})

    @staticmethod
    def read(path: Path) -> Directions:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            The file is damaged.
        """
        try:
            # NumPy leaves a file open that it cannot read
            with path.open("rb") as stored, np.load(stored) as file:
                mean, directions, noise, spread, radius = (file[name] for name in _FIELDS)
                found = Directions(mean, directions, noise, spread, int(radius))
                if "halves" not in file:
                    return found
                halves, joined, reach = (file[name] for name in _FINE)
                return replace(found, halves=halves, joined=joined, reach=int(reach))
        except (ValueError, TypeError, KeyError, IndexError, EOFError, BadZipFile):
            raise InputError(
                f"{path}: is damaged, expected the mean and the directions that an earlier part "
                f"of the run wrote; {BEGIN_ANEW}"
            ) from None


_FIELDS = ("mean", "directions", "noise", "spread", "radius")
_FINE = ("halves", "joined", "reach")


class Seen:
    """Slices through `Directions`, as images would show them.

    Parameters
    ----------
    model : Directions
    box : int
        Of the images.
    """

    def __init__(self, model: Directions, box: int) -> None:
        self.model = model
        self.plane = fourier.half_plane(box, model.radius)
        # it goes further than the directions do, which grow
        self._mean = fourier.transform_volume(model.mean)
        self._directions = [
            fourier.transform_volume(each, model.radius) for each in model.directions
        ]
        self._halves = [
            [fourier.transform_volume(each, model.reach) for each in half]
            for half in (() if model.halves is None else model.halves)
        ]

    def mean(self, rotations: np.ndarray, plane: HalfPlane) -> np.ndarray:
        """Give slices through the mean: (n, m)."""
        return np.asarray(slices.extract_slices(self._mean, rotations, plane))

    def directions(self, rotations: np.ndarray, plane: HalfPlane) -> np.ndarray:
        """Give slices through the directions, without CTF: (n, q, m)."""
        return _slices_of(self._directions, rotations, plane)

    def mean_at(self, frequencies: np.ndarray) -> np.ndarray:
        """Give the mean's transform, (n, m), at (n, m, 3) cycles per box, x >= 0."""
        return slices.extract_samples(self._mean, frequencies)

    def other_half_at(self, frequencies: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Give the transforms of the directions for volumes, (n, q, m), at frequencies likewise.

        For each image, by its place in the stack, of those that it had no part in: what is made
        of its own noise would explain it too well.
        """
        images, samples, _ = frequencies.shape
        found = np.zeros((images, len(self._halves[0]), samples), np.complex64)
        for half, transforms in enumerate(self._halves):
            others = places % 2 != half
            for number, each in enumerate(transforms):
                found[others, number] = slices.extract_samples(each, frequencies[others])
        return found

    @cached_property
    def power(self) -> np.ndarray:
        """The mean's power, by shell: (shells,) float64, above zero."""
        power = power_spectrum(self.model.mean, 3) * len(self.model.mean) ** 3
        # Wiener's filter may have left nothing of the last shells
        power = np.maximum(power, 1e-4 * power[1:].max())
        power[0] = power[1]
        return power


def _slices_of(
    transforms: Sequence[np.ndarray], rotations: np.ndarray, plane: HalfPlane
) -> np.ndarray:
    found = np.empty((len(rotations), len(transforms), len(plane)), np.complex64)
    for number, each in enumerate(transforms):
        found[:, number] = slices.extract_slices(each, rotations, plane)
    return found


def read_seen(path: Path, box: int) -> Seen:
    """Read `Directions` that were saved, ready for slices."""
    file = path.stat()
    # another run in the same place leaves a file of the same name
    return _read_seen(path, box, (file.st_ino, file.st_mtime_ns, file.st_size))


@lru_cache(maxsize=2)
def _read_seen(path: Path, box: int, version: tuple[int, ...]) -> Seen:
    return Seen(Directions.read(path), box)
