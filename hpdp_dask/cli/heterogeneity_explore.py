"""`hpdp cryoem heterogeneity explore`: a page to look at conformations and choose particles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import pages


def explore_command(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder of hpdp cryoem heterogeneity train.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder that chosen particles are saved in.")
    ] = Path("."),
    stack: Annotated[
        Path | None,
        typer.Option(help="Where its stack is now, if it was moved.", show_default=False),
    ] = None,
    address: pages.Address = "127.0.0.1",
    port: pages.Port = 0,
    browser: pages.Browser = True,
) -> None:
    """Look at conformations on a page, and choose particles by a lasso.

    The page shows the latent space by any two columns and coloured by any, the image and the volume
    of the point under the cursor, and saves what was chosen as a stack, a star file or a lasso.
    Ctrl-C ends it.

    Example: `hpdp cryoem heterogeneity explore conformations`
    """
    from hpdp_dask.web.heterogeneity_page import ExplorerPage

    page = ExplorerPage(folder, stack=stack, output=output, address=address, port=port)
    try:
        pages.keep_open(page.server, address, browser)
    finally:
        page.stop()
