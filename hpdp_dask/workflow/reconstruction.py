"""The recipe of `hpdp cryoem reconstruct`: from a stack or a star file to maps and a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from hpdp_dask.cryoem.fsc import MapComparison, compare_maps, describe_resolution
from hpdp_dask.cryoem.import_particles import import_particles
from hpdp_dask.cryoem.reconstruct import Reconstruction, reconstruct
from hpdp_dask.dataflow.futures import workers_of
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map
from hpdp_dask.formats.mrc_header import read_info
from hpdp_dask.numerics.symmetry import point_group
from hpdp_dask.stacks.store import open_stack
from hpdp_dask.workflow.folder import RunFolder, output_folder

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord
    from hpdp_dask.workflow.report import Section


def run_reconstruction(
    particles: Path,
    output: Path,
    *,
    client: Client,
    command: Sequence[str],
    symmetry: str = "C1",
    max_resolution: float | None = None,
    truth: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Reconstruct particles with known poses into a folder of maps, with a report.

    Parameters
    ----------
    particles : Path
        A stack, or a `.star` or `.cs` file, which is imported for the time of the run.
    output : Path
        The folder: `half1.mrc`, `half2.mrc`, `map.mrc`, `fsc.csv`, `report.html`, `run.json`.
    client : Client
    command : sequence of str
        The words of the command line, for the record.
    symmetry : str, optional
    max_resolution : float, optional
        Å.
    truth : Path, optional
        A map to compare with, of simulated particles.
    seed : int, optional
        Of the half-sets, where a file has none.
    overwrite, resume : bool, optional
    progress : Progress, optional

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        If an input is not as it must be; nothing is left then.
    """
    point_group(symmetry)  # a mistake in it is told before anything is imported
    parameters = {"symmetry": symmetry, "max_resolution": max_resolution}
    inputs = [particles] + ([truth] if truth else [])
    with output_folder(
        output,
        command=command,
        parameters=parameters,
        inputs=inputs,
        seed=seed,
        overwrite=overwrite,
        resume=resume,
        client=client,
    ) as run:
        stack_path = _stack_of(particles, run, client, seed, progress)
        try:
            outcome = reconstruct_into(
                run,
                stack_path,
                client=client,
                symmetry=symmetry,
                max_resolution=max_resolution,
                truth=truth,
                progress=progress,
            )
        except InputError as error:
            # the user knows the file that was given, not the stack that was made of it
            raise InputError(str(error).replace(str(stack_path), str(particles))) from error
        return write_reconstruction_report(run, outcome, client, title="Reconstruction")


@dataclass(frozen=True)
class Outcome:
    """What a run has reconstructed, for its report.

    Attributes
    ----------
    stack : xarray.Dataset
        The particles.
    symmetry : str
    reconstruction : Reconstruction
    against_truth : MapComparison or None
    """

    stack: xr.Dataset
    symmetry: str
    reconstruction: Reconstruction
    against_truth: MapComparison | None


