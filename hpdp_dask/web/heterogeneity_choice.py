"""Images that one visitor of the explorer has chosen, and how they are saved."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hpdp_dask.cryoem.heterogeneity.chosen import write_chosen
from hpdp_dask.cryoem.heterogeneity.selection import Lasso, inside, write_lasso
from hpdp_dask.errors import InputError
from hpdp_dask.web.heterogeneity_source import Explored

#: How a part comes to what is chosen already.
HOW = ("new", "add", "remove")

#: What can be saved, and how its name ends.
SUFFIXES = {"stack": ".zarr", "star": ".star", "lasso": ".json"}

_NAME = re.compile(r"\w[\w.+-]{0,79}", re.ASCII)


class Choice:
    """Images that are chosen, by lassos and categories.

    Parameters
    ----------
    explored : Explored

    Attributes
    ----------
    mask : (n,) ndarray of bool
    lasso : Lasso or None
        If it is one lasso and nothing else that chose them.
    """

    def __init__(self, explored: Explored) -> None:
        self._explored = explored
        self.clear()

    def clear(self) -> None:
        """Choose nothing."""
        self.mask = np.zeros(self._explored.number, dtype=bool)
        self.lasso: Lasso | None = None

    def invert(self) -> None:
        """Choose what is not chosen."""
        self.mask = ~self.mask
        self.lasso = None

    def draw(self, lasso: Lasso, how: str = "new") -> None:
        """Choose the images inside a lasso.

        Raises
        ------
        InputError
            A column that it names is none of numbers.
        """
        axes = self._explored.axes
        for name in (lasso.x, lasso.y):
            if name not in axes:
                raise InputError(f"{name!r} is no column of numbers that differ between images.")
        table = self._explored.table
        points = np.stack([table[name].to_numpy(np.float64) for name in (lasso.x, lasso.y)], 1)
        self._take(inside(points, lasso.polygon), how)
        if how == "new":
            self.lasso = lasso

    def pick(self, column: str, category: int, how: str = "new") -> None:
        """Choose the images of a category."""
        self._take(self._explored.columns[column].values == category, how)

    @property
    def rows(self) -> np.ndarray:
        """Give the places of the chosen images in the stack, (m,) of int64, in order."""
        return np.flatnonzero(self.mask).astype(np.int64)

    def _take(self, part: np.ndarray, how: str) -> None:
        self.lasso = None
        if how == "add":
            self.mask = self.mask | part
        elif how == "remove":
            self.mask = self.mask & ~part
        else:
            self.mask = part


def output_path(folder: Path, name: str, kind: str) -> Path:
    """Give the path under which a choice is to be saved.

    Raises
    ------
    InputError
        It is no plain name, there is something already, or the folder is none.
    """
    suffix = SUFFIXES[kind]
    name = name.strip().removesuffix(suffix)
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name for a file here, expected letters, digits, _, - and dots."
        )
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder any more, so nothing can be saved.")
    path = folder / f"{name}{suffix}"
    if path.exists():
        raise InputError(f"{path}: is there already; give another name.")
    return path


def save_choice(
    explored: Explored, rows: np.ndarray, lasso: Lasso | None, kind: str, path: Path
) -> None:
    """Save what was chosen; the file is there whole or not at all.

    Parameters
    ----------
    explored : Explored
    rows : (m,) ndarray of int
        Places in the stack, in order.
    lasso : Lasso or None
        If it was chosen by one.
    kind : str
        Of `SUFFIXES`.
    path : Path

    Raises
    ------
    InputError
        Nothing is chosen, or it was not one lasso that chose it.
    """
    if not len(rows):
        raise InputError("Nothing is chosen, so there is nothing to save.")
    if kind == "lasso":
        if lasso is None:
            raise InputError("This was not chosen by one lasso; save it as a stack or a table.")
        write_lasso(path, lasso)
        return
    chosen = "chosen by hand"
    if lasso is not None:
        chosen = f"in a lasso in {lasso.x} and {lasso.y}"
    write_chosen(explored.folder, rows, path, chosen, stack=explored.stack)
