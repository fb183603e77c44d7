"""`hpdp demo`: the main job, from simulated particles to a map and a report."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options

#: How the specimen is imaged: pixels, Å, SNR, and the B-factor of the images in Å².
NUMBER, BOX, PIXEL_SIZE, SNR, ENVELOPE = 5000, 128, 2.0, 0.03, 100.0


def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path(
        "demo"
    ),
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
    number: Annotated[int, typer.Option(help="Of particles.")] = NUMBER,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    cluster: options.Cluster = "local",
    workers: options.Workers = None,
    memory_limit: options.MemoryLimit = None,
) -> None:
    """Run the main job on simulated particles and compare the map with the truth.

    Simulates a data set, imports it as you would yours, normalises it, reconstructs two
    half-maps, and writes a report. Takes about half a minute on two cores.

    Example: `hpdp demo --model 8bk7.cif.gz --ctf empiar10028_ctf.npz`
    """
    from hpdp_dask.cryoem.fsc import describe_resolution
    from hpdp_dask.cryoem.simulate import CtfRange, Settings
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.demonstration import run_demo
    from hpdp_dask.workflow.simulation import choose_specimen

    began = time.perf_counter()
    specimen = choose_specimen(model, symmetry, None, None)
    settings = Settings(
        number=number,
        box=BOX,
        pixel_size=PIXEL_SIZE,
        snr=SNR,
        ctf=ctf or CtfRange(),
        shift_sigma=4.0,
        envelope=ENVELOPE,
        seed=seed,
    )
    with (
        options.cluster(cluster, workers, memory_limit) as client,
        Progress(closing_lines=True) as progress,
    ):
        record = run_demo(
            specimen,
            output,
            settings,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            say=lambda sentence: print(f"{sentence} ...", flush=True),
            inputs=[path for path in (model, ctf) if path],
            overwrite=overwrite,
            progress=progress,
        )
    found = record.results
    print(f"Resolution of the half-maps (FSC 0.143): {describe_resolution(found['resolution'])}")
    against = describe_resolution(found["resolution_against_truth"])
    print(f"Against the truth (FSC 0.5): {against}")
    print(f"Report: {(output / 'report.html').absolute()}")
    print(f"Done in {time.perf_counter() - began:.0f} s.")
