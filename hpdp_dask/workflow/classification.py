"""The recipe of `hpdp cryoem classify2d`: from a stack to classes, particles and a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.cryoem.classify import (
    DEFAULT_SCORE,
    Classification,
    Settings,
    State,
    classify2d,
)
from hpdp_dask.cryoem.classify.stage import settings_for
from hpdp_dask.stacks.store import open_stack
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.reconstruction import describe_cluster

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord
    from hpdp_dask.workflow.report import Section

#: Iterations whose averages the report shows, besides the last.
_SHOWN = (1, 2, 4, 8, 16, 32, 64)


def run_classification(
    stack_path: Path,
    output: Path,
    *,
    client: Client,
    command: Sequence[str],
    classes: int = 50,
    iterations: int = 25,
    mask_diameter: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None],
) -> RunRecord:
    """Classify a stack into a folder of averages and particles, with a report.

    Parameters
    ----------
    stack_path : Path
        A stack with CTF, normalised.
    output : Path
        The folder: `classes.mrcs`, `classes.csv`, `particles.zarr`, `particles.star`,
        `report.html`, `run.json`.
    client : Client
    command : sequence of str
        The words of the command line, for the record.
    classes, iterations : int, optional
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
    # a mistake is told before anything is made
    settings = settings_for(open_stack(stack_path), classes, iterations, mask_diameter, seed)
    parameters = {
        "classes": classes,
        "iterations": iterations,
        "mask_diameter": settings.mask_diameter,
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
        follower = _Follower(run, settings, say)
        with run.stage("classify"):
            result = classify2d(
                stack_path,
                run.path,
                classes=classes,
                iterations=iterations,
                mask_diameter=mask_diameter,
                seed=seed,
                scratch=run.scratch / "iterations",
                client=client,
                progress=progress,
                tell=follower.tell,
                say=say,
            )
            run.images(round(sum(float(each["images"] or 0) for each in result.state.history)))
        _warn(run, stack_path, result)
        return _write_report(run, result, client)


class _Follower:
    """Tells a person of each iteration, and keeps averages of some for the report."""

    def __init__(self, run: RunFolder, settings: Settings, say: Callable[[str], None]) -> None:
        self._folder = run.scratch
        self._settings = settings
        self._say = say
        self._began: tuple[float, int] | None = None

    def tell(self, state: State) -> None:
        """Take a state, whose files are there."""
        line = describe_state(state, self._settings.iterations)
        left = self._seconds_left(state.iteration)
        if left is not None:
            line += (
                f"; about {left / 60.0:.0f} min left" if left >= 90.0 else f"; {left:.0f} s left"
            )
        self._say(line)
        if state.iteration in _SHOWN:
            gallery = self._folder / "gallery"
            gallery.mkdir(exist_ok=True)
            averages = self._folder / "iterations" / f"{state.iteration:03d}" / "averages.npy"
            (gallery / f"{state.iteration:03d}.npy").write_bytes(averages.read_bytes())

    def _seconds_left(self, iteration: int) -> float | None:
        """Say how long the rest takes if an image takes as long as until now."""
        now = time.perf_counter()
        if self._began is None:
            self._began = now, iteration
        began, first = self._began
        settings = self._settings
        shares = [1.0 if settings.is_full(i) else settings.part for i in range(settings.iterations)]
        if iteration == first or iteration == settings.iterations:
            return None
        return (now - began) * sum(shares[iteration:]) / sum(shares[first:iteration])


def describe_state(state: State, iterations: int) -> str:
    """Say in a line where a classification stands."""
    if not state.history:
        return f"Iteration {state.iteration} of {iterations}: averages of random images"
    entry = state.history[-1]
    told = [
        f"{entry['images']:,.0f} images",
        f"compared to {entry['compared']:.1f} Å in steps of {entry['step']:g}°",
        f"better classes {entry['resolution']:.1f} Å"
        if entry["resolution"]
        else "nothing resolved yet",
    ]
    if entry["changed"] is not None:
        told.append(f"{100.0 * entry['changed']:.1f} % changed their class")
    return f"Iteration {state.iteration} of {iterations}: {', '.join(told)}"


def _warn(run: RunFolder, stack_path: Path, result: Classification) -> None:
    if not open_stack(stack_path).attrs.get("normalized"):
        run.warn(
            "The images were not normalised by hpdp cryoem normalize: they are compared as if "
            "their background had the mean 0 and all the same noise."
        )
    if result.unapplied:
        run.warn(f"Corrections in the file that were left out: {', '.join(result.unapplied)}.")
    if not result.aligned:
        run.warn(
            "Nothing aligned: no class shows more signal than noise. Are there particles in the "
            "images, white on dark, and does the mask hold them? hpdp validate checks."
        )


def _write_report(run: RunFolder, result: Classification, client: Client) -> RunRecord:
    from hpdp_dask.cryoem.fsc import describe_resolution

    table, settings = result.classes, result.settings
    good = table.score >= DEFAULT_SCORE
    in_good = int(table.particles[good].sum())
    best = float(table.resolution[good].min()) if good.any() else np.inf
    results: dict[str, Any] = {
        "particles": settings.number,
        "classes": settings.classes,
        "good_classes": int(good.sum()),
        "particles_in_good_classes": in_good,
        "resolution": best if np.isfinite(best) else None,
        "aligned": result.aligned,
        "history": result.state.history,
    }
    headline = {
        "Classes with a good score": f"{int(good.sum())} of {settings.classes}",
        "Particles in them": f"{in_good:,} of {settings.number:,}",
        "Best resolution": describe_resolution(best),
        "Box": f"{settings.box} pixels",
        "Pixel size": f"{settings.pixel_size:.4g} Å",
        "Mask": f"{settings.mask_diameter:.0f} Å",
    }
    from hpdp_dask.workflow.report import write_report

    with run.stage("draw"):
        sections = _sections(run, result)
    record = run.finish(results, cluster=describe_cluster(client))
    write_report(
        run.path / "report.html", "2D classification", run.target.name, headline, sections, record
    )
    return record


def _sections(run: RunFolder, result: Classification) -> list[Section]:
    from hpdp_dask.workflow.gallery import (
        change_chart,
        class_gallery,
        growing_gallery,
        resolution_chart,
    )
    from hpdp_dask.workflow.report import Section

    pixel_size, history = result.settings.pixel_size, result.state.history
    # the classes that came out best, as they were then
    best = result.order[: result.settings.classes]
    snapshots = {
        int(file.stem): np.load(file, allow_pickle=False)[best]
        for file in sorted((run.scratch / "gallery").glob("*.npy"))
    }
    snapshots[result.state.iteration] = result.averages
    return [
        Section(
            "Classes",
            "classes.mrcs, in this order; the numbers are in classes.csv. The resolution is that "
            "of the last shell with more signal than noise. The score, from 0 to 1, says whether "
            "there is something in the images and whether it is the molecule that most images "
            f"show; hpdp cryoem select keeps classes of {DEFAULT_SCORE:g} or more.",
            [class_gallery(result.averages, result.classes, pixel_size)],
        ),
        Section(
            "How they grew",
            "The first passes take a part of the images, the last take all. Classes that were "
            "empty, or showed nothing, began anew.",
            [
                resolution_chart(history, "Resolution by iteration"),
                change_chart(history, "Certainty and changes by iteration"),
                *growing_gallery(snapshots, pixel_size),
            ],
        ),
    ]
