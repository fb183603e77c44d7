"""Pages that commands serve: where they are told of, and how long they stay."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hpdp_dask.web.server import Server

Address = Annotated[
    str,
    typer.Option(
        help="Of this machine, on which to listen; *0.0.0.0* lets others come, too, who know "
        "the whole address of the page."
    ),
]
Port = Annotated[int, typer.Option(help="By default one that is free.", min=0, max=65535)]
Browser = Annotated[bool, typer.Option(help="Open the page in a browser.")]


def keep_open(server: Server, address: str, browser: bool) -> None:
    """Say where a page is, open it, and wait until Ctrl-C.

    Parameters
    ----------
    server : Server
        Of the page.
    address : str
        On which it listens.
    browser : bool
        Whether a browser is wanted.
    """
    try:
        tell_page("Page", server.url, server.port, address)
        if browser and _has_browser():
            import webbrowser

            webbrowser.open(server.url)
        server.wait()
    except KeyboardInterrupt:  # how it is ended
        pass


def tell_page(name: str, url: str, port: int, address: str) -> None:
    """Print where a page is, and how to reach it from another machine."""
    print(f"{name}: {url}", flush=True)
    if os.environ.get("SSH_CONNECTION") and address == "127.0.0.1":
        there = f"{port}:127.0.0.1:{port} {socket.gethostname()}"
        print(f"From your own machine: ssh -L {there}, then open the same address.", flush=True)


def _has_browser() -> bool:
    """Tell whether there is a screen; browsers in the terminal would take it over."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform == "linux":
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True
