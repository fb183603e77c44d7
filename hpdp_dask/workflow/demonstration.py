"""The recipe of `hpdp demo`, the main job: simulate, import, normalise, reconstruct, compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hpdp_dask.cryoem.import_particles import import_particles
from hpdp_dask.cryoem.normalize import normalize
from hpdp_dask.cryoem.simulate import Settings, Specimen, simulate
from hpdp_dask.workflow.folder import output_folder
from hpdp_dask.workflow.reconstruction import reconstruct_into, write_reconstruction_report

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord


def run_demo(
    specimen: Specimen,
    output: Path,
    settings: Settings,
    *,
    client: Client,
    command: Sequence[str],
    say: Callable[[str], None],
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Take simulated particles the whole way to a map and compare it with the truth.

    Parameters
    ----------
    specimen : Specimen
    output : Path
        The folder: `simulated/`, `particles.zarr`, `normalized.zarr`, and what
        `run_reconstruction` writes.
    settings : Settings
        Of the simulation.
    client : Client
    command : sequence of str
        The words of the command line, for the record.
    say : callable
        Told, in a sentence each, what begins.
    inputs : sequence of Path, optional
        The files of the model and the CTF, for the record.
    overwrite : bool, optional
    progress : Progress, optional

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        If a setting makes no sense, or the output exists.
    """
    parameters = {"specimen": specimen.name, "symmetry": specimen.symmetry, **asdict(settings)}
    with output_folder(
        output,
        command=command,
        parameters=parameters,
        inputs=inputs,
        seed=settings.seed,
        overwrite=overwrite,
        client=client,
    ) as run:
        simulated, stack = run.path / "simulated", run.path / "particles.zarr"
        normalized = run.path / "normalized.zarr"
        say(f"Simulating {settings.number:,} particles of {specimen.name}, {specimen.symmetry}")
        with run.stage("simulate"):
            simulated.mkdir()
            files = simulate(simulated, specimen, settings, client=client, progress=progress)
            run.images(settings.number)
        say("Importing particles.star into a Zarr stack")
        with run.stage("import"):
            import_particles(
                [files.particles], stack, client=client, seed=settings.seed, progress=progress
            )
            run.images(settings.number)
        say("Normalising the images")
        with run.stage("normalize"):
            normalize(stack, normalized, client=client, progress=progress)
            run.images(settings.number)
        say(f"Reconstructing two half-maps with {specimen.symmetry}")
        outcome = reconstruct_into(
            run,
            normalized,
            client=client,
            symmetry=specimen.symmetry,
            truth=files.map,
            progress=progress,
        )
        say("Writing the report")
        return write_reconstruction_report(run, outcome, client, title="Demonstration")