def reconstruct_into(
    run: RunFolder,
    stack_path: Path,
    *,
    client: Client,
    symmetry: str,
    max_resolution: float | None = None,
    truth: Path | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Reconstruct a stack into the folder of a run; parameters as of `run_reconstruction`."""
    stack = open_stack(stack_path)
    if truth is not None:
        check_truth(truth, stack)
    with run.stage("reconstruct"):
        result = reconstruct(
            stack_path,
            run.path,
            symmetry=symmetry,
            max_resolution=max_resolution,
            client=client,
            durable=run.scratch / "leaves",
            progress=progress,
        )
        run.images(sum(result.particles))
    if not stack.attrs.get("normalized"):
        run.warn(
            "The images were not normalised by hpdp cryoem normalize: all of them count the "
            "same only if their noise has the same variance."
        )
    if result.unapplied:
        run.warn(f"Corrections in the file that were left out: {', '.join(result.unapplied)}.")
    if result.alternated:
        run.warn(
            "All particles are in one half-set, so they went into the half-maps in turn; if they "
            "were refined together, the correlation of these says too much."
        )
    compared = None
    if truth is not None:
        with run.stage("compare"):
            compared = compare_maps(run.path / "map.mrc", truth)
    return Outcome(stack, symmetry, result, compared)


def check_truth(truth: Path, stack: xr.Dataset) -> None:
    """See that a map can be compared with what will be reconstructed, before it is."""
    info = read_info(truth)
    box, pixel_size = stack.sizes.get("x"), float(stack["pixel_size"].values[0])
    if info.shape != (box, box, box):
        raise InputError(
            f"{truth}: the box is {' x '.join(map(str, info.shape))}, expected that of the "
            f"particles, {box}; crop or pad the map."
        )
    if info.pixel_size is not None and abs(info.pixel_size - pixel_size) > 1e-3 * pixel_size:
        raise InputError(
            f"{truth}: the pixel size is {info.pixel_size:g} Å, expected that of the particles, "
            f"{pixel_size:g} Å; rescale the map, or mend its header."
        )


def describe_cluster(client: Client) -> dict[str, Any]:
    """Tell where the work ran: how many workers, threads and bytes."""
    workers = workers_of(client).values()
    return {
        "workers": len(workers),
        "threads": sum(worker["nthreads"] for worker in workers),
        "memory_bytes": sum(worker["memory_limit"] for worker in workers),
    }


def _stack_of(
    particles: Path, run: RunFolder, client: Client, seed: int, progress: Progress | None
) -> Path:
    """Give the stack of the particles, importing them if they are in files of another kind."""
    if particles.is_dir():
        return particles
    stack_path = run.scratch / "particles.zarr"
    if not stack_path.exists():
        with run.stage("import"):
            summary = import_particles(
                [particles], stack_path, client=client, seed=seed, progress=progress
            )
            run.images(summary.number)
        for warning in summary.warnings:
            run.warn(warning)
    return stack_path


def write_reconstruction_report(
    run: RunFolder, outcome: Outcome, client: Client, title: str
) -> RunRecord:
    """Write `report.html` and close the record of a run.

    Parameters
    ----------
    run : RunFolder
    outcome : Outcome
    client : Client
        Where the run ran.
    title : str
        Of the report.

    Returns
    -------
    RunRecord
    """
    result, compared = outcome.reconstruction, outcome.against_truth
    results: dict[str, Any] = {
        "resolution": result.resolution,
        "particles": sum(result.particles),
        "box": result.box,
        "pixel_size": result.pixel_size,
    }
    headline = {"Resolution (FSC 0.143)": describe_resolution(result.resolution)}
    if compared is not None:
        results["resolution_against_truth"] = compared.resolution_05
        headline["Against the truth (FSC 0.5)"] = describe_resolution(compared.resolution_05)
    headline |= {
        "Particles": f"{sum(result.particles):,}",
        "Box": f"{result.box} pixels",
        "Pixel size": f"{result.pixel_size:.4g} Å",
        "Symmetry": outcome.symmetry,
    }
    # Matplotlib and Jinja take as long to import as a small reconstruction does to run.
    from hpdp_dask.workflow.report import write_report

    with run.stage("draw"):
        sections = _sections(run, outcome)
    record = run.finish(results, cluster=describe_cluster(client))
    write_report(run.path / "report.html", title, run.target.name, headline, sections, record)
    return record


def _sections(run: RunFolder, outcome: Outcome) -> list[Section]:
    from hpdp_dask.workflow.figures import (
        central_slices,
        defocus_histogram,
        fsc_chart,
        projections,
    )
    from hpdp_dask.workflow.report import Section
    from hpdp_dask.workflow.sphere import orientation_map

    stack, result, compared = outcome.stack, outcome.reconstruction, outcome.against_truth
    curves = {"half-maps": result.fsc}
    if compared is not None:
        curves["map against truth"] = compared.curves["fsc"]
    volume, pixel_size = read_map(run.path / "map.mrc")
    first, second = result.particles
    return [
        Section(
            "Fourier shell correlation",
            f"Of the two half-maps ({first:,} and {second:,} particles), without a mask. "
            "The table is in fsc.csv.",
            [fsc_chart(curves, result.box, pixel_size, "Correlation per shell")],
        ),
        Section(
            "The map",
            "map.mrc: all particles, filtered by the correlation of the half-maps, not sharpened.",
            [
                central_slices(volume, pixel_size, "Central slices"),
                projections(volume, pixel_size, "Projections"),
            ],
        ),
        Section(
            "Orientations",
            "Viewing directions as they were given, before symmetry.",
            [orientation_map(stack["euler_angles"].values, "Density of viewing directions")],
        ),
        Section(
            "Defocus",
            "",
            [
                defocus_histogram(
                    stack["defocus_u"].values, stack["defocus_v"].values, "Defocus of the particles"
                )
            ],
        ),
    ]
