"""The recipes of `hpdp cryoem heterogeneity`: train networks on a stack, make volumes of them."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.export_particles import export_particles
from hpdp_dask.cryoem.heterogeneity.stage import (
    HeterogeneitySettings,
    Learnt,
    check_settings,
    learn_conformations,
)
from hpdp_dask.cryoem.heterogeneity.table import LATENT_COLUMN
from hpdp_dask.cryoem.heterogeneity.volume_files import VolumeFolder, write_volumes
from hpdp_dask.cryoem.heterogeneity.volumes import (
    LATENT_FILE,
    NETWORKS,
    read_conformations,
    read_latent,
    read_points,
)
from hpdp_dask.dataflow.training.learner import ADJUSTABLE
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import write_map
from hpdp_dask.formats.particles import SourceTables
from hpdp_dask.numerics.latent_path import points_along, principal_axes
from hpdp_dask.stacks.store import new_stack, open_stack
from hpdp_dask.stacks.tables import read_source
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.reconstruction import describe_cluster

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord

#: Volumes along the first principal component; columns of latent variables in a star file.
_POINTS = 5

#: A share of the time spent waiting for images from which on the report warns.
_LONG_WAIT = 0.3


def run_heterogeneity_training(
    stack_path: Path,
    output: Path,
    settings: HeterogeneitySettings,
    *,
    client: Client | None,
    command: Sequence[str],
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> RunRecord:
    """Learn the conformations of the particles of a stack, with a report.

    Parameters
    ----------
    stack_path : Path
        A stack with poses and CTF.
    output : Path
        The folder: `z.npy` and `z_width.npy` (latent variables of the images and the widths of
        their posteriors), `particles.star` with them as columns, `volumes/*.mrc` with
        `volumes/z.npy`, `weights.safetensors`, `report.html`, `run.json`.
    settings : HeterogeneitySettings
    client : Client or None
        None: train in this process.
    command : sequence of str
        The words of the command line, for the record.
    overwrite, resume : bool, optional
    progress : Progress, optional
    say : callable, optional
        Told in words how far it is.

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        If the stack or a setting is not as it must be, or the training failed.
    """
    stack = open_stack(stack_path)
    architecture = check_settings(stack, settings)
    # what is done, not what was left to default
    encoder = architecture.encoder if settings.zdim else None
    settings = replace(settings, linear=architecture.linear, encoder=encoder)
    with output_folder(
        output,
        command=command,
        parameters=asdict(settings),
        inputs=[stack_path],
        seed=settings.training.seed,
        overwrite=overwrite,
        resume=resume,
        adjustable=[f"training.{name}" for name in ADJUSTABLE],
        say=say,
        client=client,
    ) as run:
        scratch = run.scratch / "heterogeneity"
        scratch.mkdir(exist_ok=True)
        with run.stage("learn"):
            learnt = learn_conformations(
                stack_path,
                settings,
                scratch,
                client=client,
                progress=progress,
                tell=None if say is None else lambda row: say(tell_epoch(row)),
                say=say,
            )
            run.images(stack.sizes["particle"] * settings.training.epochs)
        with run.stage("volumes"):
            shown = _write_results(run, stack, learnt)
        return _write_report(run, settings, learnt, shown, client)


def tell_epoch(row: dict[str, Any]) -> str:
    """Say in a line how an epoch went."""
    losses = ", ".join(f"{name} {value:.5f}" for name, value in row["losses"].items())
    return (
        f"Epoch {row['epoch']}: {losses}; {row['images_per_second']:.0f} images/s, "
        f"{row['waited']:.0%} of the time waiting for them"
    )


def next_steps(folder: Path, zdim: int) -> list[str]:
    """Say in lines with which commands to go on from a training.

    Parameters
    ----------
    folder : Path
        Of the training.
    zdim : int
        Without a latent variable there is nothing to look at.
    """
    if not zdim:
        return []
    command, words = "hpdp cryoem heterogeneity", shlex.quote(str(folder))
    return [
        f"Ask whether the particles differ, and how surely: {command} assess {words} "
        f"-o {words}-assessment",
        f"Look at clusters, volumes and the landscape: {command} analyze {words}",
        f"Look at images and volumes on a page: {command} explore {words}",
    ]


def _write_results(run: RunFolder, stack: xr.Dataset, learnt: Learnt) -> list[np.ndarray]:
    """Write latent variables and volumes; give the volumes."""
    made = learnt.conformations
    points = points_along(learnt.z, _POINTS) if learnt.z.shape[1] else np.zeros((1, 0), np.float32)
    if learnt.z.shape[1]:
        np.save(run.path / LATENT_FILE, learnt.z)
        np.save(run.path / "z_width.npy", learnt.width)
        write_particles(run.path, stack, learnt.z)
    volumes = list(made.volumes(points))
    folder = VolumeFolder.at(run.path / "volumes", points)
    for file, volume in zip(folder.files, volumes, strict=True):
        write_map(file, volume, made.pixel_size)
    return volumes


def write_particles(folder: Path, stack: xr.Dataset, z: np.ndarray) -> None:
    """Write `particles.star`: the particles as they were, with their latent variables.

    Parameters
    ----------
    folder : Path
    stack : Dataset
    z : (n, zdim) ndarray
        Of its particles.
    """
    source = read_source(stack.attrs["path"])
    if source is None or not source.format.startswith("relion"):
        source = SourceTables("relion-3.1")
    columns = {f"{LATENT_COLUMN}{k}": each.astype(np.float64) for k, each in enumerate(z.T, 1)}
    source = replace(source, particles={**source.particles, **columns})
    table = folder / "particles.zarr"
    # of a run that was interrupted here
    shutil.rmtree(table, ignore_errors=True)
    new_stack(table, stack.drop_vars("images"), len(z), None, source=source)
    export_particles(table, folder / "particles.star", images=False, overwrite=True)
    shutil.rmtree(table)


def _write_report(
    run: RunFolder,
    settings: HeterogeneitySettings,
    learnt: Learnt,
    shown: Sequence[np.ndarray],
    client: Client | None,
) -> RunRecord:
    from hpdp_dask.workflow.heterogeneity_figures import report_sections
    from hpdp_dask.workflow.report import Section, write_report

    history = learnt.history
    waited = sum(row["waited"] * row["seconds"] for row in history)
    seconds = max(sum(row["seconds"] for row in history), 1e-9)
    if waited > _LONG_WAIT * seconds:
        run.warn(
            f"{waited / seconds:.0%} of the training was waiting for images: give it more "
            "--threads, or a faster disk."
        )
    shares = principal_axes(learnt.z)[1] if learnt.z.shape[1] else np.zeros(0)
    headline = {
        "Particles": f"{len(learnt.z):,}",
        "Latent dimensions": str(settings.zdim),
        "Decoder": f"{settings.width}x{settings.layers}",
        "Epochs": str(settings.training.epochs),
        "Error, in units of the noise": f"{history[-1]['losses']['error']:.4f}",
    }
    if len(shares):
        headline["First component"] = f"{shares[0]:.0%} of the latent variance"
    with run.stage("draw"):
        sections = report_sections(learnt, shown)
    if steps := next_steps(run.target, settings.zdim):
        sections.append(Section("What next", "\n\n".join(steps)))
    record = run.finish(
        {
            NETWORKS: learnt.conformations.save(run.path),
            "particles": len(learnt.z),
            "history": history,
            "waited": waited / seconds,
            "component_shares": shares.tolist(),
        },
        cluster={} if client is None else describe_cluster(client),
    )
    write_report(
        run.path / "report.html", "Heterogeneity", run.target.name, headline, sections, record
    )
    return record


def make_volumes(
    folder: Path,
    output: Path,
    *,
    client: Client | None = None,
    command: Sequence[str],
    points_file: Path | None = None,
    images: Sequence[int] = (),
    path: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> RunRecord:
    """Make volumes of networks that were trained.

    Parameters
    ----------
    folder : Path
        As `run_heterogeneity_training` made it.
    output : Path
        The folder: `volumes/*.mrc`, `volumes/z.npy`, `run.json`.
    client : Client, optional
        Whose workers make them; by default this process does.
    command : sequence of str
    points_file : Path, optional
        Values of the latent variable, see `volumes.read_points`.
    images : sequence of int, optional
        Places of particles in the stack, from 0: the volumes at their latent variables.
    path : int, optional
        So many volumes along the first principal component.
    overwrite : bool, optional
    progress : Progress, optional
    say : callable, optional
        Told in words of workers that are stuck.

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        Not one of the three ways to say where is given; the folder or the points are none.
    """
    if sum((points_file is not None, bool(images), path is not None)) != 1:
        raise InputError("give one of --z, --image and --path: at which points to make volumes.")
    if path is not None and path < 2:
        raise InputError(f"--path is {path}, expected 2 volumes or more.")
    conformations = read_conformations(folder)
    zdim = conformations.architecture.zdim
    if not zdim:
        raise InputError(
            f"{folder}: was trained with --zdim 0, so there is one volume, in its folder volumes."
        )
    if points_file is not None:
        points = read_points(points_file, zdim)
    else:
        z = read_latent(folder)
        for place in images:
            if not 0 <= place < len(z):
                raise InputError(f"--image is {place}, expected 0 to {len(z) - 1}.")
        points = z[list(images)] if path is None else points_along(z, path)
    with output_folder(
        output,
        command=command,
        parameters={"points": points.tolist()},
        inputs=[folder, *([points_file] if points_file else [])],
        seed=None,
        overwrite=overwrite,
        client=client,
    ) as run:
        with run.stage("volumes"):
            made = VolumeFolder.at(run.path / "volumes", points)
            write_volumes(folder, [made], client=client, progress=progress, say=say)
        return run.finish(
            {"volumes": len(points)}, cluster={} if client is None else describe_cluster(client)
        )
