"""The recipe of `hpdp demo`, the whole way: from simulated particles without poses to a sharp map.

Each step makes a folder or a stack of its own, as a user would make it by a command of its own,
with its own report; the last compares what came out with the truth.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.cryoem.fsc import describe_resolution
from hpdp_dask.cryoem.import_particles import import_particles
from hpdp_dask.cryoem.normalize import normalize
from hpdp_dask.cryoem.select import select
from hpdp_dask.cryoem.simulate import Settings, Specimen
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import read_map, write_map
from hpdp_dask.numerics.shells import fourier_shell_correlation, resolution_at
from hpdp_dask.numerics.superposition import align_volumes
from hpdp_dask.workflow.classification import run_classification
from hpdp_dask.workflow.folder import output_folder
from hpdp_dask.workflow.initial_model import run_initial_model
from hpdp_dask.workflow.postprocessing import run_postprocessing
from hpdp_dask.workflow.reconstruction import describe_cluster
from hpdp_dask.workflow.refinement import run_refinement
from hpdp_dask.workflow.simulation import run_simulation

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord

#: What is in the folder of a demonstration.
_STEPS = {"simulated", "classes", "initial", "refined", "sharp", "summary"}
_STACKS = {"particles.zarr", "normalized.zarr", "good.zarr"}
_MADE = _STEPS | _STACKS | {f".{name}.partial" for name in _STEPS}

#: Where the maps are laid upon each other: up to this resolution, Å.
_ALIGNED_TO = 10.0

#: What the initial model is low-passed to before it is refined, Å.
_INITIAL_RESOLUTION = 30.0


@dataclass(frozen=True)
class Steps:
    """Settings of the steps after the simulation.

    Attributes
    ----------
    classes, iterations : int
        Of the 2D classification.
    mask_diameter : float
        Of the particle, Å.
    """

    classes: int
    iterations: int
    mask_diameter: float


def run_whole_way(
    specimen: Specimen,
    output: Path,
    settings: Settings,
    steps: Steps,
    *,
    client: Client,
    command: Sequence[str],
    say: Callable[[str], None],
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Take simulated particles the whole way and compare the map with the truth.

    Parameters
    ----------
    specimen : Specimen
    output : Path
        The folder: `simulated/`, `particles.zarr`, `normalized.zarr`, `classes/`, `good.zarr`,
        `initial/`, `refined/`, `sharp/`, and `summary/` with the comparison.
    settings : Settings
        Of the simulation.
    steps : Steps
    client : Client
    command : sequence of str
        The words of the command line, for the record.
    say : callable
        Told, in a sentence each, what begins and how far it is.
    inputs : sequence of Path, optional
        The files of the model and the CTF, for the record.
    overwrite : bool, optional
    progress : Progress, optional

    Returns
    -------
    RunRecord
        Of `summary/`.

    Raises
    ------
    InputError
        If a setting makes no sense, or the output exists.
    """
    _make_folder(output, overwrite)
    seed, symmetry = settings.seed, specimen.symmetry
    common = {"client": client, "command": command, "seed": seed, "progress": progress}

    def tell(line: str) -> None:
        say(f"  {line}")

    simulated, truth = output / "simulated", output / "simulated" / "map_true.mrc"
    say(f"Simulating {settings.number:,} particles of {specimen.name}, {symmetry}")
    run_simulation(
        specimen,
        simulated,
        settings,
        client=client,
        command=command,
        inputs=inputs,
        progress=progress,
    )
    say("Importing and normalising them; their poses are not used from here on")
    stack, normalized = output / "particles.zarr", output / "normalized.zarr"
    star = simulated / "particles.star"
    import_particles([star], stack, client=client, seed=seed, progress=progress)
    normalize(
        stack,
        normalized,
        client=client,
        background_diameter=steps.mask_diameter,
        progress=progress,
    )
    say(f"2D classification into {steps.classes} classes")
    run_classification(
        normalized,
        output / "classes",
        classes=steps.classes,
        iterations=steps.iterations,
        mask_diameter=steps.mask_diameter,
        say=tell,
        **common,
    )
    good = output / "good.zarr"
    kept = select(output / "classes", good, client=client, progress=progress)
    say(f"Kept {kept.number:,} particles of {len(kept.classes)} good classes")
    say("An initial model, from nothing")
    run_initial_model(
        good,
        output / "initial",
        symmetry=symmetry,
        mask_diameter=steps.mask_diameter,
        say=tell,
        **common,
    )
    say(f"Refinement with {symmetry}")
    refined = run_refinement(
        good,
        output / "refined",
        reference=output / "initial" / "map.mrc",
        symmetry=symmetry,
        initial_resolution=_INITIAL_RESOLUTION,
        mask_diameter=steps.mask_diameter,
        say=tell,
        **common,
    )
    say("Post-processing")
    sharp = run_postprocessing(output / "refined", output / "sharp", command=command, seed=seed)
    say("Comparing with the truth")
    parameters = {"specimen": specimen.name, **asdict(settings), **asdict(steps)}
    with output_folder(
        output / "summary",
        command=command,
        parameters=parameters,
        inputs=[output / "refined" / "map.mrc", truth, *inputs],
        seed=seed,
        overwrite=False,
    ) as run:
        with run.stage("compare"):
            volume, pixel_size = read_map(output / "refined" / "map.mrc")
            true, _ = read_map(truth)
            box = len(true)
            found = align_volumes(volume, true, int(box * pixel_size / _ALIGNED_TO))
            aligned = found.apply(volume).astype(np.float32)
            write_map(run.path / "map_aligned.mrc", aligned, pixel_size)
            curve = fourier_shell_correlation(aligned, true)
        against = resolution_at(curve, 0.5, pixel_size, box)
        results = {
            "resolution": refined.results["resolution"],
            "resolution_masked": sharp.results["resolution"],
            "resolution_against_truth": against,
            "mirrored": found.mirrored,
            "particles_kept": kept.number,
        }
        record = run.finish(results, cluster=describe_cluster(client))
        headline = {
            "Resolution (FSC 0.143)": describe_resolution(results["resolution"]),
            "Under the mask": describe_resolution(results["resolution_masked"]),
            "Against the truth (FSC 0.5)": describe_resolution(against),
            "Hand": "mirrored" if found.mirrored else "that of the truth",
            "Particles": f"{kept.number:,} of {settings.number:,}",
            "Symmetry": symmetry,
        }
        _write_report(run.path, output.name, headline, curve, aligned, true, pixel_size, record)
    return record


