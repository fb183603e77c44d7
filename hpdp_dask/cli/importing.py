"""`hpdp import`: files of particles or of detector frames become a stack."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import frame_files, options
from hpdp_dask.cli.where import Where, runs_on_a_cluster

#: Headings of options.
PARTICLES, FRAMES = "Particles", "Frames"


class Precision(StrEnum):
    """How images are kept in a stack."""

    float32 = "float32"
    float16 = "float16"
    rounded = "rounded"


class Unit(StrEnum):
    """What the numbers of frames are."""

    photons = "photons"
    adu = "adu"


@runs_on_a_cluster
def import_command(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Star files, a .cs file and its passthrough files, or .mrcs stacks of particles; "
            "of frames CBF, SMV or MarCCD images or folders of them, Eiger's master files, CXI, "
            ".emc, HDF5 or NumPy files, or folders of runs of European XFEL.",
            show_default=False,
        ),
    ],
    output: options.OutputStack,
    pixel_size: Annotated[
        float | None,
        typer.Option(help="Where the file does not say: of particles in Å, of a detector in m."),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="*float32* as it is; *float16* half the size; *rounded* to 10 bits, compressed.",
            rich_help_panel=PARTICLES,
        ),
    ] = Precision.float32,
    voltage: Annotated[
        float | None,
        typer.Option(help="kV, where the file does not say.", rich_help_panel=PARTICLES),
    ] = None,
    spherical_aberration: Annotated[
        float | None,
        typer.Option(help="mm, where the file does not say.", rich_help_panel=PARTICLES),
    ] = None,
    amplitude_contrast: Annotated[
        float | None,
        typer.Option(help="Fraction, where the file does not say.", rich_help_panel=PARTICLES),
    ] = None,
    image_folder: Annotated[
        Path | None,
        typer.Option(
            help="Where else to look for the images that a .star or .cs file names.",
            rich_help_panel=PARTICLES,
        ),
    ] = None,
    invert_contrast: Annotated[
        bool,
        typer.Option(
            "--invert-contrast",
            help="For images with black particles.",
            rich_help_panel=PARTICLES,
        ),
    ] = False,
    drop_bad: Annotated[
        bool,
        typer.Option(
            "--drop-bad",
            help="Leave out images with NaN, infinity or one value only.",
            rich_help_panel=PARTICLES,
        ),
    ] = False,
    metadata_only: Annotated[
        bool,
        typer.Option(
            "--metadata-only",
            help="Poses and CTF without the images.",
            rich_help_panel=PARTICLES,
        ),
    ] = False,
    geometry: Annotated[
        Path | None,
        typer.Option(
            help="A .geom file of CrystFEL, or a detector file of Dragonfly.",
            rich_help_panel=FRAMES,
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="HDF5 or NumPy: 0 good, anything else bad; beside the masks of the files.",
            rich_help_panel=FRAMES,
        ),
    ] = None,
    wavelength: Annotated[
        float | None, typer.Option(help="Å, instead of the files'.", rich_help_panel=FRAMES)
    ] = None,
    distance: Annotated[
        float | None,
        typer.Option(help="Of the detector, m, instead of the files'.", rich_help_panel=FRAMES),
    ] = None,
    center: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="COLUMN ROW",
            help="Of the beam on a flat detector, pixels from 0; by default the middle.",
            rich_help_panel=FRAMES,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Which frames of a file that has several, or which detector of a run.",
            rich_help_panel=FRAMES,
        ),
    ] = None,
    unit: Annotated[
        Unit | None,
        typer.Option(
            help="What the numbers are; by default integers are photons, real numbers and raw "
            "data ADU.",
            rich_help_panel=FRAMES,
        ),
    ] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Import particles or detector frames into a Zarr stack.

    Everything that the headers tell is checked first. Images stream: memory does not grow with
    their number. Columns that hpdp does not use are kept and written back by `hpdp export`.

    Example: `hpdp import Refine3D/job020/run_data.star -o particles.zarr`

    Example: `hpdp import proc/r0035 --geometry agipd.geom -o frames.zarr`

    Example: `hpdp import thau_*.cbf -o frames.zarr`
    """
    of_frames = {
        "geometry": geometry,
        "mask": mask,
        "wavelength": wavelength,
        "distance": distance,
        "center": center,
        "dataset": dataset,
        "unit": None if unit is None else unit.value,
    }
    if frame_files.are_frames(inputs):
        of_particles = {
            "precision": precision is not Precision.float32,
            "voltage": voltage is not None,
            "spherical_aberration": spherical_aberration is not None,
            "amplitude_contrast": amplitude_contrast is not None,
            "image_folder": image_folder is not None,
            "invert_contrast": invert_contrast,
            "drop_bad": drop_bad,
            "metadata_only": metadata_only,
        }
        frame_files.refuse_options(of_particles, inputs[0], "particles")
        frame_files.import_frame_files(
            inputs,
            output,
            overwrite=overwrite,
            where=where,
            given=of_frames | {"pixel_size": pixel_size},
        )
        return
    frame_files.refuse_options(
        {name: value is not None for name, value in of_frames.items()}, inputs[0], "frames"
    )
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
