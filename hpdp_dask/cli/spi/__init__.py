"""`hpdp spi`: single-particle imaging at X-ray lasers."""

from __future__ import annotations

import typer

from hpdp_dask.cli.spi.select import select_command

app = typer.Typer(
    help="Single-particle imaging at X-ray lasers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("select")(select_command)
