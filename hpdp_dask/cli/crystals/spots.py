"""`hpdp crystals spots`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdp_dask.cli import geometry_options as given
from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, called, runs_on_a_cluster
from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@runs_on_a_cluster
def spots_command(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="A Zarr stack of frames; with *-o* also CBF, SMV, MarCCD, Eiger, HDF5 or CXI "
            "files, folders of such, and several stacks.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A table to write, .parquet or .csv; by default columns are added to the stack.",
            show_default=False,
        ),
    ] = None,
    lattices: Annotated[
        bool, typer.Option("--lattices", help="Search hits for lattices: ten times the time.")
    ] = False,
    fewest: Annotated[int, typer.Option(help="Spots of a hit.")] = 10,
    geometry: given.Geometry = None,
    mask: given.Mask = None,
    wavelength: given.Wavelength = None,
    distance: given.Distance = None,
    pixel_size: given.PixelSize = None,
    center: given.Center = None,
    overwrite: options.Overwrite = False,
    *,
    where: Where,
) -> None:
    """Find the spots of diffraction images: hits, resolution, ice, and lattices if asked.

    Gives `spot_count`, `spot_resolution` (Å, none for a blank), `ice_rings`, `ice_score`,
    `spot_hit`, `spot_intensity` and `lattice_count` (-1 if not asked) of each image.

    Example: `hpdp crystals spots frames.zarr --lattices`

    Example: `hpdp crystals spots run12/*.cbf -o run12_spots.parquet`
    """
    from hpdp_dask.crystallography.spots import Spots

    if fewest < 1:
        raise InputError(f"A hit of {fewest} spots; expected 1 or more.")
    measure = Spots(fewest, lattices)
    described = {
        "geometry": geometry,
        "mask": mask,
        "wavelength": wavelength,
        "distance": distance,
        "pixel_size": pixel_size,
        "center": center,
    }
    if output is None:
        _add_to_stack(images, measure, described, overwrite, where)
    else:
        _write_table(images, output, measure, described, overwrite, where)


def _add_to_stack(
    images: list[Path], measure: Any, described: dict[str, Any], overwrite: bool, where: Where
) -> None:
    """Add columns to a stack."""
    from hpdp_dask.crystallography.spot_table import summarize_spots
    from hpdp_dask.crystallography.spots import find_spots_of_stack
    from hpdp_dask.dataflow.progress import Progress
    from hpdp_dask.frames.stored_stacks import is_stack

    if len(images) > 1 or not is_stack(images[0]):
        raise InputError(
            f"{images[0]}: columns are added to one Zarr stack at a time; give -o and the name of "
            "a table for files and several stacks."
        )
    told = [name for name, value in described.items() if value is not None]
    if told:
        raise InputError(
            f"{images[0]}: a stack has its geometry; leave --{told[0].replace('_', '-')} out, or "
            "import the frames again with it."
        )
    with (
        where.connected(reads=images, adds=tuple(measure.columns), overwrite=overwrite) as client,
        Progress() as progress,
    ):
        found = find_spots_of_stack(
            images[0],
            measure,
            client=client,
            overwrite=overwrite,
            history={
                "command": called(),
                "parameters": {"fewest": measure.fewest, "lattices": measure.lattices},
            },
            progress=progress,
        )
    _print_data_sets(summarize_spots(found.assign(data_set=images[0].name)))


def _write_table(
    images: list[Path],
    output: Path,
    measure: Any,
    described: dict[str, Any],
    overwrite: bool,
    where: Where,
) -> None:
    """Write a table of images where they lie."""
    from hpdp_dask.crystallography.image_table import table_paths, write_tables
    from hpdp_dask.crystallography.spot_table import tabulate_spots
    from hpdp_dask.dataflow.progress import Progress

    table_paths(output, overwrite)
    reads = [*images, described["geometry"], described["mask"]]
    with (
        where.connected(reads=reads, writes=output, overwrite=overwrite) as client,
        Progress() as progress,
    ):
        found = tabulate_spots(measure, images, client=client, progress=progress, **described)
    written, summary = write_tables(output, found)
    for note in found.notes:
        print(f"Note: {note}")
    _print_data_sets(found.data_sets)
    print(f"Table: {written} ({len(found.images):,} images)")
    print(f"Data sets: {summary}")


def _print_data_sets(table: pd.DataFrame) -> None:
    """Print what was found, a line for each data set."""
    from hpdp_dask.cli.tables import print_table

    titles = {
        "data_set": ("Data set", "{}"),
        "images": ("Images", "{:,}"),
        "hits": ("Hits", "{:,}"),
        "spots": ("Spots", "{:,.0f}"),
        "resolution": ("Resolution, Å", "{:.2f}"),
        "resolution_best_tenth": ("Best tenth", "{:.2f}"),
        "several_lattices": ("Several lattices", "{:.0%}"),
        "ice": ("Ice", "{:.0%}"),
    }
    print_table(
        [title for title, _ in titles.values()],
        [
            [
                "-" if row[name] != row[name] else form.format(row[name])
                for name, (_, form) in titles.items()
            ]
            for row in table.to_dict("records")
        ],
    )
