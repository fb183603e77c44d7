"""`hpdp spi label`: a page on which people label frames."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from hpdp_dask.cli import options


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
    address: Annotated[
        str,
        typer.Option(
            help="Of this machine, on which to listen; *0.0.0.0* lets others come, too, who know "
            "the whole address of the page."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="By default one that is free.", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
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
        print(f"Page: {page.url}", flush=True)
        if os.environ.get("SSH_CONNECTION") and address == "127.0.0.1":
            there = f"{page.server.port}:127.0.0.1:{page.server.port} {socket.gethostname()}"
            print(f"From your own machine: ssh -L {there}, then open the same address.", flush=True)
        if browser and _has_browser():
            import webbrowser

            webbrowser.open(page.url)
        page.server.wait()
    except KeyboardInterrupt:  # how it is ended
        pass
    finally:
        page.stop()
    print(f"\nLabels: {output} ({page.summary})")


def _has_browser() -> bool:
    """Tell whether there is a screen; browsers in the terminal would take it over."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform == "linux":
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True
