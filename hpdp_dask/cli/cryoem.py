"""`hpdp cryoem`: simulate, normalise, reconstruct, post-process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster

app = typer.Typer(
    help="Single-particle cryo-electron microscopy.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command("simulate")
@runs_on_a_cluster
def simulate_command(
    output: options.OutputFolder,
    model: Annotated[
        Path | None,
        typer.Option(help="PDB or mmCIF file; by default the built-in phantom, a D3 hexamer."),
    ] = None,
    symmetry: Annotated[
        str | None, typer.Option(help="Point group of the model; by default found from its chains.")
    ] = None,
    assembly: Annotated[
        str | None, typer.Option(help="Biological assembly of the model; by default the first.")
    ] = None,
    number: Annotated[int, typer.Option(help="Of particles.")] = 5000,
    box: Annotated[int, typer.Option(help="Pixels a side, even.")] = 128,
    pixel_size: Annotated[float, typer.Option(help="Å.")] = 2.0,
    snr: Annotated[
        float, typer.Option(help="Variance of the signal to that of the noise; 0: no noise.")
    ] = 0.05,
    ctf: Annotated[
        Path | None,
        typer.Option(help="Measured CTFs: a .star file, or an .npz of cryoDRGN's rows."),
    ] = None,
    defocus: Annotated[
        tuple[float, float],
        typer.Option(metavar="LEAST GREATEST", help="Defocus, Å, without --ctf."),
    ] = (8000.0, 22000.0),
    shift_sigma: Annotated[
        float, typer.Option(help="Standard deviation of the shifts along x and y, Å.")
    ] = 4.0,
    resolution: Annotated[
        float | None, typer.Option(help="Finest detail of the specimen, Å; by default Nyquist's.")
    ] = None,
    envelope: Annotated[float, typer.Option(help="B-factor of the images, Å².")] = 0.0,
    defocus_error: Annotated[
        float, typer.Option(help="Standard deviation of the error of the stated defocus, Å.")
    ] = 0.0,
    domain: Annotated[
        str | None,
        typer.Option(help="Part of the model that turns about a hinge: *//A/334-630*."),
    ] = None,
    hinge: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LEAST GREATEST",
            help="Turn the domain by any angle between two, degrees.",
        ),
    ] = None,
    states: Annotated[
        str | None,
        typer.Option(help="Turn the domain to a mixture of angles: *0:3,40:1* is 3 to 1."),
    ] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Simulate particles with known truth, as RELION would leave them.

    Writes particles.star and particles.mrcs with the true poses, truth.star with what else is
    known, and map_true.mrc.

    Example: `hpdp cryoem simulate -o sim --model 8bk7.cif.gz --symmetry D2 --snr 0.03`
    """
    from hpdp_dask.cryoem.simulate import CtfRange, Settings
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.simulation import choose_specimen, read_hinge, run_simulation

    specimen = choose_specimen(model, symmetry, assembly, domain)
    settings = Settings(
        number=number,
        box=box,
        pixel_size=pixel_size,
        snr=snr or None,
        ctf=ctf or CtfRange(defocus=defocus),
        shift_sigma=shift_sigma,
        conformations=read_hinge(hinge, states),
        resolution=resolution,
        envelope=envelope,
        defocus_error=defocus_error,
        seed=seed,
    )
    with (
        where.connected(
            reads=[model, ctf],
            writes=output,
            overwrite=overwrite,
        ) as client,
        Progress() as progress,
    ):
        run_simulation(
            specimen,
            output,
            settings,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            inputs=[path for path in (model, ctf) if path],
            overwrite=overwrite,
            progress=progress,
        )
    print(f"Simulated: {output / 'particles.star'} ({number:,} particles of {specimen.name})")


