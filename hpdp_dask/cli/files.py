"""`hpdp import`, `export`, `info`, `validate` and `fsc`: files in, files out, what is in them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster

ImageFolder = Annotated[
    Path | None,
    typer.Option(help="Where else to look for the images that a .star or .cs file names."),
]
PixelSize = Annotated[float | None, typer.Option(help="Å, where the file does not say.")]


class Precision(StrEnum):
    """How images are kept in a stack."""

    float32 = "float32"
    float16 = "float16"
    rounded = "rounded"


@runs_on_a_cluster
def import_command(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Star files, a .cs file and its passthrough files, or .mrcs stacks.",
            show_default=False,
        ),
    ],
    output: options.OutputStack,
    precision: Annotated[
        Precision,
        typer.Option(
            help="*float32* as it is; *float16* half the size; *rounded* to 10 bits, compressed."
        ),
    ] = Precision.float32,
    pixel_size: PixelSize = None,
    voltage: Annotated[float | None, typer.Option(help="kV, where the file does not say.")] = None,
    spherical_aberration: Annotated[
        float | None, typer.Option(help="mm, where the file does not say.")
    ] = None,
    amplitude_contrast: Annotated[
        float | None, typer.Option(help="Fraction, where the file does not say.")
    ] = None,
    image_folder: ImageFolder = None,
    invert_contrast: Annotated[
        bool, typer.Option("--invert-contrast", help="For images with black particles.")
    ] = False,
    drop_bad: Annotated[
        bool,
        typer.Option("--drop-bad", help="Leave out images with NaN, infinity or one value only."),
    ] = False,
    metadata_only: Annotated[
        bool, typer.Option("--metadata-only", help="Poses and CTF without the images.")
    ] = False,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Import particles into a Zarr stack.

    Everything that the headers tell is checked first. Images stream: memory does not grow with
    their number. Columns that hpdp does not use are kept and written back by `hpdp export`.

    Example: `hpdp import Refine3D/job020/run_data.star -o particles.zarr`
    """
    from hpdp_dask.cryoem.import_particles import import_particles
    from hpdp_dask.dataflow.progress import Progress

    with (
        where.connected(
            reads=[*inputs],
            writes=output,
            overwrite=overwrite,
        ) as client,
        Progress() as progress,
    ):
        summary = import_particles(
            inputs,
            output,
            client=client,
            precision=precision.value,
            pixel_size=pixel_size,
            voltage=voltage,
            spherical_aberration=spherical_aberration,
            amplitude_contrast=amplitude_contrast,
            image_folder=image_folder,
            invert_contrast=invert_contrast,
            drop_bad=drop_bad,
            metadata_only=metadata_only,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    for warning in summary.warnings:
        print(f"Note: {warning}")
    if summary.dropped:
        print(f"Left out {len(summary.dropped):,} images with NaN, infinity or one value only:")
        print("\n".join(f"    {name}" for name in summary.dropped))
    box = f", {summary.box}x{summary.box}" if summary.box else ", no images"
    print(f"Stack: {summary.path} ({summary.number:,} particles{box})")


def export_command(
    stack: Annotated[Path, typer.Argument(help="A Zarr stack.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A .star or .cs file; images go beside it.", show_default=False
        ),
    ],
    images: Annotated[
        bool,
        typer.Option(help="Write the images too; without, the rows name the original files."),
    ] = True,
    overwrite: options.Overwrite = False,
) -> None:
    """Export a stack as RELION or cryoSPARC reads it.

    Poses, CTF and half-sets are those of the stack; all other columns are as they were imported.

    Example: `hpdp export particles.zarr -o particles.star`
    """
    from hpdp_dask.cryoem.export_particles import export_particles
    from hpdp_dask.dataflow.progress import Progress

    with Progress() as progress:
        summary = export_particles(
            stack, output, images=images, overwrite=overwrite, progress=progress
        )
    for warning in summary.warnings:
        print(f"Note: {warning}")
    beside = f" with {summary.image_path}" if summary.image_path else ""
    print(f"Exported: {summary.path}{beside} ({summary.number:,} particles)")


def info_command(
    path: Annotated[
        Path, typer.Argument(help="A stack, .star, .cs, .mrc or .mrcs file.", show_default=False)
    ],
    pixel_size: PixelSize = None,
    image_folder: ImageFolder = None,
) -> None:
    """Tell what is in a file: number, box, pixel size, optics, poses, half-sets, size.

    Example: `hpdp info particles.zarr`
    """
    from rich.console import Console
    from rich.table import Table

    from hpdp_dask.cryoem.describe import describe

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in describe(path, pixel_size, image_folder).items():
        table.add_row(name, _spoken(value))
    Console().print(table)


def _spoken(value: object) -> str:
    """Write a value for people: numbers with six digits, lists in a row."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_spoken, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def validate_command(
    path: Annotated[
        Path, typer.Argument(help="A stack, or a .star or .cs file.", show_default=False)
    ],
    pixel_size: PixelSize = None,
    image_folder: ImageFolder = None,
) -> None:
    """Check particles before hours are spent on them, with advice.

    Pixel size, box, optics, contrast, centring, normalisation, and whether the CTF is plausible.
    Exits 1 if something is wrong, 0 otherwise.

    Example: `hpdp validate particles.zarr`
    """
    from rich.console import Console

    from hpdp_dask.cryoem.validate import validate

    console = Console(highlight=False, markup=True)
    signs = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "error": "[red]error[/]"}
    findings = validate(path, pixel_size, image_folder)
    for finding in findings:
        console.print(f"{signs[finding.level]} {finding.topic}:", end=" ", soft_wrap=True)
        advice = f"; {finding.advice}" if finding.advice else ""
        console.print(f"{finding.message}{advice}", markup=False, soft_wrap=True)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def fsc_command(
    a: Annotated[Path, typer.Argument(help="A map.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="The map to compare it with.", show_default=False)],
    mask: Annotated[
        Path | None, typer.Option(help="A soft mask; its own correlation is taken out.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the curves to this .csv file.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print *name value* lines for other programs.")
    ] = False,
    seed: options.Seed = 0,
) -> None:
    """Correlate two maps shell by shell and tell their resolution.

    Between half-maps the resolution is where the curve falls to 0.143, against a reference to
    0.5.

    Example: `hpdp fsc half1.mrc half2.mrc --mask mask.mrc`
    """
    from hpdp_dask.cryoem.fsc import compare_maps, describe_resolution, write_fsc

    compared = compare_maps(a, b, mask, seed=seed)
    if output is not None:
        write_fsc(output, compared.curves, compared.pixel_size)
    if plain:
        print(f"resolution_0.5 {compared.resolution_05:.4f}")
        print(f"resolution_0.143 {compared.resolution_0143:.4f}")
        return
    print(f"Resolution at FSC 0.5:   {describe_resolution(compared.resolution_05)}")
    print(f"Resolution at FSC 0.143: {describe_resolution(compared.resolution_0143)}")
    if mask is not None:
        print("Under the mask, with the mask's own correlation taken out.")
