"""`hpdp crystals simulate`: stills with known truth."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster

_CRYSTAL, _INSTRUMENT = "Crystals", "Instrument"

_RANGE = "a number, or two with a comma"


class Set(StrEnum):
    """How several lattices of a shot lie to each other."""

    uniform = "uniform"
    gaussian = "gaussian"
    single = "single"


@runs_on_a_cluster
def simulate_command(
    output: options.OutputFolder,
    settings: Annotated[
        Path | None,
        typer.Option(
            help="YAML of names and values as the manual lists them; options go before it.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", "-n", help="Shots; 10,000 by default.")
    ] = None,
    set_name: Annotated[
        Set | None,
        typer.Option(
            "--set",
            help="Of several lattices: *uniform*, any rotation from 1 to 180 degrees; *gaussian*, "
            "by angles of standard deviation 0.1, 1 or 10 degrees; *single*, none. By default "
            "uniform.",
        ),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option(help=f"Å; {_RANGE}; 1.4,6 by default.", rich_help_panel=_CRYSTAL)
    ] = None,
    blanks: Annotated[
        float | None,
        typer.Option(help="Share without a crystal; 0.15 by default.", rich_help_panel=_CRYSTAL),
    ] = None,
    several: Annotated[
        float | None,
        typer.Option(
            help="Share of crystals with several lattices; 0.5 by default.",
            rich_help_panel=_CRYSTAL,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="PDB or mmCIF of a crystal structure, whose cell and structure factors all "
            "crystals have; by default they are drawn.",
            show_default=False,
            rich_help_panel=_CRYSTAL,
        ),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            help="*pilatus-6m*, *pilatus-2m*, *eiger-16m*, *eiger-9m*, *eiger-4m*, *ccd-4096*, "
            "*ccd-3840*; once for each.",
            show_default=False,
            rich_help_panel=_INSTRUMENT,
        ),
    ] = None,
    distance: Annotated[
        str | None,
        typer.Option(help=f"m; {_RANGE}; 0.1,0.4 by default.", rich_help_panel=_INSTRUMENT),
    ] = None,
    wavelength: Annotated[
        str | None,
        typer.Option(help=f"Å; {_RANGE}; 0.85,1.35 by default.", rich_help_panel=_INSTRUMENT),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help=f"Photons in a pixel of 172 µm at 0.25 m; {_RANGE}; 0.3,60 by default.",
            rich_help_panel=_INSTRUMENT,
        ),
    ] = None,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="Whole frames of one instrument, as an import would leave them, in place of "
            "quadrants for training.",
        ),
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Of every random choice; 0 by default.")] = None,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Simulate stills of protein crystals, with the truth.

    Writes shots.zarr, quadrants as networks see them, or with --whole frames.zarr; report.html;
    run.json. Every shot has an instrument, a crystal and a background of its own, drawn from
    ranges that real beamlines span.

    Example: `hpdp crystals simulate -o training --images 20000 --set uniform`
    """
    from hpdp_dask.crystallography.simulate import read_settings
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.crystals_simulation import FRAMES, SHOTS, run_crystals_simulation
    from hpdp_dask.workflow.settings_file import merge_settings

    given = {
        "number": images,
        "misorientation": None if set_name is None else set_name.value,
        "resolution": resolution,
        "blanks": blanks,
        "several": several,
        "model": None if model is None else str(model),
        "detectors": detector or None,
        "distance": distance,
        "wavelength": wavelength,
        "background": background,
        "seed": seed,
    }
    wanted = read_settings(merge_settings(settings, {"": given}), str(settings or "simulate"))
    files = [path for path in (settings, wanted.model and Path(wanted.model)) if path]
    with (
        where.connected(reads=files, writes=output, overwrite=overwrite) as client,
        Progress() as progress,
    ):
        record = run_crystals_simulation(
            wanted,
            output,
            whole=whole,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            inputs=files,
            overwrite=overwrite,
            progress=progress,
        )
    counted = ", ".join(f"{count:,} {name}" for name, count in record.results["kinds"].items())
    print(f"Simulated: {output / (FRAMES if whole else SHOTS)} ({counted})")
    print(f"Report: {output / 'report.html'}")
