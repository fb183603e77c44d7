"""Options that several commands share, and how a command finds its cluster."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

Cluster = Annotated[
    str,
    typer.Option(
        help="Where to run: *local*, *local-cuda*, a cluster that was started to stay, a site by "
        "name or the path of its YAML, or a scheduler as *tls://host:port*.",
        rich_help_panel="Where it runs",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="By default one a core, or one a GPU, on this machine, and what the YAML of a site "
        "says.",
        rich_help_panel="Where it runs",
    ),
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(
        help="Of each local worker, as *4GiB*; by default its share of the machine.",
        rich_help_panel="Where it runs",
    ),
]
Wait = Annotated[
    float,
    typer.Option(
        help="Seconds that the first job of a site may take to start.",
        rich_help_panel="Where it runs",
    ),
]
PerformanceReport = Annotated[
    Path | None,
    typer.Option(
        help="An HTML file to write: every task, when and where it ran.",
        rich_help_panel="Where it runs",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from what an interrupted run left.")]
Symmetry = Annotated[
    str, typer.Option(help="Point group in RELION's setting: C1, C4, D2, T, O, I1, ...")
]
Truth = Annotated[Path | None, typer.Option(help="A map to compare with, for simulated particles.")]
Seed = Annotated[int, typer.Option(help="Of every random choice.")]
OutputFolder = Annotated[
    Path, typer.Option("--output", "-o", help="The folder to write.", show_default=False)
]
OutputStack = Annotated[
    Path, typer.Option("--output", "-o", help="The Zarr stack to write.", show_default=False)
]


class Interrupted(Exception):
    """A command was ended by Ctrl-C or by a scheduler; Typer does not see it as its own."""

    def __init__(self, interrupt: KeyboardInterrupt) -> None:
        super().__init__("\n".join(["interrupted.", *getattr(interrupt, "__notes__", [])]))
        self.exit_code = 143 if isinstance(interrupt, Terminated) else 130


class Terminated(KeyboardInterrupt):
    """The process was asked to end, as batch schedulers do at the walltime."""


@contextmanager
def cluster(
    where: str,
    workers: int | None,
    memory_limit: str | None,
    wait: float,
    performance_report: Path | None,
    *,
    reads: Iterable[Path | None],
    writes: Path,
    overwrite: bool,
) -> Iterator[Client]:
    """Connect to a cluster for the time of a command and tell where its dashboard is.

    What the command reads must be there, and what it writes must not, before anybody waits for
    workers.
    """
    for path in reads:
        if path is not None and not path.exists():
            raise InputError(f"{path}: there is no such file or folder.")
    if os.path.lexists(writes) and not overwrite:
        raise InputError(
            f"{writes}: exists already; choose another name, or --overwrite to replace it."
        )
    # Collecting among what is only imported, and never garbage, costs a short command half a
    # second at its start and its end.
    gc.disable()
    from hpdp_dask.cluster import connect, reports

    gc.freeze()
    gc.enable()
    if performance_report is not None:
        reports.check_report(performance_report)
    try:
        with connect(where, workers=workers, memory_limit=memory_limit, wait=wait) as client:
            print(f"Dashboard: {client.dashboard_link}", flush=True)
            called = shlex.join(["hpdp", *sys.argv[1:]])
            with reports.performance_report(client, performance_report, called):
                yield client
    except KeyboardInterrupt as interrupt:
        raise Interrupted(interrupt) from interrupt
