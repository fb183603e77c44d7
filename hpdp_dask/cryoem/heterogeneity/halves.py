"""The linear model of each half-set by itself: a map, the noise, and directions.

What is found twice, in images that share no noise, is in the particles; what one half-set alone
shows may be its noise. Both halves are worked on in one pass over the images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.heterogeneity.directions import Directions
from hpdp_dask.cryoem.heterogeneity.moments import Moments, NoisePower, noise_of
from hpdp_dask.cryoem.heterogeneity.observations import Optics
from hpdp_dask.cryoem.heterogeneity.rounds import following, keep, reaches_of
from hpdp_dask.dataflow.trees import Reduction, reduce_images
from hpdp_dask.numerics import fourier

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Rounds at each share of the last radius.
_ROUNDS = ((0.5, 6), (0.75, 5), (1.0, 7))


@dataclass(frozen=True)
class HalfSets:
    """The reduction of the images of each half-set by a reduction of its own.

    Attributes
    ----------
    reductions : tuple of Reduction
        Two of a kind, whose accumulators are arrays or tuples of them.
    alternate : bool
        Images belong to the halves in turn, for a stack that is all one half-set.
    crossed : bool
        Give each the images of the other half-set.
    """

    reductions: tuple[Reduction[Any, Any], Reduction[Any, Any]]
    alternate: bool
    crossed: bool = False

    @property
    def name(self) -> str:
        """One word for the dashboard."""
        return self.reductions[0].name

    @property
    def nbytes(self) -> int:
        """The size of an accumulator."""
        return sum(each.nbytes for each in self.reductions)

    @property
    def images_per_leaf(self) -> int:
        """How many images a leaf folds at least."""
        return 2 * self.reductions[0].images_per_leaf

    def start(self) -> tuple[np.ndarray, ...]:
        """Make an empty accumulator."""
        return self._joined(each.start() for each in self.reductions)

    def fold(self, sums: tuple[np.ndarray, ...], block: xr.Dataset) -> tuple[np.ndarray, ...]:
        """Add a block of images; in place."""
        half_sets = half_sets_of(block, self.alternate)
        folded = []
        for half_set, (reduction, mine) in enumerate(self._apart(sums)):
            rows = np.flatnonzero(half_sets == half_set ^ self.crossed)
            folded.append(reduction.fold(mine, block.isel(particle=rows)) if len(rows) else mine)
        return self._joined(folded)

    def merge(
        self, sums: tuple[np.ndarray, ...], others: tuple[np.ndarray, ...]
    ) -> tuple[np.ndarray, ...]:
        """Add the second accumulator to the first; in place."""
        both = zip(self._apart(sums), self._apart(others), strict=True)
        return self._joined(each.merge(mine, other) for (each, mine), (_, other) in both)

    def finish(self, sums: tuple[np.ndarray, ...]) -> tuple[Any, Any]:
        """Give the result of each half."""
        first, second = (each.finish(mine) for each, mine in self._apart(sums))
        return first, second

    @staticmethod
    def _joined(parts: Any) -> tuple[np.ndarray, ...]:
        return tuple(
            array for part in parts for array in (part if isinstance(part, tuple) else (part,))
        )

    def _apart(self, sums: tuple[np.ndarray, ...]) -> list[tuple[Reduction[Any, Any], Any]]:
        each = len(sums) // 2
        parts = (sums[:each], sums[each:])
        return [
            (reduction, part if each > 1 else part[0])
            for reduction, part in zip(self.reductions, parts, strict=True)
        ]


def half_sets_of(block: xr.Dataset, alternate: bool) -> np.ndarray:
    """Tell which half each image of a block belongs to; (n,) of 0 or 1."""
    if alternate:
        return (block.attrs["first_image"] + np.arange(block.sizes["particle"])) % 2
    return np.asarray(block["half_set"].values)


def assigned_halves(stack: xr.Dataset) -> np.ndarray:
    """Tell which half each image of a stack belongs to; (n,) of 0 or 1.

    By its half-sets; by turns if all images are in one of them.
    """
    given = np.asarray(stack["half_set"].values)
    return given if np.ptp(given) else np.arange(len(given)) % 2


@dataclass(frozen=True)
class HalfFit:
    """How the halves of a stack are fitted.

    Attributes
    ----------
    optics : Optics
    box : int
        Of the images.
    radius : int
        The last shell that is looked at.
    count : int
        How many directions.
    alternate : bool
        See `HalfSets`.
    numbers : tuple of int
        Images in each half.
    seed : int
        Of the first weights.
    """

    optics: Optics
    box: int
    radius: int
    count: int
    alternate: bool
    numbers: tuple[int, int]
    seed: int = 0


def find_half_directions(
    stack_path: Path,
    means: tuple[np.ndarray, np.ndarray],
    fit: HalfFit,
    folder: Path,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[Path, Path]:
    """Find in each half-set the directions in which its volumes differ from its map.

    By expectation and maximisation, as `subspace.find_directions`, up to the same shell
    throughout the last rounds. The noise, in whose units evidence is told, is what each map leaves
    of the images of the *other* half, so that a map's own noise does not make it look smaller.

    Parameters
    ----------
    stack_path : Path
    means : tuple of (N, N, N) ndarray
        The half-maps, not filtered.
    fit : HalfFit
    folder : Path
        For what workers read.
    client, progress, say : optional

    Returns
    -------
    tuple of Path
        The `Directions` of each half.
    """
    reaches = reaches_of(_ROUNDS, fit.radius)

    def reduce(reductions: list[Any], crossed: bool = False) -> tuple[Any, Any]:
        both = HalfSets((reductions[0], reductions[1]), fit.alternate, crossed)
        found: tuple[Any, Any] = reduce_images(stack_path, both, client=client, progress=progress)
        return found

    done = max((n for n in range(len(reaches) + 1) if _is_kept(folder, n)), default=None)
    if done is None:
        done = 0
        _keep(_without_directions(means, fit, folder, reduce), folder, 0)
    for number in range(done, len(reaches)):
        reach, files = reaches[number], _files(folder, number)
        seeds = (None, None) if number else (fit.seed, fit.seed + 1)
        found = reduce(
            [
                Moments(file, fit.optics, fit.box, reach, fit.count, seed)
                for file, seed in zip(files, seeds, strict=True)
            ]
        )
        models = [
            following(Directions.read(file), grids, products / images, reach)
            for file, (grids, products), images in zip(files, found, fit.numbers, strict=True)
        ]
        _keep(models, folder, number + 1)
        for file in files:
            file.unlink()
        if say is not None:
            spoken = " and ".join(", ".join(f"{x:.3g}" for x in model.spread) for model in models)
            say(f"Halves, round {number + 1} of {len(reaches)}: to shell {reach}, spread {spoken}")
    return _files(folder, len(reaches))


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    """Name the files of both halves after some rounds."""
    first, second = (folder / f"directions-half{half}-{number:02d}.npz" for half in (1, 2))
    return first, second


def _is_kept(folder: Path, number: int) -> bool:
    return all(file.exists() for file in _files(folder, number))


def _keep(models: Sequence[Directions], folder: Path, number: int) -> None:
    """Write the directions of both halves."""
    for file, model in zip(_files(folder, number), models, strict=True):
        keep(model, file)


def _without_directions(
    means: tuple[np.ndarray, np.ndarray],
    fit: HalfFit,
    folder: Path,
    reduce: Callable[[list[Any], bool], tuple[Any, Any]],
) -> list[Directions]:
    """Measure the noise, and give the models that rounds begin with."""
    box, shells = min(fit.box, 2 * (fit.radius + 2)), fit.radius + 1
    small = [np.asarray(fourier.crop_volume(mean, box)) for mean in means]
    none, flat = np.zeros((0, box, box, box), np.float32), np.ones(shells)
    files = [folder / f"half-{half_set + 1}-mean.npz" for half_set in (0, 1)]
    for file, mean in zip(files, small, strict=True):
        Directions(mean, none, flat, np.zeros(0), fit.radius).save(file)
    sums = reduce([NoisePower(file, fit.optics, fit.box) for file in files], True)
    return [
        Directions(
            mean, none, noise_of(power[:, :shells], fit.box, images), np.zeros(0), fit.radius
        )
        for mean, power, images in zip(small, sums, fit.numbers[::-1], strict=True)
    ]
