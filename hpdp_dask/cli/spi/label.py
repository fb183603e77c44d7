"""`hpdp spi label`: a page on which people label frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.pages import Address, Browser, Port, keep_open


def label_command(
    frames: Annotated[Path, typer.Argument(help="A Zarr stack of frames.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The log of labels, a line for each; goes on with one that is there.",
            show_default=False,
        ),
    ],
    classes: Annotated[
        str,
        typer.Option(
            help="Names of the classes, in the order of the keys 1 to 9: *single,other*.",
            show_default=False,
        ),
    ],
    person: Annotated[
        str | None,
        typer.Option(help="Who labels; the page asks too. By default the user's name."),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(
            help="Probability that a classifier must reach, for the running estimate.", min=0, max=1
        ),
    ] = 0.75,
    address: Address = "127.0.0.1",
    port: Port = 0,
    browser: Browser = True,
    seed: options.Seed = 0,
) -> None:
    """Label diffraction patterns on a page, by keyboard.

    The page shows those first that teach a classifier most and tells how good it would be. Every
    label is saved as it is made; several people may write one log at a time. Ctrl-C ends it.

    Example: `hpdp spi label frames.zarr --classes single,other -o labels.jsonl`
    """
    from hpdp_dask.web.label_page import LabelPage

    page = LabelPage(
        frames,
        classes.split(","),
        output,
        person=person,
        threshold=threshold,
        seed=seed,
        address=address,
        port=port,
    )
    try:
        keep_open(page.server, address, browser)
    finally:
        page.stop()
    print(f"\nLabels: {output} ({page.summary})")
