"""The recipe of `hpdp cryoem refine`: from a stack and a reference to maps, poses and a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpdp_dask.cryoem.fsc import MapComparison, compare_maps, describe_resolution
from hpdp_dask.cryoem.refine.stage import Refinement, refine
from hpdp_dask.cryoem.refine.state import State
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.numerics.symmetry import point_group
from hpdp_dask.stacks.store import open_stack
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.reconstruction import check_truth, describe_cluster

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord
    from hpdp_dask.workflow.report import Section

#: Curves that a chart of iterations shows.
_CURVES = 5


def run_refinement(
    stack: Path,
    output: Path,
    *,
    reference: Path,
    client: Client,
    command: Sequence[str],
    say: Callable[[str], None],
    symmetry: str = "C1",
    initial_resolution: float = 30.0,
    mask_diameter: float | None = None,
    mask: Path | None = None,
    truth: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Refine particles into a folder of maps and poses, with a report.

    Parameters
    ----------
    stack : Path
    output : Path
        The folder: `half1.mrc`, `half2.mrc`, `map.mrc`, `fsc.csv`, `iterations.csv`,
        `fsc_iterations.csv`, `particles.star`, `report.html`, `run.json`.
    reference : Path
        A map.
    client : Client
    command : sequence of str
        The words of the command line, for the record.
    say : callable
        Told of each iteration in a line, and what else a person should know meanwhile.
    symmetry, initial_resolution, mask_diameter, mask, seed : optional
        As of `hpdp_dask.cryoem.refine.stage.refine`.
    truth : Path, optional
        A map to compare with, of simulated particles.
    overwrite, resume : bool, optional
    progress : Progress, optional

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        If an input is not as it must be, or the workers lack memory; nothing is left then but
        iterations that ended, for `resume`.
    """
    point_group(symmetry)
    parameters = {
        "reference": reference,
        "symmetry": symmetry,
        "initial_resolution": initial_resolution,
        "mask_diameter": mask_diameter,
        "mask": mask,
    }
    with output_folder(
        output,
        command=command,
        parameters=parameters,
        inputs=[stack, reference, *(path for path in (mask, truth) if path)],
        seed=seed,
        overwrite=overwrite,
        resume=resume,
        client=client,
    ) as run:
        if truth is not None:
            check_truth(truth, open_stack(stack))
        result = refine_into(
            run,
            stack,
            reference=reference,
            client=client,
            say=say,
            symmetry=symmetry,
            initial_resolution=initial_resolution,
            mask_diameter=mask_diameter,
            mask=mask,
            seed=seed,
            progress=progress,
        )
        compared = None
        if truth is not None:
            with run.stage("compare"):
                compared = compare_maps(run.path / "map.mrc", truth)
        return _write_report(run, result, compared, client, symmetry)


