"""The command `hpdp`: its groups, and what becomes of a user's mistake."""

from __future__ import annotations

import io
import signal
import sys
import threading
from types import FrameType
from typing import Annotated

import typer

from hpdp_dask import __version__
from hpdp_dask.cli import cluster, cryoem, crystals, heterogeneity, spi
from hpdp_dask.cli.classes import classify2d_command, select_command
from hpdp_dask.cli.demo import demo_command
from hpdp_dask.cli.files import (
    export_command,
    fsc_command,
    info_command,
    validate_command,
)
from hpdp_dask.cli.heterogeneity_agreement import agree_command
from hpdp_dask.cli.heterogeneity_analysis import analyze_command
from hpdp_dask.cli.heterogeneity_analysis import select_command as select_conformations_command
from hpdp_dask.cli.heterogeneity_assessment import assess_command
from hpdp_dask.cli.heterogeneity_explore import explore_command
from hpdp_dask.cli.importing import import_command
from hpdp_dask.cli.initial_model import initial_model_command
from hpdp_dask.cli.options import Interrupted, Terminated
from hpdp_dask.cli.refine import refine_command
from hpdp_dask.cli.submit import SUBMIT_SETTINGS, jobs_command, submit_command
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
cryoem.app.command("classify2d")(classify2d_command)
cryoem.app.command("select")(select_command)
cryoem.app.command("initial-model")(initial_model_command)
cryoem.app.command("refine")(refine_command)
heterogeneity.app.command("analyze")(analyze_command)
heterogeneity.app.command("select")(select_conformations_command)
heterogeneity.app.command("explore")(explore_command)
heterogeneity.app.command("assess")(assess_command)
heterogeneity.app.command("agree")(agree_command)
cryoem.app.add_typer(heterogeneity.app, name="heterogeneity")
app.add_typer(cryoem.app, name="cryoem")
app.add_typer(spi.app, name="spi")
app.add_typer(crystals.app, name="crystals")
app.add_typer(cluster.app, name="cluster")
app.command("submit", context_settings=SUBMIT_SETTINGS)(submit_command)
app.command("jobs")(jobs_command)


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


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    # batch schedulers send it again, to all processes of a job: once is enough, and what ends in
    # order must not be interrupted
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _is_ending)
    raise Terminated


def _is_ending(_signal: int, _frame: FrameType | None) -> None:
    pass


def main() -> None:
    """Run the command line: a user's mistake is one sentence and exit code 2."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
        # the shell was closed; nohup means that this is as it should be
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # Å on a terminal that has none
    try:
        app()
    except InputError as error:
        print(f"hpdp: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as interrupt:
        print(f"hpdp: {interrupt}", file=sys.stderr)
        sys.exit(interrupt.exit_code)