@app.command("normalize")
@runs_on_a_cluster
def normalize_command(
    stack: Annotated[Path, typer.Argument(help="A Zarr stack.", show_default=False)],
    output: options.OutputStack,
    background_diameter: Annotated[
        float | None,
        typer.Option(help="Circle that holds the particle, Å; by default 0.75 of the box."),
    ] = None,
    invert_contrast: Annotated[
        bool, typer.Option("--invert-contrast", help="For images with black particles.")
    ] = False,
    dust: Annotated[
        float, typer.Option(help="Pixels this many standard deviations off are replaced; 0: none.")
    ] = 5.0,
    box: Annotated[int | None, typer.Option(help="Fourier-crop to this box, pixels, even.")] = None,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Bring images to a background of mean 0 and standard deviation 1.

    Outside a circle that holds the particle. Dust is removed first; on request contrast is
    inverted and the box cropped in Fourier space.

    Example: `hpdp cryoem normalize particles.zarr -o normalized.zarr --box 128`
    """
    from hpdp_dask.cryoem.normalize import normalize
    from hpdp_dask.dataflow.progress import Progress

    with (
        where.connected(
            reads=[stack],
            writes=output,
            overwrite=overwrite,
        ) as client,
        Progress() as progress,
    ):
        normalize(
            stack,
            output,
            client=client,
            background_diameter=background_diameter,
            invert_contrast=invert_contrast,
            dust=dust or None,
            box=box,
            overwrite=overwrite,
            progress=progress,
        )
    print(f"Normalised stack: {output}")


@app.command("reconstruct")
@runs_on_a_cluster
def reconstruct_command(
    particles: Annotated[
        Path,
        typer.Argument(
            help="A Zarr stack, or a .star or .cs file, with poses and CTF.", show_default=False
        ),
    ],
    output: options.OutputFolder,
    symmetry: options.Symmetry = "C1",
    max_resolution: Annotated[
        float | None, typer.Option(help="Leave out what is finer, Å; by default Nyquist's.")
    ] = None,
    truth: options.Truth = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    *,
    where: Where,
) -> None:
    """Reconstruct a map from particles with known poses and CTF.

    Writes two half-maps, their FSC, the map with the Wiener filter that follows from it, and a
    report.

    Example: `hpdp cryoem reconstruct particles.zarr -o map_d2 --symmetry D2`
    """
    from hpdp_dask.cryoem.fsc import describe_resolution
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.workflow.reconstruction import run_reconstruction

    with (
        where.connected(
            reads=[particles, truth],
            writes=output,
            overwrite=overwrite,
        ) as client,
        Progress() as progress,
    ):
        record = run_reconstruction(
            particles,
            output,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            symmetry=symmetry,
            max_resolution=max_resolution,
            truth=truth,
            seed=seed,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
        )
    for warning in record.warnings:
        print(f"Note: {warning}")
    print(f"Resolution (FSC 0.143): {describe_resolution(record.results['resolution'])}")
    if truth is not None:
        against = record.results["resolution_against_truth"]
        print(f"Against the truth (FSC 0.5): {describe_resolution(against)}")
    print(f"Report: {output / 'report.html'}")


@app.command("postprocess")
def postprocess_command(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder with half1.mrc and half2.mrc.", show_default=False),
    ],
    output: options.OutputFolder,
    mask: Annotated[
        str, typer.Option(help="*auto*, or a soft mask from 0 to 1: a map of the same box.")
    ] = "auto",
    mtf: Annotated[
        Path | None, typer.Option(help="Star file with the MTF of the detector, as RELION's.")
    ] = None,
    mtf_pixel_size: Annotated[
        float | None,
        typer.Option(
            help="Å in the specimen of the detector's own pixels; by default the map's pixel size."
        ),
    ] = None,
    b_factor: Annotated[
        float | None,
        typer.Option(help="Å², negative to sharpen; by default fitted to the Guinier plot."),
    ] = None,
    low_pass: Annotated[
        float | None, typer.Option(help="Å; by default the resolution that is found.")
    ] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Mask, measure and sharpen the map of two half-maps.

    Writes the sharpened map, plain and masked, the mask, the FSC corrected for the mask, the
    Guinier plot, and a report.

    Example: `hpdp cryoem postprocess map_d2 -o sharp_d2 --mtf mtf_falcon2_300kV.star`
    """
    from hpdp_dask.cryoem.fsc import describe_resolution
    from hpdp_dask.workflow.postprocessing import run_postprocessing

    record = run_postprocessing(
        folder,
        output,
        command=["hpdp", *sys.argv[1:]],
        mask=None if mask == "auto" else Path(mask),
        mtf=mtf,
        mtf_pixel_size=mtf_pixel_size,
        b_factor=b_factor,
        low_pass=low_pass,
        seed=seed,
        overwrite=overwrite,
    )
    for warning in record.warnings:
        print(f"Note: {warning}")
    found = record.results
    print(f"Resolution (corrected FSC 0.143): {describe_resolution(found['resolution'])}")
    print(f"Without the mask: {describe_resolution(found['resolution_unmasked'])}")
    print(f"B-factor: {found['b_factor']:.0f} Å²")
    print(f"Report: {output / 'report.html'}")
