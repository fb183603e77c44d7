"""`hpdp export`, `info`, `validate` and `fsc`: files out, and what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import frame_files, options

ImageFolder = Annotated[
    Path | None,
    typer.Option(help="Where else to look for the images that a .star or .cs file names."),
]
PixelSize = Annotated[float | None, typer.Option(help="Å, where the file does not say.")]


def export_command(
    stack: Annotated[Path, typer.Argument(help="A Zarr stack.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Of particles a .star or .cs file, images go beside it; of frames a .cxi or .emc "
            "file.",
            show_default=False,
        ),
    ],
    images: Annotated[
        bool,
        typer.Option(help="Write the images too; without, the rows name the original files."),
    ] = True,
    overwrite: options.Overwrite = False,
) -> None:
    """Export a stack as RELION or cryoSPARC, EXtra-data's users or Dragonfly read it.

    Poses, CTF and half-sets are those of the stack; all other columns are as they were imported.
    Beside `photons.emc` goes the detector, `photons_det.h5`.

    Example: `hpdp export particles.zarr -o particles.star`

    Example: `hpdp export frames.zarr -o photons.emc`
    """
    if frame_files.are_frames([stack]):
        frame_files.refuse_options({"no_images": not images}, stack, "particles")
        frame_files.export_frame_stack(stack, output, overwrite=overwrite)
        return
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
        Path,
        typer.Argument(
            help="A stack; a .star, .cs, .mrc or .mrcs file; a file or run of frames.",
            show_default=False,
        ),
    ],
    pixel_size: PixelSize = None,
    image_folder: ImageFolder = None,
) -> None:
    """Tell what is in a file: number, box, pixel size, optics, poses, half-sets, geometry, size.

    Example: `hpdp info particles.zarr`
    """
    from rich.console import Console
    from rich.table import Table

    if frame_files.are_frames([path]):
        from hpdp_dask.frames.describe_frames import describe_frames

        described = describe_frames(path)
    else:
        from hpdp_dask.cryoem.describe import describe

        described = describe(path, pixel_size, image_folder)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in described.items():
        table.add_row(name, _spoken(value))
    Console().print(table)


def _spoken(value: object) -> str:
    """Write a value for people: numbers with six digits, lists in a row."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_spoken, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def validate_command(
    path: Annotated[
        Path,
        typer.Argument(
            help="A stack; a .star or .cs file; a file or run of frames.", show_default=False
        ),
    ],
    pixel_size: PixelSize = None,
    image_folder: ImageFolder = None,
) -> None:
    """Check particles or frames before hours are spent on them, with advice.

    Pixel size, box, optics, contrast, centring, normalisation, and whether the CTF is plausible;
    of frames geometry, mask, the order of trains, and whether the numbers are photons.
    Exits 1 if something is wrong, 0 otherwise.

    Example: `hpdp validate particles.zarr`
    """
    from rich.console import Console

    console = Console(highlight=False, markup=True)
    signs = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "error": "[red]error[/]"}
    if frame_files.are_frames([path]):
        from hpdp_dask.frames.validate_frames import validate_frames

        findings = validate_frames(path)
    else:
        from hpdp_dask.cryoem.validate import validate

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
