"""The command `hpdp`: its groups, and what becomes of a user's mistake."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hpdp_dask import __version__
from hpdp_dask.cli import cryoem
from hpdp_dask.cli.demo import demo_command
from hpdp_dask.cli.files import (
    export_command,
    fsc_command,
    import_command,
    info_command,
    validate_command,
)
from hpdp_dask.errors import InputError

app = typer.Typer(
    name="hpdp",
    help="From cryo-EM and XFEL images to three-dimensional structure, on Dask.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("import")(import_command)
app.command("export")(export_command)
app.command("info")(info_command)
app.command("validate")(validate_command)
app.command("fsc")(fsc_command)
app.command("demo")(demo_command)
app.add_typer(cryoem.app, name="cryoem")


def _print_version(asked: bool) -> None:
    if asked:
        print(f"hpdp {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print and exit."),
    ] = False,
) -> None:
    """From cryo-EM and XFEL images to three-dimensional structure, on Dask."""


def main() -> None:
    """Run the command line: a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"hpdp: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        notes = getattr(interrupt, "__notes__", [])
        print("\n".join(["hpdp: interrupted.", *notes]), file=sys.stderr)
        sys.exit(130)
