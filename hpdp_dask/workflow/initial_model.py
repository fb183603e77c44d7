"""The recipe of `hpdp cryoem initial-model`: from a stack to maps from nothing, and a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpdp_dask.cryoem.initial_model import (
    InitialModel,
    Settings,
    State,
    initial_model,
    settings_for,
)
from hpdp_dask.cryoem.initial_model.writing import map_names, write_initial_model
from hpdp_dask.numerics.symmetry_axes import SymmetryAxes
from hpdp_dask.stacks.store import open_stack
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.reconstruction import describe_cluster

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord
    from hpdp_dask.workflow.report import Section


def run_initial_model(
    stack_path: Path,
    output: Path,
    *,
    client: Client,
    command: Sequence[str],
    classes: int = 1,
    symmetry: str = "C1",
    mask_diameter: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None],
) -> RunRecord:
    """Find maps of the particles of a stack from nothing, with a report.

    Parameters
    ----------
    stack_path : Path
        A stack with CTF, normalised.
    output : Path
        The folder: `map.mrc`, or `class001.mrc`, ..., `particles.zarr` and `particles.star` if
        there are several classes; `report.html`, `run.json`.
    client : Client
    command : sequence of str
        The words of the command line, for the record.
    classes : int, optional
    symmetry : str, optional
        Point group that the maps are expected to have.
    mask_diameter : float, optional
        Å.
    seed : int, optional
    overwrite, resume : bool, optional
    progress : Progress, optional
    say : callable
        Told, in a sentence each, how far it is.

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        If an input is not as it must be; nothing is left then.
    """
    stack = open_stack(stack_path)
    # a mistake is told before anything is made
    settings = settings_for(stack, classes, symmetry, mask_diameter, seed)
    parameters = {
        "classes": classes,
        "symmetry": symmetry,
        "mask_diameter": settings.diameter,
    }
    with output_folder(
        output,
        command=command,
        parameters=parameters,
        inputs=[stack_path],
        seed=seed,
        overwrite=overwrite,
        resume=resume,
        client=client,
    ) as run:
        scratch = run.scratch / "iterations"
        scratch.mkdir(exist_ok=True)
        with run.stage("search"):
            result = initial_model(
                stack_path,
                classes=classes,
                symmetry=symmetry,
                mask_diameter=mask_diameter,
                seed=seed,
                scratch=scratch,
                client=client,
                progress=progress,
                tell=_Follower(say).tell,
                say=say,
            )
            run.images(
                round(sum(e["images"] for state in result.states.values() for e in state.history))
            )
        write_initial_model(run.path, stack, result)
        _warn(run, stack.attrs, symmetry, result)
        return _write_report(run, symmetry, result, client)


class _Follower:
    """Tells a person of each pass."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last = time.perf_counter()

    def tell(self, name: str, settings: Settings, state: State) -> None:
        now = time.perf_counter()
        if state.history:
            left = (settings.iterations + 1 - state.iteration) * (now - self._last)
            entry = state.history[-1]
            self._say(
                f"{name}, pass {state.iteration} of {settings.iterations + 1}: "
                f"{entry['images']:,.0f} images to {entry['resolution']:.1f} Å, evidence "
                f"{entry['evidence']:.1f}, certainty {entry['certainty']:.2f} "
                f"({now - self._last:.1f} s, about {left:.0f} s left)"
            )
        self._last = now


def _warn(run: RunFolder, attributes: dict[str, Any], symmetry: str, result: InitialModel) -> None:
    if not attributes.get("normalized"):
        run.warn(
            "The images were not normalised by hpdp cryoem normalize: they are compared as if "
            "their background had the mean 0 and all the same noise."
        )
    if result.unapplied:
        run.warn(f"Corrections in the file that were left out: {', '.join(result.unapplied)}.")
    if not result.aligned:
        run.warn(
            f"Nothing aligned: the images fit the maps no better than noise would (evidence "
            f"{result.evidence:.2f}). Are there particles in the images, white on dark, and does "
            "the mask hold them? hpdp validate checks."
        )
    names = map_names(len(result.maps))
    # no axes at all where no symmetry was asked for
    for name, each, imposed in zip(names, result.axes, result.settings.symmetries, strict=False):
        if not result.aligned or (each is not None and each.holds):
            continue
        told = f"{name}: " + ("the map is empty" if each is None else _scores(each))
        if imposed == "C1":
            run.warn(
                f"{told}, so the map has not got the symmetry {symmetry}, which was not imposed."
            )
        else:
            run.warn(
                f"{told} in a search without symmetry; a search with {symmetry} from the start "
                "fits the images no worse and was taken. Look at the map before you trust it."
            )


