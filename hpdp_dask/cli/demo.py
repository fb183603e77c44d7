"""`hpdp demo`: the whole way from simulated particles to a sharp map, or the main job of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster

#: How the specimen is imaged: pixels, Å, SNR, and the B-factor of the images in Å².
NUMBER, BOX, PIXEL_SIZE, SNR, ENVELOPE = 3000, 128, 2.0, 0.05, 100.0

#: 2D classes and their iterations, and the sphere that holds the particle, share of the box.
CLASSES, ITERATIONS, DIAMETER = 16, 20, 0.75

#: Of `--quick`.
QUICK_NUMBER, QUICK_SNR = 5000, 0.03


@runs_on_a_cluster
def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path(
        "demo"
    ),
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Only reconstruct, from the true poses: half a minute."),
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(help="PDB or mmCIF file in place of the built-in phantom, a D3 hexamer."),
    ] = None,
    symmetry: Annotated[
        str | None, typer.Option(help="Point group of the model; by default found from its chains.")
    ] = None,
    ctf: Annotated[
        Path | None, typer.Option(help="Measured CTFs: a .star file, or an .npz of cryoDRGN's.")
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            help=f"Of particles; by default {NUMBER:,}, or {QUICK_NUMBER:,} with --quick."
        ),
    ] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Go the whole way on simulated particles and compare the map with the truth.

    Simulates a data set, imports and normalises it as you would yours, sorts it into 2D classes,
    keeps the good ones, makes an initial model from nothing, refines it, sharpens the map, and
    compares it with the truth. Takes a few minutes on two cores.

    Example: `hpdp demo --model 8bk7.cif.gz --ctf empiar10028_ctf.npz`
    """
    from hpdp_dask.cryoem.fsc import describe_resolution
    from hpdp_dask.cryoem.simulate import CtfRange, Settings
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.demonstration import run_demo
    from hpdp_dask.workflow.simulation import choose_specimen
    from hpdp_dask.workflow.whole_way import Steps, run_whole_way

    began = time.perf_counter()
    specimen = choose_specimen(model, symmetry, None, None)
    settings = Settings(
        number=number or (QUICK_NUMBER if quick else NUMBER),
        box=BOX,
        pixel_size=PIXEL_SIZE,
        snr=QUICK_SNR if quick else SNR,
        ctf=ctf or CtfRange(),
        shift_sigma=4.0,
        envelope=ENVELOPE,
        seed=seed,
    )
    with (
        where.connected(
            reads=[model, ctf],
            writes=output,
            overwrite=overwrite,
        ) as client,
        Progress(closing_lines=quick) as progress,
    ):
        common = {
            "client": client,
            "command": ["hpdp", *sys.argv[1:]],
            "inputs": [path for path in (model, ctf) if path],
            "overwrite": overwrite,
            "progress": progress,
        }

        def say(sentence: str) -> None:
            print(sentence if sentence.startswith(" ") else f"{sentence} ...", flush=True)

        if quick:
            record = run_demo(specimen, output, settings, say=say, **common)
            report = output / "report.html"
        else:
            steps = Steps(CLASSES, ITERATIONS, DIAMETER * BOX * PIXEL_SIZE)
            record = run_whole_way(specimen, output, settings, steps, say=say, **common)
            report = output / "summary" / "report.html"
    found = record.results
    print(f"Resolution of the half-maps (FSC 0.143): {describe_resolution(found['resolution'])}")
    against = describe_resolution(found["resolution_against_truth"])
    print(f"Against the truth (FSC 0.5): {against}")
    print(f"Report: {report.absolute()}")
    print(f"Done in {time.perf_counter() - began:.0f} s.")
