"""`hpdp spi simulate`: frames with known truth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster

_PARTICLES, _BEAM, _DETECTOR = "What is hit", "Beam and background", "Detector"


@runs_on_a_cluster
def simulate_command(
    output: options.OutputFolder,
    settings: Annotated[
        Path | None,
        typer.Option(
            help="YAML with sections species, kinds, beam, background, detector, readout; options "
            "go before it.",
            show_default=False,
        ),
    ] = None,
    number: Annotated[
        int | None, typer.Option("--number", "-n", help="Of frames; 1000 by default.")
    ] = None,
    species: Annotated[
        list[str] | None,
        typer.Option(
            help="*icosahedron:size=600,spread=0.05,name=virus*, with size the diameter of the "
            "sphere of equal volume in Å; or *sphere:*, *spheroid:*, *rod:*, with aspect=, or "
            "*model:file=4bed.pdb.gz*; share= and photons= too. Once for each.",
            rich_help_panel=_PARTICLES,
            show_default=False,
        ),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            help="How often frames show what: "
            "*single=0.65,double=0.1,aggregate=0.05,droplet=0.05,empty=0.15*.",
            rich_help_panel=_PARTICLES,
            show_default=False,
        ),
    ] = None,
    photons: Annotated[
        float | None,
        typer.Option(
            help="Mean of single hits on good pixels; 10,000 by default.", rich_help_panel=_BEAM
        ),
    ] = None,
    fluence: Annotated[
        float | None,
        typer.Option(
            help="Photons per µm² at particles, in place of --photons.", rich_help_panel=_BEAM
        ),
    ] = None,
    fluence_shape: Annotated[
        float | None,
        typer.Option(
            help="Of the gamma distribution of the fluence; 2 by default, 0: all pulses alike.",
            rich_help_panel=_BEAM,
        ),
    ] = None,
    faintest: Annotated[
        float | None,
        typer.Option(
            help="Particles cross the beam up to where it has fallen to this share; 1 by default.",
            rich_help_panel=_BEAM,
        ),
    ] = None,
    background: Annotated[
        float | None,
        typer.Option(
            help="Photons per good pixel and frame; 0.02 by default.", rich_help_panel=_BEAM
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(help="Rows and columns; *128x128* by default.", rich_help_panel=_DETECTOR),
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="m; 0.0006 by default.", rich_help_panel=_DETECTOR)
    ] = None,
    distance: Annotated[
        float | None,
        typer.Option(help="From the sample, m; 0.586 by default.", rich_help_panel=_DETECTOR),
    ] = None,
    wavelength: Annotated[
        float | None, typer.Option(help="Å; 7.75 by default.", rich_help_panel=_DETECTOR)
    ] = None,
    gap: Annotated[
        int | None,
        typer.Option(
            help="Rows across the middle that are not there; 2 by default.",
            rich_help_panel=_DETECTOR,
        ),
    ] = None,
    beam_stop: Annotated[
        float | None,
        typer.Option(
            help="Diameter of the shadow around the beam, pixels; 8 by default.",
            rich_help_panel=_DETECTOR,
        ),
    ] = None,
    geometry: Annotated[
        Path | None,
        typer.Option(
            help="CrystFEL .geom of a detector of modules, in place of a flat one.",
            rich_help_panel=_DETECTOR,
            show_default=False,
        ),
    ] = None,
    dead_pixels: Annotated[
        float | None,
        typer.Option(help="Share that is dark or hot; 0 by default.", rich_help_panel=_DETECTOR),
    ] = None,
    adu: Annotated[
        bool,
        typer.Option(
            "--adu",
            help="Give ADU with common mode and noise, in place of photons.",
            rich_help_panel=_DETECTOR,
        ),
    ] = False,
    gain: Annotated[
        float | None,
        typer.Option(help="ADU for a photon; 130 by default.", rich_help_panel=_DETECTOR),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of every random choice; 0 by default.")] = None,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Simulate diffraction of single particles, with the truth.

    Writes frames.zarr, as an import would leave it with true_class, true_kind, true_size and more
    beside, and report.html. Without options it is like a day at LCLS: a virus of 600 Å,
    nanoparticles and rods, single hits, doubles, aggregates, droplets and empty shots.

    Example: `hpdp spi simulate -o sim -n 5000 --species icosahedron:size=600,name=virus`
    """
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.spi.simulate import read_settings
    from hpdp_dask.workflow.spi_simulation import gather_settings, run_spi_simulation

    sections: dict[str, dict[str, Any]] = {
        "": {
            "number": number,
            "seed": seed,
            "species": species or None,
            "dead_pixels": dead_pixels,
        },
        "beam": {
            "photons": photons,
            "fluence": fluence,
            "shape": fluence_shape,
            "faintest": faintest,
        },
        "background": {"photons": background},
        "detector": {
            "geometry": geometry,
            "shape": shape,
            "pixel_size": pixel_size,
            "distance": distance,
            "wavelength": wavelength,
            "gap": gap,
            "beam_stop": beam_stop,
        },
        "readout": {"gain": gain},
    }
    told = gather_settings(settings, sections, kinds)
    if adu:
        told.setdefault("readout", {})
    chosen, wanted = read_settings(told, str(settings or "simulate"))
    files = [settings, geometry, *(each.file for each in chosen)]
    with (
        where.connected(reads=files, writes=output, overwrite=overwrite) as client,
        Progress() as progress,
    ):
        record = run_spi_simulation(
            chosen,
            wanted,
            output,
            client=client,
            command=["hpdp", *sys.argv[1:]],
            inputs=[path for path in files if path],
            overwrite=overwrite,
            progress=progress,
        )
    for warning in record.warnings:
        print(f"Note: {warning}")
    counted = ", ".join(f"{count:,} {name}" for name, count in record.results["labels"].items())
    print(f"Simulated: {output / 'frames.zarr'} ({counted})")
    print(f"Report: {output / 'report.html'}")
