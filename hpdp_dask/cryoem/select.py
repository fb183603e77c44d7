"""Selection: the particles of chosen classes become a stack of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.classify import DEFAULT_SCORE
from hpdp_dask.cryoem.classify.writing import FOUND, read_scores
from hpdp_dask.cryoem.subset import keep_particles
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.store import open_stack

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: No classification has a class of a greater number: a slip in a range must not fill the memory.
_LARGEST_NUMBER = 100_000


@dataclass(frozen=True)
class Selection:
    """What `select` has kept.

    Attributes
    ----------
    path : Path
        The new stack.
    number, of : int
        Its particles, and those that were classified.
    classes : tuple of int
        Whose particles they are, from 1.
    """

    path: Path
    number: int
    of: int
    classes: tuple[int, ...]


def select(
    folder: str | Path,
    output: str | Path,
    *,
    classes: Sequence[int] | None = None,
    min_score: float | None = None,
    client: Client | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Selection:
    """Make a stack of the particles of some classes.

    Images are copied as they are; all variables go along, the half-sets too, with the class, the
    in-plane angle and the shift that were found. The attribute `selected` says what was chosen.

    Parameters
    ----------
    folder : str or Path
        That `hpdp cryoem classify2d` made.
    output : str or Path
        The new stack.
    classes : sequence of int, optional
        Class numbers, from 1.
    min_score : float, optional
        Classes of this score or more; `DEFAULT_SCORE` if no classes are named either.
    client : Client, optional
        Where to run; in this process by default.
    overwrite : bool, optional
    progress : Progress, optional

    Returns
    -------
    Selection

    Raises
    ------
    InputError
        If there are no such classes or no particles in them, the folder is none of a
        classification, the classified stack is gone or another, or the output exists.
    """
    folder, output = Path(folder).absolute(), Path(output).absolute()
    scores = read_scores(folder)
    if (folder / "particles.zarr").resolve().is_relative_to(output.resolve()):
        raise InputError(f"{output}: the output is the input; give the new stack another name.")
    chosen = _choose(folder, scores, classes, min_score)
    found = open_stack(folder / "particles.zarr")
    stack = _classified(folder, found)
    kept = np.flatnonzero(np.isin(found["class_number"].values, chosen))
    if not kept.size:
        raise InputError(
            f"{folder}: there are no particles in {_named(chosen)}; classes.csv tells how many "
            "each class has."
        )
    number = stack.sizes["particle"]
    keep_particles(
        stack.drop_vars([name for name in FOUND if name in stack]).assign(
            {name: found[name] for name in FOUND}
        ),
        kept,
        output,
        f"{_named(chosen)} of {folder}",
        client=client,
        overwrite=overwrite,
        progress=progress,
    )
    return Selection(output, len(kept), number, tuple(int(number) for number in chosen))


def read_numbers(text: str) -> list[int]:
    """Read numbers of classes: `1,4,7` or `1-9,12`.

    Raises
    ------
    InputError
        If it is something else.
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        bounds = [
            int(bound) if bound.isdecimal() else 0 for bound in (first, last if dash else first)
        ]
        if not 1 <= bounds[0] <= bounds[1] <= _LARGEST_NUMBER:
            raise InputError(f"The classes are {text!r}, expected numbers as 1,4,7 or 1-9,12.")
        numbers += range(bounds[0], bounds[1] + 1)
    return numbers


def _choose(
    folder: Path, scores: np.ndarray, classes: Sequence[int] | None, min_score: float | None
) -> np.ndarray:
    """Give the numbers of the classes that are wanted, in order."""
    if classes is not None and min_score is not None:
        raise InputError("Give either the classes or the least score, not both.")
    if classes is not None:
        wrong = [number for number in classes if not 1 <= number <= len(scores)]
        if wrong or not classes:
            raise InputError(
                f"{folder}: no class {', '.join(map(str, wrong)) or 'is named'}; the classes are "
                f"1 to {len(scores)}."
            )
        return np.unique(classes)
    if not scores.any():
        raise InputError(
            f"{folder}: all classes have the score 0, nothing aligned; name classes (--classes) to "
            "go on with their particles all the same."
        )
    least = DEFAULT_SCORE if min_score is None else min_score
    chosen = np.flatnonzero(scores >= least) + 1
    if not chosen.size:
        raise InputError(
            f"{folder}: no class has a score of {least:g} or more, the best has "
            f"{scores.max():.2f}; look at report.html and name classes (--classes), or give a "
            "lower --min-score."
        )
    return chosen


def _classified(folder: Path, found: xr.Dataset) -> xr.Dataset:
    """Open the stack that was classified."""
    path = Path(str(found.attrs.get("classified_from", "")))
    if not path.is_dir():
        raise InputError(
            f"{folder}: the stack that was classified, {path}, is not there any more; put it back, "
            "since the images are copied from it."
        )
    stack = open_stack(path)
    if stack.sizes["particle"] != found.sizes["particle"]:
        raise InputError(
            f"{path}: has {stack.sizes['particle']:,} particles, but "
            f"{found.sizes['particle']:,} were classified in {folder}; it was replaced by another "
            "stack, so classify that."
        )
    return stack


def _named(classes: np.ndarray) -> str:
    return f"class{'es' if len(classes) > 1 else ''} {', '.join(map(str, classes))}"
