"""The recipe of `hpdp cryoem simulate`: a folder of simulated particles with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hpdp_dask.cryoem.simulate import (
    HingeRange,
    HingeStates,
    Settings,
    Specimen,
    phantom,
    simulate,
    specimen_from_model,
)
from hpdp_dask.errors import InputError
from hpdp_dask.workflow.folder import output_folder
from hpdp_dask.workflow.record import RunRecord

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress


def choose_specimen(
    model: Path | None, symmetry: str | None, assembly: str | None, domain: str | None
) -> Specimen:
    """Make the specimen: an atomic model's, or the built-in phantom without one.

    Raises
    ------
    InputError
        If the file is no model, has not that symmetry, assembly or domain, or there is none.
    """
    if model is None:
        given = {"symmetry": symmetry, "assembly": assembly, "domain": domain}
        for name, value in given.items():
            if value is not None:
                raise InputError(f"--{name} is for an atomic model; give one with --model.")
        return phantom()
    return specimen_from_model(model, symmetry=symmetry, assembly=assembly, domain=domain)


def read_hinge(
    between: tuple[float, float] | None, states: str | None
) -> HingeRange | HingeStates | None:
    """Read how far a domain turns: any angle between two, or states as `0:3,40:1`.

    Raises
    ------
    InputError
        If both are given, or the states cannot be read.
    """
    if between and states:
        raise InputError("--hinge and --states exclude each other; give one of them.")
    if between:
        return HingeRange(*between)
    if not states:
        return None
    try:
        pairs = [[float(number) for number in state.split(":")] for state in states.split(",")]
        angles, weights = zip(*pairs, strict=True)
    except ValueError:
        raise InputError(
            f"--states is {states!r}, expected angles with their weights, as 0:3,40:1."
        ) from None
    return HingeStates(angles, weights)


def run_simulation(
    specimen: Specimen,
    output: Path,
    settings: Settings,
    *,
    client: Client,
    command: Sequence[str],
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Simulate particles into a folder.

    Parameters
    ----------
    specimen : Specimen
    output : Path
        The folder: `particles.star`, `particles.mrcs`, `truth.star`, `map_true.mrc`, `run.json`.
    settings : Settings
    client : Client
    command : sequence of str
        The words of the command line, for the record.
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
        If a setting makes no sense for the specimen; nothing is left then.
    """
    with output_folder(
        output,
        command=command,
        parameters={"specimen": specimen.name, **asdict(settings)},
        inputs=inputs,
        seed=settings.seed,
        overwrite=overwrite,
        client=client,
    ) as run:
        with run.stage("simulate"):
            simulate(run.path, specimen, settings, client=client, progress=progress)
            run.images(settings.number)
        return run.finish({"particles": settings.number, "symmetry": specimen.symmetry})
