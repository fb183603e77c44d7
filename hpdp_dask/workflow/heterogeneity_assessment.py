"""The recipe of `hpdp cryoem heterogeneity assess`: how sure is the heterogeneity of a stack?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpdp_dask.cryoem.heterogeneity.assessment import (
    Assessment,
    AssessmentSettings,
    assess,
    check_assessment,
)
from hpdp_dask.cryoem.heterogeneity.table import stack_of, trained_input
from hpdp_dask.cryoem.heterogeneity.variability import (
    enlarge,
    network_variability,
    shared_variability,
)
from hpdp_dask.cryoem.heterogeneity.volumes import (
    Conformations,
    read_conformations,
    read_latent,
    read_points,
)
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import write_map
from hpdp_dask.stacks.store import open_stack
from hpdp_dask.workflow.fingerprint import fingerprint
from hpdp_dask.workflow.folder import RunFolder, output_folder
from hpdp_dask.workflow.reconstruction import describe_cluster
from hpdp_dask.workflow.record import RUN_FILE

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.record import RunRecord

#: Squared distance of weights, in units of their widths, from which on the report warns.
_WIDE = 1.3

#: Gain from a wrong side, as a share of that of the directions that carry evidence, from which on
#: it warns.
_ASIDE = 0.1


@dataclass(frozen=True)
class Trained:
    """A training whose latent variables are assessed too.

    Attributes
    ----------
    conformations : Conformations
    z, width : (n, zdim) ndarray
        Of the images: latent variable, and the standard deviation of its posterior.
    """

    conformations: Conformations
    z: np.ndarray
    width: np.ndarray

    @property
    def reliability(self) -> np.ndarray:
        """Give the share of each latent axis that is not uncertainty; (zdim,)."""
        spread = self.z.var(0, dtype=np.float64)
        return np.asarray(spread / (spread + np.square(self.width, dtype=np.float64).mean(0)))


def run_assessment(
    source: Path,
    output: Path,
    settings: AssessmentSettings,
    *,
    client: Client | None,
    command: Sequence[str],
    stack: Path | None = None,
    volumes: int = 64,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> RunRecord:
    """Assess the heterogeneity of a stack, and of a training on it, with a report.

    Parameters
    ----------
    source : Path
        A stack with poses and CTF, or a folder that `hpdp cryoem heterogeneity train` made.
    output : Path
        The folder: `variability.mrc` (and of a training `variability_networks.mrc`),
        `axes/axis_001.mrc` and on, `gains.npy`, `shared.npy`, `report.html`, `run.json`.
    settings : AssessmentSettings
    client : Client or None
        None: in this process.
    command : sequence of str
        The words of the command line, for the record.
    stack : Path, optional
        Where the stack of a training is, if it was moved.
    volumes : int, optional
        Of a training, whose variance is told.
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
        If the stack, the folder or a setting is not as it must be.
    """
    if volumes < 2:
        raise InputError(f"--volumes is {volumes}, expected 2 or more.")
    stack_path, trained = _open(source, stack)
    number = check_stack(stack_path, settings)
    with output_folder(
        output,
        command=command,
        parameters={**asdict(settings), "volumes": volumes if trained else None},
        inputs=[stack_path, *([source] if trained else [])],
        seed=settings.seed,
        overwrite=overwrite,
        resume=resume,
        client=client,
    ) as run:
        scratch = run.scratch / "assessment"
        scratch.mkdir(exist_ok=True)
        with run.stage("assess"):
            assessed = assess(
                stack_path, settings, scratch, client=client, progress=progress, say=say
            )
            run.images(number)
        with run.stage("variability"):
            maps = _write_results(run, assessed)
            if trained is not None:
                varied = network_variability(
                    trained.conformations, trained.z, assessed.maps, volumes, settings.seed
                )
                maps["variability_networks"] = varied
                write_map(run.path / "variability_networks.mrc", varied, assessed.pixel_size)
        return _write_report(run, assessed, trained, maps, client)


def check_stack(stack_path: Path, settings: AssessmentSettings) -> int:
    """See that a stack can be assessed, before any work; give the number of its images."""
    stack = open_stack(stack_path)
    check_assessment(stack, settings)
    return int(stack.sizes["particle"])


def _open(source: Path, stack: Path | None) -> tuple[Path, Trained | None]:
    """Tell the stack, and read the training if it is a folder of one."""
    if not (source / RUN_FILE).is_file():
        if stack is not None:
            raise InputError(
                f"{source}: --stack is for a folder of hpdp cryoem heterogeneity train, which "
                "this is not; give the stack alone."
            )
        return source, None
    conformations = read_conformations(source)
    if not conformations.architecture.zdim:
        raise InputError(
            f"{source}: was trained with --zdim 0, so there is no latent variable; give the stack "
            "itself to ask whether there should be."
        )
    path = stack_of(source, stack)
    if fingerprint(path).sha256 != trained_input(source)["sha256"]:
        raise InputError(
            f"{path}: is not the stack that {source} was trained on, or was changed since; give "
            "that stack with --stack, or train again."
        )
    z = read_latent(source)
    width = read_points(source / "z_width.npy", z.shape[1])
    if len(width) != len(z):
        raise InputError(
            f"{source / 'z_width.npy'}: has {len(width):,} rows, z.npy {len(z):,}; they are of "
            "different trainings, copy the whole folder again."
        )
    return path, Trained(conformations, z, width)


def _write_results(run: RunFolder, assessed: Assessment) -> dict[str, np.ndarray]:
    """Write maps and the numbers of images; give the maps by name."""
    agreement, box = assessed.agreement, len(assessed.maps.half1)
    np.save(run.path / "gains.npy", assessed.found.gains.astype(np.float32))
    shared = 0.5 * np.add(*agreement.places)[:, : agreement.shared]
    np.save(run.path / "shared.npy", shared.astype(np.float32))
    maps = {"variability": shared_variability(agreement, assessed.maps, assessed.radius)}
    write_map(run.path / "variability.mrc", maps["variability"], assessed.pixel_size)
    if agreement.shared:
        (run.path / "axes").mkdir()
    for k in range(agreement.shared):
        first, second = (enlarge(axes[k], box) for axes in agreement.axes)
        name = f"axis_{k + 1:03d}"
        maps[name] = 0.5 * (first + second)
        write_map(run.path / "axes" / f"{name}.mrc", maps[name], assessed.pixel_size)
    return maps


def cautions(assessed: Assessment) -> list[str]:
    """Say what a person should beware of in an assessment."""
    verdict, found = assessed.verdict, []
    count = len(verdict.halves[0].gains)
    if verdict.directions == count:
        found.append(
            f"All {count} directions carry evidence, so there may be more: ask for more "
            "--directions."
        )
    aside = max(np.maximum(half.controls, 0.0).sum() for half in verdict.halves)
    if verdict.heterogeneous and aside > _ASIDE * verdict.gain:
        found.append(
            "Directions gain evidence from a wrong side too: the noise of the images is not as the "
            "model has it (bad images, neighbours, carbon?), so take the evidence with care."
        )
    width_check = float(assessed.found.distance.mean())
    if width_check > _WIDE:
        found.append(
            f"Weights from one half of an image's samples and the other are {width_check:.2f} "
            "times as far apart, squared, as their widths say: widths are too small."
        )
    if verdict.heterogeneous and not assessed.agreement.shared:
        found.append(
            "Directions carry evidence, but the half-sets share no axis: it may be many weak "
            "motions, or errors of the images."
        )
    return found


def _write_report(
    run: RunFolder,
    assessed: Assessment,
    trained: Trained | None,
    maps: dict[str, np.ndarray],
    client: Client | None,
) -> RunRecord:
    from hpdp_dask.workflow.heterogeneity_assessment_charts import spoken_chance
    from hpdp_dask.workflow.heterogeneity_assessment_figures import report_sections
    from hpdp_dask.workflow.report import write_report

    verdict, agreement = assessed.verdict, assessed.agreement
    for sentence in cautions(assessed):
        run.warn(sentence)
    headline = {
        "Do particles differ?": "yes" if verdict.heterogeneous else "not seen",
        "p-value of all being alike": spoken_chance(verdict.p_value),
        "Directions that carry evidence": f"{verdict.directions} of {len(agreement.correlations)}",
        "Gain of an image in evidence": f"{verdict.gain:.3g} nats",
        "Axes that both halves share": str(agreement.shared),
        "Looked at, to": f"{assessed.resolution:.3g} Å",
    }
    with run.stage("draw"):
        sections = report_sections(assessed, maps, trained)
    record = run.finish(
        {
            "heterogeneous": verdict.heterogeneous,
            "p_value": verdict.p_value,
            "directions": verdict.directions,
            "gain": verdict.gain,
            "halves": [asdict(half) for half in verdict.halves],
            "shared_axes": agreement.shared,
            "correlations": agreement.correlations,
            "chance_correlation": agreement.chance,
            "reliability": agreement.reliability[: agreement.shared],
            "width_check": float(assessed.found.distance.mean()),
            "resolution": assessed.resolution,
            **({} if trained is None else {"latent_reliability": trained.reliability}),
        },
        cluster={} if client is None else describe_cluster(client),
    )
    write_report(
        run.path / "report.html",
        "Is it heterogeneous?",
        run.target.name,
        headline,
        sections,
        record,
    )
    return record