def refine_into(
    run: RunFolder,
    stack: Path,
    *,
    reference: Path,
    client: Client,
    say: Callable[[str], None],
    symmetry: str,
    initial_resolution: float = 30.0,
    mask_diameter: float | None = None,
    mask: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> Refinement:
    """Refine into the folder of a run, or one in it; parameters as of `run_refinement`."""
    began = time.perf_counter()

    def tell(state: State) -> None:
        nonlocal began
        seconds, began = time.perf_counter() - began, time.perf_counter()
        if state.history:
            say(f"{describe(state)} ({seconds:.0f} s)")

    with run.stage("refine"):
        result = refine(
            stack,
            folder or run.path,
            run.scratch,
            reference=reference,
            symmetry=symmetry,
            initial_resolution=initial_resolution,
            mask_diameter=mask_diameter,
            mask=mask,
            seed=seed,
            client=client,
            progress=progress,
            tell=tell,
            say=say,
        )
        run.images(result.particles * len(result.history))
    if not open_stack(stack).attrs.get("normalized"):
        run.warn(
            "The images were not normalised by hpdp cryoem normalize: the noise is measured, but "
            "all images count the same only if theirs has the same variance."
        )
    for note in result.notes:
        run.warn(note)
    return result


def describe(state: State) -> str:
    """Say in a line what an iteration reached."""
    row = state.history[-1]
    where = "local" if row["local"] else "global"
    changes = ""
    if state.iteration > 1:
        changes = (
            f"; orientations changed by {row['angle_change']:.2f}° (median), "
            f"shifts by {row['shift_change']:.2f} Å (mean)"
        )
    last = ", the last" if state.finished else ""
    return (
        f"Iteration {row['iteration']}{last}: {describe_resolution(row['resolution'])}; "
        f"{where} search, {row['angular_step']:.3g}° and {row['shift_step']:.2g} Å{changes}"
    )


def _write_report(
    run: RunFolder,
    result: Refinement,
    compared: MapComparison | None,
    client: Client,
    symmetry: str,
) -> RunRecord:
    # Matplotlib and Jinja take long to import.
    from hpdp_dask.workflow.report import write_report

    with run.stage("draw"):
        sections = refinement_sections(run.path, result, compared)
    results: dict[str, Any] = {
        "resolution": result.resolution,
        "resolution_masked": result.resolution_masked,
        "iterations": len(result.history),
        "particles": result.particles,
        "box": result.box,
        "pixel_size": result.pixel_size,
        "mask_diameter": result.mask_diameter,
    }
    headline = {
        "Resolution (FSC 0.143)": describe_resolution(result.resolution),
        "Under the mask": describe_resolution(result.resolution_masked),
    }
    if compared is not None:
        results["resolution_against_truth"] = compared.resolution_05
        headline["Against the truth (FSC 0.5)"] = describe_resolution(compared.resolution_05)
    headline |= {
        "Particles": f"{result.particles:,}",
        "Iterations": str(len(result.history)),
        "Symmetry": symmetry,
        "Box": f"{result.box} pixels",
        "Pixel size": f"{result.pixel_size:.4g} Å",
    }
    record = run.finish(results, cluster=describe_cluster(client))
    title = "Refinement"
    write_report(run.path / "report.html", title, run.target.name, headline, sections, record)
    return record


def refinement_sections(
    folder: Path, result: Refinement, compared: MapComparison | None = None
) -> list[Section]:
    """Make the sections of a report on a refinement whose files are in a folder."""
    import pandas as pd

    from hpdp_dask.workflow.figures import central_slices, fsc_chart, projections
    from hpdp_dask.workflow.report import Section, Table
    from hpdp_dask.workflow.sphere import orientation_map

    curves = {"half-maps": result.fsc, "under the mask": result.fsc_masked}
    if compared is not None:
        curves["map against truth"] = compared.curves["fsc"]
    volume, pixel_size = read_map(folder / "map.mrc")
    by_iteration = pd.read_csv(folder / "fsc_iterations.csv", index_col="iteration")
    shown = np.unique(np.linspace(0, len(by_iteration) - 1, _CURVES).round().astype(int))
    return [
        Section(
            "Fourier shell correlation",
            "Of the half-maps, which were refined apart above "
            "40 Å: without a mask, and under the soft mask that they were refined with. The table "
            "is in fsc.csv.",
            [fsc_chart(curves, result.box, pixel_size, "Correlation per shell")],
        ),
        Section(
            "The map",
            "map.mrc: all particles, filtered by the correlation of the half-maps, not sharpened; "
            "hpdp cryoem postprocess does that.",
            [
                central_slices(volume, pixel_size, "Central slices"),
                projections(volume, pixel_size, "Projections"),
            ],
        ),
        Section(
            "Orientations",
            "Viewing directions of the particles, before symmetry.",
            [orientation_map(result.euler_angles, "Density of viewing directions")],
        ),
        Section(
            "Iterations",
            "The correlation of the half-maps under the mask, as it grew. Changes are those of "
            "orientations, median, and of shifts, mean; the spread is that of the posterior, "
            "median.",
            [
                fsc_chart(
                    {
                        f"iteration {by_iteration.index[place]}": _compared(
                            by_iteration.iloc[place]
                        )
                        for place in shown
                    },
                    result.box,
                    pixel_size,
                    "Correlation per shell, by iteration",
                )
            ],
            Table(
                [
                    "Iteration",
                    "Resolution (Å)",
                    "Step (°)",
                    "Step (Å)",
                    "Search",
                    "Change (°)",
                    "Change (Å)",
                    "Spread (°)",
                    "Log-likelihood ratio",
                ],
                [
                    [
                        row["iteration"],
                        row["resolution"],
                        row["angular_step"],
                        row["shift_step"],
                        "local" if row["local"] else "global",
                        row["angle_change"] if row["iteration"] > 1 else None,
                        row["shift_change"],
                        row["spread"],
                        row["log_evidence"],
                    ]
                    for row in result.history.to_dict("records")
                ],
            ),
        ),
    ]


def _compared(curve: pd.Series) -> np.ndarray:
    """Leave out the shells beyond those that were compared, where the correlation is 0."""
    values = curve.to_numpy(dtype=np.float64, copy=True)
    values[int(np.flatnonzero(values).max(initial=0)) + 1 :] = np.nan
    return values
