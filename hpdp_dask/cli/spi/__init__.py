"""`hpdp spi`: single-particle imaging at X-ray lasers."""

from __future__ import annotations

import typer

from hpdp_dask.cli.spi.background import background_command
from hpdp_dask.cli.spi.calibrate import calibrate_command
from hpdp_dask.cli.spi.center import center_command
from hpdp_dask.cli.spi.classify import classify_command
from hpdp_dask.cli.spi.features import features_command
from hpdp_dask.cli.spi.hits import hits_command
from hpdp_dask.cli.spi.label import label_command
from hpdp_dask.cli.spi.select import select_command
from hpdp_dask.cli.spi.simulate import simulate_command
from hpdp_dask.cli.spi.size import size_command
from hpdp_dask.cli.spi.stream import stream_command

app = typer.Typer(
    help="Single-particle imaging at X-ray lasers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# in the order in which they are needed
app.command("simulate")(simulate_command)
app.command("calibrate")(calibrate_command)
app.command("hits")(hits_command)
app.command("background")(background_command)
app.command("center")(center_command)
app.command("size")(size_command)
app.command("features")(features_command)
app.command("label")(label_command)
app.command("classify")(classify_command)
app.command("select")(select_command)
app.command("stream")(stream_command)
