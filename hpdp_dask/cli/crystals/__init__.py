"""`hpdp crystals`: single shots of crystals at X-ray lasers and synchrotrons."""

from __future__ import annotations

import typer

from hpdp_dask.cli.crystals.predict import predict_command
from hpdp_dask.cli.crystals.simulate import simulate_command
from hpdp_dask.cli.crystals.spots import spots_command
from hpdp_dask.cli.crystals.train import train_command
from hpdp_dask.cli.crystals.watch import watch_command

app = typer.Typer(
    help="Single shots of crystals: hits, resolution, several lattices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# what is asked most comes first
app.command("predict")(predict_command)
app.command("watch")(watch_command)
app.command("spots")(spots_command)
app.command("simulate")(simulate_command)
app.command("train")(train_command)
