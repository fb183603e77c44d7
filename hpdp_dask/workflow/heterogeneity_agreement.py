"""The recipe of `hpdp cryoem heterogeneity agree`: do two trainings on half-sets find the same?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hpdp_dask.cryoem.fsc import write_fsc
from hpdp_dask.cryoem.heterogeneity.half_trainings import HalfTraining, check_halves, train_halves
from hpdp_dask.cryoem.heterogeneity.latent_agreement import (
    LatentAgreement,
    VolumeAgreement,
    latent_agreement,
    volume_agreement,
)
from hpdp_dask.cryoem.heterogeneity.stage import HeterogeneitySettings
from hpdp_dask.cryoem.heterogeneity.table import stack_of, trained_input
from hpdp_dask.cryoem.heterogeneity.volumes import LATENT_FILE, NETWORKS
from hpdp_dask.dataflow.training import TrainingSettings
from hpdp_dask.dataflow.training.learner import ADJUSTABLE
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import write_map
from hpdp_dask.stacks.store import open_stack
from hpdp_dask.workflow.fingerprint import fingerprint
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.heterogeneity import tell_epoch, write_particles
from hpdp_dask.workflow.reconstruction import describe_cluster
from hpdp_dask.workflow.record import RUN_FILE, read_run, write_run

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord

#: Most places at which volumes are compared.
_MOST_PLACES = 100


def run_agreement(
    source: Path,
    output: Path,
    *,
    client: Client | None,
    command: Sequence[str],
    zdim: int | None = None,
    epochs: int | None = None,
    rate: float | None = None,
    places: int = 6,
    seed: int = 0,
    stack: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> RunRecord:
    """Train networks on each half-set by itself and tell how far they agree, with a report.

    Parameters
    ----------
    source : Path
        A folder that `hpdp cryoem heterogeneity train` made, whose settings are taken; or a stack
        with poses and CTF.
    output : Path
        The folder: `half1` and `half2`, each as a training leaves it, with the latent variables
        of all images; `fsc.csv`, `report.html`, `run.json`.
    client : Client or None
        None: in this process.
    command : sequence of str
        The words of the command line, for the record.
    zdim, epochs : int, optional
        By default those of the training, and for a stack those of `HeterogeneitySettings`.
    rate : float, optional
        Likewise; may be another one with `resume`.
    places : int, optional
        At which volumes are compared.
    seed : int, optional
        Of the first training; that of the second is greater by one.
    stack : Path, optional
        Where the stack of a training is, if it was moved.
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
        If the stack, the folder or a setting is not as it must be, or a training failed.
    """
    stack_path, settings = _open(source, stack)
    training = replace(settings.training, seed=seed)
    training = training if epochs is None else replace(training, epochs=epochs)
    training = training if rate is None else replace(training, rate=rate)
    settings = replace(settings, zdim=settings.zdim if zdim is None else zdim, training=training)
    opened = open_stack(stack_path)
    check_halves(opened, settings)
    if not 2 <= places <= _MOST_PLACES:
        raise InputError(f"--places is {places}, expected 2 to {_MOST_PLACES}.")
    with output_folder(
        output,
        command=command,
        parameters={**asdict(settings), "places": places},
        inputs=[stack_path],
        seed=seed,
        overwrite=overwrite,
        resume=resume,
        adjustable=[f"training.{name}" for name in ADJUSTABLE],
        say=say,
        client=client,
    ) as run:
        scratch = run.scratch / "halves"
        scratch.mkdir(exist_ok=True)
        with run.stage("learn"):
            halves = train_halves(
                stack_path,
                settings,
                scratch,
                client=client,
                progress=progress,
                tell=None if say is None else lambda row: say(tell_epoch(row)),
                say=say,
            )
            run.images(opened.sizes["particle"] * settings.training.epochs)
        with run.stage("compare"):
            latent = latent_agreement(halves)
            volumes = volume_agreement(halves, places)
            for number, half in enumerate(halves):
                own = {**asdict(settings), "training": {**asdict(training), "seed": seed + number}}
                folder = run.path / f"half{number + 1}"
                _write_half(folder, run, opened, half, own)
                _write_volumes(folder / "volumes", volumes, number)
            write_fsc(run.path / "fsc.csv", volumes.curves, volumes.pixel_size)
        return _write_report(run, halves, latent, volumes, client)


def _open(source: Path, stack: Path | None) -> tuple[Path, HeterogeneitySettings]:
    """Tell the stack and the settings."""
    if not (source / RUN_FILE).is_file():
        if stack is not None:
            raise InputError(
                f"{source}: --stack is for a folder of hpdp cryoem heterogeneity train, which "
                "this is not; give the stack alone."
            )
        return source, HeterogeneitySettings()
    settings = _read_settings(source)
    if not settings.zdim:
        raise InputError(
            f"{source}: was trained with --zdim 0, so there is no latent variable to agree on; "
            "give the stack itself, and a --zdim."
        )
    path = stack_of(source, stack)
    if fingerprint(path).sha256 != trained_input(source)["sha256"]:
        raise InputError(
            f"{path}: is not the stack that {source} was trained on, or was changed since; give "
            "that stack with --stack, or the stack alone."
        )
    return path, settings


def _read_settings(folder: Path) -> HeterogeneitySettings:
    """Read how a training was done."""
    given: Mapping[str, Any] = read_run(folder).parameters
    try:
        training = TrainingSettings(**given["training"])
        return HeterogeneitySettings(**{**given, "training": training})
    except (KeyError, TypeError):
        raise InputError(
            f"{folder}: run.json does not tell of a training by this hpdp; give a folder that hpdp "
            "cryoem heterogeneity train made, or a stack."
        ) from None


def _write_half(
    folder: Path,
    run: RunFolder,
    stack: xr.Dataset,
    half: HalfTraining,
    parameters: Mapping[str, Any],
) -> None:
    """Write the networks of a half and what they say of all images, as a training does."""
    folder.mkdir(exist_ok=True)
    np.save(folder / LATENT_FILE, half.z)
    np.save(folder / "z_width.npy", half.width)
    write_particles(folder, stack, half.z)
    results = {
        NETWORKS: half.conformations.save(folder),
        "particles": len(half.z),
        "history": half.history,
    }
    done = {"parameters": dict(parameters), "results": results, "ended": datetime.now(UTC)}
    write_run(run.record.model_copy(update=done), folder)


def _write_volumes(folder: Path, agreement: VolumeAgreement, number: int) -> None:
    folder.mkdir(exist_ok=True)
    for place, volume in enumerate(agreement.volumes[number], start=1):
        write_map(folder / f"volume_{place:03d}.mrc", volume, agreement.pixel_size)
    np.save(folder / LATENT_FILE, agreement.points[number])


def _write_report(
    run: RunFolder,
    halves: tuple[HalfTraining, HalfTraining],
    latent: LatentAgreement,
    volumes: VolumeAgreement,
    client: Client | None,
) -> RunRecord:
    from hpdp_dask.cryoem.fsc import describe_resolution
    from hpdp_dask.workflow.heterogeneity_agreement_figures import report_sections
    from hpdp_dask.workflow.report import write_report

    whole = np.array([volumes.resolutions(each) for each in volumes.fsc])
    motion = volumes.resolutions(volumes.motion)
    if not latent.shared:
        run.warn(
            "The two trainings agree on no direction: what each shows as motion may be noise. Ask "
            "hpdp cryoem heterogeneity assess whether the particles differ at all."
        )
    headline = {
        "Directions that both found": f"{latent.shared} of {len(latent.correlations)}",
        "Correlation along the first": f"{latent.correlations[0]:.3f}",
        "by all samples": f"{latent.together[0]:.3f}",
        "Volumes agree to (FSC 0.143)": _range_of(whole[:, 1]),
        "What moves, to (FSC 0.143)": describe_resolution(motion[1]),
    }
    with run.stage("draw"):
        sections = report_sections(halves, latent, volumes)
    record = run.finish(
        {
            "shared": latent.shared,
            "correlations": latent.correlations,
            "correlations_by_all_samples": latent.together,
            "chance_correlation": latent.chance,
            "curve_correlation": latent.curve,
            "curve_correlation_by_all_samples": latent.curve_together,
            "resolution_05": whole[:, 0],
            "resolution_0143": whole[:, 1],
            "motion_resolution_05": motion[0],
            "motion_resolution_0143": motion[1],
        },
        cluster={} if client is None else describe_cluster(client),
    )
    write_report(
        run.path / "report.html",
        "Do two trainings agree?",
        run.target.name,
        headline,
        sections,
        record,
    )
    return record


def _range_of(resolutions: np.ndarray) -> str:
    low, high = f"{resolutions.min():.2f}", f"{resolutions.max():.2f}"
    return f"{low} Å" if low == high else f"{low} to {high} Å"