def _make_folder(output: Path, overwrite: bool) -> None:
    """Make the folder of all steps, in place of that of an earlier demonstration if asked for."""
    if output.exists():
        if not overwrite:
            raise InputError(
                f"{output}: exists already; choose another name, or --overwrite to replace it."
            )
        if not output.is_dir() or {entry.name for entry in output.iterdir()} - _MADE:
            raise InputError(
                f"{output}: holds what hpdp demo did not make, so it will not replace it; choose "
                "another name, or remove it yourself."
            )
        shutil.rmtree(output)
    if not output.parent.is_dir():
        raise InputError(
            f"{output}: the folder {output.parent} to hold it does not exist; make it first."
        )
    output.mkdir()


def _write_report(
    folder: Path,
    name: str,
    headline: dict[str, str],
    curve: np.ndarray,
    aligned: np.ndarray,
    true: np.ndarray,
    pixel_size: float,
    record: RunRecord,
) -> None:
    from hpdp_dask.workflow.figures import central_slices, fsc_chart, projections
    from hpdp_dask.workflow.report import Section, write_report

    sections = [
        Section(
            "The steps",
            "Each has a report of its own: classes/report.html, initial/report.html, "
            "refined/report.html and sharp/report.html, beside this folder.",
        ),
        Section(
            "Against the truth",
            "The refined map was turned and moved onto the true one, and mirrored where its hand "
            "is the other: images do not tell which it is.",
            [fsc_chart({"map against truth": curve}, len(true), pixel_size, "Correlation")],
        ),
        Section(
            "The maps",
            "",
            [
                projections(aligned, pixel_size, "The refined map"),
                projections(true, pixel_size, "The truth"),
                central_slices(aligned, pixel_size, "Slices of the refined map"),
                central_slices(true, pixel_size, "Slices of the truth"),
            ],
        ),
    ]
    write_report(folder / "report.html", "Demonstration", name, headline, sections, record)
