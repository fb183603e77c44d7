"""`hpdp crystals predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpdp_dask.cli import geometry_options as given
from hpdp_dask.cli import options
from hpdp_dask.cli.where import Where, runs_on_a_cluster

if TYPE_CHECKING:
    import pandas as pd


@runs_on_a_cluster
def predict_command(
    model: Annotated[
        str,
        typer.Argument(
            help="The folder of a model, or the name of one that comes with hpdp: *small*.",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            help="CBF, SMV, MarCCD, Eiger, HDF5 or CXI files, folders of such, or Zarr stacks of "
            "frames.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The table to write, .parquet or .csv; that of data sets gets *_data_sets* into "
            "its name.",
            show_default=False,
        ),
    ],
    quadrants: Annotated[
        int, typer.Option(help="Quadrants of each image to look at: 1, 2 or 4.")
    ] = 4,
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
    """Ask a trained network of diffraction images: a hit, one lattice or several, how fine.

    A row for each image: `resolution` (Å) with the ends of its interval of 90 %,
    `several_lattices_probability`, `hit_probability`. A blank has no resolution.

    Example: `hpdp crystals predict small run12/*.cbf -o run12.parquet`
    """
    from hpdp_dask.crystallography.image_table import table_paths, write_tables
    from hpdp_dask.crystallography.predict import predict_measure
    from hpdp_dask.crystallography.prediction_table import predict_images
    from hpdp_dask.dataflow.progress import Progress

    measure = predict_measure(model, quadrants)
    table_paths(output, overwrite)
    with (
        where.connected(
            reads=[*images, geometry, mask], writes=output, overwrite=overwrite
        ) as client,
        Progress() as progress,
    ):
        found = predict_images(
            measure,
            images,
            client=client,
            progress=progress,
            geometry=geometry,
            mask=mask,
            wavelength=wavelength,
            distance=distance,
            pixel_size=pixel_size,
            center=center,
        )
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
        "resolution": ("Resolution, Å", "{:.2f}"),
        "resolution_spread": ("Spread", "{:.2f}"),
        "resolution_best_tenth": ("Best tenth", "{:.2f}"),
        "several_lattices": ("Several lattices", "{:.0%}"),
    }
    shown = [name for name in titles if name in table]
    print_table(
        [titles[name][0] for name in shown],
        [
            ["-" if value != value else titles[name][1].format(value) for name, value in row]
            for row in (
                zip(shown, row, strict=True) for row in table[shown].itertuples(index=False)
            )
        ],
    )