def _scores(found: SymmetryAxes) -> str:
    return (
        f"turned by the least fitting operator it correlates with itself by {found.score:.2f}, "
        f"by chance {found.chance:.2f} ± {found.spread:.2f}"
    )


def _write_report(run: RunFolder, symmetry: str, result: InitialModel, client: Client) -> RunRecord:
    settings = result.settings
    results: dict[str, Any] = {
        "particles": settings.number,
        "classes": settings.classes,
        "class_share": result.share.tolist(),
        "symmetry": list(settings.symmetries),
        "symmetry_scores": [
            {
                "score": each.score,
                "chance": each.chance,
                "spread": each.spread,
                "holds": each.holds,
            }
            for each in result.axes
            if each is not None
        ],
        "evidence": result.evidence,
        "aligned": result.aligned,
        "compared_to": settings.extent / settings.last_radius,
        "history": {name: state.history for name, state in result.states.items()},
    }
    headline = {
        "Symmetry": ", ".join(dict.fromkeys(settings.symmetries)),
        "Compared to": f"{settings.extent / settings.last_radius:.1f} Å",
        "Evidence of an image": f"{result.evidence:.1f}",
        "Particles": f"{settings.number:,}",
        "Mask": f"{settings.diameter:.0f} Å",
    }
    from hpdp_dask.workflow.report import write_report

    with run.stage("draw"):
        sections = _sections(symmetry, result)
    record = run.finish(results, cluster=describe_cluster(client))
    write_report(
        run.path / "report.html", "Initial model", run.target.name, headline, sections, record
    )
    return record


def _sections(symmetry: str, result: InitialModel) -> list[Section]:
    from hpdp_dask.workflow.figures import central_slices, projections
    from hpdp_dask.workflow.report import Section, Table
    from hpdp_dask.workflow.search_figures import evidence_chart, search_resolution_chart

    settings = result.settings
    sections = [
        Section(
            name,
            f"{share:.0%} of the particles, symmetry {imposed}. The hand is not known: the mirror "
            "image fits the images as well.",
            [
                central_slices(volume, settings.pixel_size, "Central slices"),
                projections(volume, settings.pixel_size, "Projections"),
            ],
        )
        for name, volume, share, imposed in zip(
            map_names(len(result.maps)), result.maps, result.share, settings.symmetries, strict=True
        )
    ]
    if result.axes:
        rows = [
            (
                name,
                each.score,
                each.chance,
                each.spread,
                each.z_score,
                "yes" if each.holds else "no",
            )
            for name, each in zip(map_names(len(result.maps)), result.axes, strict=True)
            if each is not None
        ]
        columns = ("Map", "Score", "Chance", "Spread of chance", "z", "Holds")
        sections.append(
            Section(
                f"Symmetry {symmetry}",
                "Of the maps found without symmetry. The score is the correlation of a map with "
                "itself, turned by the operator that fits least, in the best frame; chance is "
                "that in random frames. The symmetry holds where the score is nearer to 1 than to "
                "chance.",
                table=Table(columns, rows),
            )
        )
    histories = {name: state.history for name, state in result.states.items()}
    sections.append(
        Section(
            "How it went",
            "Each pass compares some of the images, chosen at random. The evidence is the mean "
            "log-likelihood of an image over that of no particle at all; it grows with the "
            "resolution, since more is compared.",
            [
                evidence_chart(histories, "Evidence by pass"),
                search_resolution_chart(histories, "Resolution by pass"),
            ],
        )
    )
    return sections
