"""Classification of a stack: first model, passes, ranked classes and their particles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.classify.first import FirstModel
from hpdp_dask.cryoem.classify.loop import ClassLoop
from hpdp_dask.cryoem.classify.model import Model
from hpdp_dask.cryoem.classify.quality import ClassTable, rank_classes
from hpdp_dask.cryoem.classify.schedule import Settings, State
from hpdp_dask.cryoem.classify.writing import write_classes, write_particles_of
from hpdp_dask.cryoem.unapplied import unapplied_corrections
from hpdp_dask.cryoem.unposed import check_classes, check_unposed
from hpdp_dask.dataflow.iterate import iterate
from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.store import open_stack
from hpdp_dask.stacks.tables import read_source

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Diameter of the mask as a share of the box.
MASK_SHARE = 0.85

#: So few images a class show nothing.
FEWEST_IMAGES = 2


@dataclass(frozen=True)
class Classification:
    """What `classify2d` found; averages and particles are in its folder.

    Attributes
    ----------
    settings : Settings
    state : State
        The last.
    classes : ClassTable
        Ranked, the best first.
    order : (k,) ndarray of int
        Their places in the files of the iterations.
    averages : (k, N, N) ndarray of float32
        Ranked.
    aligned : bool
        Whether any class shows anything.
    unapplied : tuple of str
        Corrections that the imported file has and that were left out.
    """

    settings: Settings
    state: State
    classes: ClassTable
    order: np.ndarray
    averages: np.ndarray
    aligned: bool
    unapplied: tuple[str, ...]


def classify2d(
    stack_path: Path,
    folder: Path,
    *,
    classes: int = 50,
    iterations: int = 25,
    mask_diameter: float | None = None,
    seed: int = 0,
    scratch: Path,
    client: Client | None = None,
    progress: Progress | None = None,
    tell: Callable[[State], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Classification:
    """Classify the images of a stack into averages.

    Writes `classes.mrcs` and `classes.csv`, ranked best first, `particles.zarr` without images,
    and `particles.star`.

    Parameters
    ----------
    stack_path : Path
        A particle stack with CTF, normalised.
    folder : Path
        An existing folder to write to.
    classes, iterations : int, optional
    mask_diameter : float, optional
        Å; by default 0.85 of the box.
    seed : int, optional
    scratch : Path
        A folder for the iterations. What an interrupted run left there is not done again.
    client : Client, optional
        Where to run; in this process by default.
    progress : Progress, optional
    tell : callable, optional
        Told of each state that is reached; its model is then in `scratch / "NNN"`.
    say : callable, optional
        Told in words what a person should know.

    Returns
    -------
    Classification

    Raises
    ------
    InputError
        If the stack lacks something, there are too few images for the classes, the mask is
        impossible, or memory does not suffice.
    """
    stack = open_stack(stack_path)
    settings = settings_for(stack, classes, iterations, mask_diameter, seed)
    unapplied = unapplied_corrections(read_source(stack_path), stack_path)
    first = scratch / "first"
    if not first.is_dir():
        model = reduce_images(stack_path, FirstModel(settings), client=client, progress=progress)
        unfinished = scratch / "first.partial"
        unfinished.mkdir(parents=True, exist_ok=True)
        model.save(unfinished)
        unfinished.rename(first)
    done = iterate(
        stack_path,
        ClassLoop(settings, first),
        scratch,
        client=client,
        progress=progress,
        tell=tell,
        say=say,
    )
    model = Model.load(done.folder)
    table, order = rank_classes(settings, done.state, model.averages, done.results)
    averages = model.averages[order]
    write_classes(folder, averages, table, settings.pixel_size)
    write_particles_of(folder, stack, done.results, order)
    return Classification(
        settings=settings,
        state=done.state,
        classes=table,
        order=order,
        averages=averages,
        aligned=bool(table.score.max() > 0.0),
        unapplied=tuple(unapplied),
    )


def settings_for(
    stack: xr.Dataset,
    classes: int,
    iterations: int,
    mask_diameter: float | None = None,
    seed: int = 0,
) -> Settings:
    """See that a stack can be classified as asked; parameters as of `classify2d`.

    Raises
    ------
    InputError
        What is wrong.
    """
    if iterations < 1:
        raise InputError(f"The number of iterations is {iterations}, expected at least 1.")
    found = check_unposed(stack, mask_diameter, MASK_SHARE)
    check_classes(stack.attrs["path"], found.number, classes, FEWEST_IMAGES)
    return Settings(
        classes=classes,
        iterations=iterations,
        seed=seed,
        number=found.number,
        box=found.box,
        pixel_size=found.pixel_size,
        groups=found.groups,
        mask_diameter=found.mask_diameter,
    )
