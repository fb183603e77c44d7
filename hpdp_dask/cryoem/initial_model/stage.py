"""An initial model of a stack: a search, its axes of symmetry, a second search with symmetry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.initial_model.loop import Search
from hpdp_dask.cryoem.initial_model.model import Model
from hpdp_dask.cryoem.initial_model.orient import final_maps, look_for_axes, turned
from hpdp_dask.cryoem.initial_model.settings import Settings, State
from hpdp_dask.cryoem.unapplied import unapplied_corrections
from hpdp_dask.cryoem.unposed import check_classes, check_unposed
from hpdp_dask.dataflow.iterate import Iterated, iterate
from hpdp_dask.numerics.symmetry import point_group
from hpdp_dask.numerics.symmetry_axes import SymmetryAxes
from hpdp_dask.stacks.store import open_stack
from hpdp_dask.stacks.tables import read_source

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

#: Diameter of the particle as a share of the box, as `normalize` takes it.
_DIAMETER_SHARE = 0.75

#: Passes of a search, and of the one that goes on with symmetry.
_ITERATIONS, _MORE_ITERATIONS = 30, 4

#: Searches with symmetry from the start, where a search without did not come to it.
_TRIALS = 3

#: Seeds of trials are so far apart.
_APART = 1_000_003

#: So few images show nothing.
_FEWEST_IMAGES = 10

#: Passes over which the evidence is averaged.
_LAST_PASSES = 3

#: The mean log-likelihood of images over that of no particle, that noise does not reach.
_LEAST_EVIDENCE = 1.0


@dataclass(frozen=True)
class InitialModel:
    """What `initial_model` found.

    Attributes
    ----------
    settings : Settings
        Of the last search; its `symmetries` are those that were imposed.
    states : dict of str to State
        The last of each search: `search`, without symmetry; `trial-1`, ... with symmetry from the
        start, if the first had not come to it; `symmetry`, that went on with it on a finer grid.
    maps : (k, N, N, N) ndarray of float32
        The classes, the largest first.
    share : (k,) ndarray of float64
        Of the images.
    axes : list of SymmetryAxes or None
        Of each class, in the map of the search without symmetry, None if that is empty; no list
        if no symmetry was asked for.
    class_number, class_probability : (n,) ndarray
        Of each particle, if there are several classes; else empty.
    evidence : float
        Mean log-likelihood of an image over that of no particle.
    unapplied : tuple of str
        Corrections that the imported file has and that were left out.
    """

    settings: Settings
    states: dict[str, State]
    maps: np.ndarray
    share: np.ndarray
    axes: list[SymmetryAxes | None]
    class_number: np.ndarray
    class_probability: np.ndarray
    evidence: float
    unapplied: tuple[str, ...]

    @property
    def aligned(self) -> bool:
        """Whether the images fit the maps better than noise would."""
        return self.evidence > _LEAST_EVIDENCE


def initial_model(
    stack_path: Path,
    *,
    classes: int = 1,
    symmetry: str = "C1",
    mask_diameter: float | None = None,
    seed: int = 0,
    scratch: Path,
    client: Client | None = None,
    progress: Progress | None = None,
    tell: Callable[[str, Settings, State], None] = lambda *_: None,
    say: Callable[[str], None] = lambda _: None,
) -> InitialModel:
    """Find maps of the particles of a stack from nothing.

    Symmetry is imposed only after a search without it: on the maps that have it, once they are
    turned to its axes. If the one map of a search has not got it, searches with the symmetry
    from the start are tried, whose best is taken if the images fit it no worse.

    Parameters
    ----------
    stack_path : Path
        A particle stack with CTF, normalised.
    classes : int, optional
    symmetry : str, optional
        Point group.
    mask_diameter : float, optional
        Of the sphere that holds the particle, Å; by default 0.75 of the box.
    seed : int, optional
    scratch : Path
        A folder for the iterations. What an interrupted run left there is not done again.
    client : Client, optional
        Where to run; in this process by default.
    progress : Progress, optional
    tell : callable, optional
        Told of each state that is reached, with the name of its search.
    say : callable, optional
        Told in words what a person should know.

    Returns
    -------
    InitialModel

    Raises
    ------
    InputError
        If the stack lacks something, there are too few images for the classes, the symmetry is
        none, the mask is impossible, or memory does not suffice.
    """
    stack = open_stack(stack_path)
    settings = settings_for(stack, classes, symmetry, mask_diameter, seed)
    states: dict[str, State] = {}

    def search(name: str, how: Settings, start: Path | None = None) -> Iterated[State]:
        done = iterate(
            stack_path,
            Search(how, start),
            scratch / name,
            client=client,
            progress=progress,
            tell=lambda state: tell(name, how, state),
            say=say if name == "search" else None,
        )
        states[name] = done.state
        return done

    def with_symmetry(symmetries: tuple[str, ...], start: Path) -> tuple[Iterated[State], Settings]:
        how = replace(
            settings, symmetries=symmetries, iterations=_MORE_ITERATIONS, from_coarse=False
        )
        return search("symmetry", how, start), how

    found = search("search", settings)
    axes: list[SymmetryAxes | None] = []
    if len(point_group(symmetry)) > 1:
        model = Model.load(found.folder)
        axes = look_for_axes(settings, model, symmetry)
        holds = [each is not None and each.holds for each in axes]
        if any(holds):
            imposed = tuple(symmetry if has else "C1" for has in holds)
            start = scratch / "axes"
            start.mkdir(exist_ok=True)
            turned(settings, model, axes).save(start)
            found, settings = with_symmetry(imposed, start)
        elif classes == 1:
            say(f"The map has not got the symmetry {symmetry}: trying with it from the start")
            trials = [
                search(
                    f"trial-{number}",
                    replace(settings, symmetries=(symmetry,), seed=seed + _APART * number),
                )
                for number in range(1, _TRIALS + 1)
            ]
            best = max(trials, key=lambda trial: evidence_of(trial.state))
            if evidence_of(best.state) > _LEAST_EVIDENCE:
                tried, imposed_settings = with_symmetry((symmetry,), best.folder)
                if evidence_of(tried.state) >= evidence_of(found.state):
                    found, settings = tried, imposed_settings
    maps = final_maps(settings, found.state, Model.load(found.folder))
    return _ranked(stack, settings, states, maps, axes, found)


def evidence_of(state: State) -> float:
    """Average the evidence over the last passes."""
    return float(np.mean([entry["evidence"] for entry in state.history[-_LAST_PASSES:]]))


def _ranked(
    stack: xr.Dataset,
    settings: Settings,
    states: dict[str, State],
    maps: np.ndarray,
    axes: list[SymmetryAxes | None],
    found: Iterated[State],
) -> InitialModel:
    """Put the classes in order, the largest first."""
    share = np.array(found.state.class_share)
    order = np.argsort(-share, kind="stable")
    number = probability = np.zeros(0)
    if settings.classes > 1:
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(1, len(order) + 1)
        number = rank[found.results["class_number"] - 1]
        probability = found.results["class_probability"].astype(np.float64)
    return InitialModel(
        settings=replace(settings, symmetries=tuple(settings.symmetries[k] for k in order)),
        states=states,
        maps=maps[order],
        share=share[order],
        axes=[axes[k] for k in order] if axes else [],
        class_number=number,
        class_probability=probability,
        evidence=evidence_of(found.state),
        unapplied=tuple(
            unapplied_corrections(read_source(stack.attrs["path"]), stack.attrs["path"])
        ),
    )


def settings_for(
    stack: xr.Dataset,
    classes: int,
    symmetry: str,
    mask_diameter: float | None = None,
    seed: int = 0,
) -> Settings:
    """See that a model can be searched for as asked; parameters as of `initial_model`.

    Returns
    -------
    Settings
        Of the search without symmetry.

    Raises
    ------
    InputError
        What is wrong.
    """
    point_group(symmetry)
    found = check_unposed(stack, mask_diameter, _DIAMETER_SHARE)
    check_classes(stack.attrs["path"], found.number, classes, _FEWEST_IMAGES)
    return Settings(
        box=found.box,
        pixel_size=found.pixel_size,
        diameter=found.mask_diameter,
        number=found.number,
        groups=found.groups,
        symmetries=("C1",) * classes,
        seed=seed,
        iterations=_ITERATIONS,
        all_at_end=classes > 1,
    )
