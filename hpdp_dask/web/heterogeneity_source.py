"""What the explorer of conformations shows: the table of images, and pictures of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.cryoem.heterogeneity.particle_views import ParticleViews, smoothed
from hpdp_dask.cryoem.heterogeneity.table import read_table, stack_of
from hpdp_dask.cryoem.heterogeneity.volumes import read_conformations, read_latent
from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

#: Points that a page draws at most: more than that cover each other.
_DRAWN = 200_000

#: Values that a column of categories has at most; of a text with more the most frequent are told
#: apart. There are as many colours.
MOST_CATEGORIES = 24

#: Pixels along a side of the picture of a particle at most, and percentiles that become black and
#: white.
_SIDE, _DARKEST, _BRIGHTEST = 192, 0.5, 99.5

#: Columns that a page begins with, the first that are there.
_FIRST_AXES = (("umap1", "umap2"), ("pc1", "pc2"), ("z1", "width1"))
_FIRST_COLOURS = ("cluster", "pc1")


@dataclass(frozen=True)
class Column:
    """A column as a page draws it.

    Attributes
    ----------
    name : str
    values : (n,) ndarray
        float32; of a category, its number in `names` as uint8.
    names : tuple of str
        Empty for numbers.
    """

    name: str
    values: np.ndarray
    names: tuple[str, ...] = ()


class Explored:
    """A training, to be looked at.

    Parameters
    ----------
    folder : Path
        That `hpdp cryoem heterogeneity train` made.
    stack : Path, optional
        Where its stack is now, if it was moved.

    Attributes
    ----------
    folder : Path
    stack : Path
    table : pandas.DataFrame
        See `table.read_table`.
    columns : dict of str to Column
        Those that differ between images.
    conformations : Conformations
    latent : (n, zdim) ndarray
    views : ParticleViews
    drawn : (m,) ndarray of int
        The images that are drawn as points, in the order of drawing.

    Raises
    ------
    InputError
        The folder is none of a training with a latent variable, or its stack is gone.
    """

    def __init__(self, folder: str | Path, stack: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.table = read_table(self.folder)
        self.stack = stack_of(self.folder, None if stack is None else Path(stack))
        self.views = ParticleViews(self.stack)
        self.latent = read_latent(self.folder)
        if len(self.table) != len(self.latent):
            raise InputError(
                f"{self.folder}: its table has {len(self.table):,} rows, but z.npy "
                f"{len(self.latent):,}; call hpdp cryoem heterogeneity analyze --overwrite."
            )
        self.conformations = read_conformations(self.folder)
        found = (_column(self.table[name]) for name in self.table.columns)
        self.columns = {each.name: each for each in found if each is not None}
        # in no order, so that none of many points lie over all others
        self.drawn = np.random.default_rng(0).permutation(len(self.table))[:_DRAWN]

    @property
    def number(self) -> int:
        """Count the images."""
        return len(self.table)

    @property
    def axes(self) -> list[str]:
        """Name the columns that can be axes."""
        return [each.name for each in self.columns.values() if not each.names]

    def first(self) -> dict[str, str]:
        """Name the columns that a page begins with: `x`, `y` and `colour`."""
        axes = self.axes
        for x, y in _FIRST_AXES:
            if x in axes and y in axes:
                break
        else:
            x, y = axes[0], axes[-1]
        colour = next((name for name in _FIRST_COLOURS if name in self.columns), x)
        return {"x": x, "y": y, "colour": colour}

    def describe(self, place: int) -> list[list[str]]:
        """Give name and value of all that is known of an image, in words."""
        row = self.table.iloc[place]
        return [[str(name), _words(row[name])] for name in self.table.columns]

    def pictures(self, place: int) -> dict[str, dict[str, Any]]:
        """Give the image as it was recorded, and smoothed, as a page holds pictures."""
        images = self.views.recorded([place])
        return {"recorded": picture(images[0]), "smoothed": picture(smoothed(images)[0])}

    def gallery(self, places: np.ndarray) -> list[dict[str, Any]]:
        """Give smoothed images, as a page holds pictures."""
        images = smoothed(self.views.recorded(places))
        return [
            {"image": int(place), **picture(image)}
            for place, image in zip(places, images, strict=True)
        ]


def picture(image: np.ndarray) -> dict[str, Any]:
    """Turn an image into grey levels: `side`, and the `levels` of its pixels, row by row."""
    step = -(-image.shape[0] // _SIDE)
    if step > 1:
        side = image.shape[0] // step
        image = image[: side * step, : side * step].reshape(side, step, side, step).mean((1, 3))
    low, high = np.percentile(image, [_DARKEST, _BRIGHTEST])
    levels = np.clip((image - low) * (255.0 / max(float(high - low), 1e-30)), 0.0, 255.0)
    return {"side": image.shape[0], "levels": levels.astype(np.uint8).tobytes()}


def _column(series: pd.Series) -> Column | None:
    """Turn a column of the table into one to draw; None where all images have the same."""
    name = str(series.name)
    is_number = series.dtype.kind in "fiub"
    if is_number and (series.dtype.kind == "f" or series.nunique() > MOST_CATEGORIES):
        values = series.to_numpy(np.float32)
        known = values[np.isfinite(values)]
        return Column(name, values) if known.size and known.min() < known.max() else None
    counts = series.astype(str).value_counts()
    if len(counts) < 2:
        return None
    if is_number:
        kept = [str(value) for value in sorted(series.unique())]
    else:
        # the last stands for the others
        several = len(counts) > MOST_CATEGORIES
        kept = sorted(counts.index[: MOST_CATEGORIES - 1 if several else None])
    codes = {value: code for code, value in enumerate(kept)}
    numbers = series.astype(str).map(codes).astype(float).fillna(len(kept)).to_numpy(np.uint8)
    names = (*kept, "others") if numbers.max() == len(kept) else tuple(kept)
    return Column(name, numbers, names)


def _words(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.5g}"
    return str(value)
