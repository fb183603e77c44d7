"""`hpdp cluster`: clusters that outlive the shell, for several commands and notebooks to share."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from hpdp_dask.cli import options
from hpdp_dask.cli.tables import print_table
from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from hpdp_dask.cluster.connection import Connection

app = typer.Typer(
    help="Clusters that outlive the shell, for several commands and notebooks to share.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="Of a running cluster.", show_default=False)]
Where = Annotated[
    str,
    typer.Argument(
        help="*local*, *local-cuda*, or the name or path of a site's YAML file.",
        show_default=False,
    ),
]
_WISH = re.compile(r"(?:(?P<group>[^=]+)=)?(?P<minimum>\d+)(?:\.\.(?P<maximum>\d+))?")


@app.command("start")
def start_command(
    where: Where,
    name: Annotated[
        str | None, typer.Option(help="What to call it; by default as the site or this machine.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="To begin with; by default what the file says.")
    ] = None,
    memory_limit: options.MemoryLimit = None,
    wait: Annotated[
        float, typer.Option(help="Seconds that the first worker may take; 0: do not wait.")
    ] = 300.0,
) -> None:
    """Start a cluster that goes on when this shell ends.

    Other commands use it with *--cluster NAME*, notebooks with `hpdp_dask.connect`, until
    `hpdp cluster stop`. When it cannot start, or no worker comes, nothing is left running.

    Example: `hpdp cluster start slurm-gpu --name beam --workers 4`
    """
    from hpdp_dask.cluster.standing_start import start

    try:
        connection = start(
            where,
            name=name or _default_name(where),
            workers=workers,
            memory_limit=memory_limit,
            wait=wait,
        )
    except KeyboardInterrupt as interrupt:
        raise options.Interrupted(interrupt) from interrupt
    _print_one(connection)


def _default_name(where: str) -> str:
    """Name a cluster after its site, or after this machine."""
    from pathlib import Path

    if where in ("local", "local-cuda"):
        return socket.gethostname().partition(".")[0]
    return Path(where).stem


@app.command("example")
def example_command(
    site: Annotated[str, typer.Argument(help="As *slurm-gpu*.", show_default=False)],
) -> None:
    """Print the YAML of a site, to be changed and kept.

    Example: `hpdp cluster example slurm-gpu > ours.yaml`
    """
    from hpdp_dask.cluster.site import known_sites
    from hpdp_dask.errors import InputError

    known = known_sites()
    if site not in known:
        raise InputError(f"the site {site!r} is not known; the known ones are {', '.join(known)}.")
    print(known[site].read_text(), end="")


@app.command("status")
def status_command(
    name: Annotated[str | None, typer.Argument(help="By default all.", show_default=False)] = None,
) -> None:
    """Tell which clusters run, or what one has and does: workers, memory, tasks, jobs.

    Example: `hpdp cluster status beam`
    """
    if name is None:
        _print_all()
    else:
        _print_one(_found(name))


@app.command("scale")
def scale_command(
    name: Name,
    wish: Annotated[
        str,
        typer.Argument(
            metavar="[GROUP=]N",
            help="Workers: *4*, *gpu=4*, or *gpu=0..8* to follow the work.",
            show_default=False,
        ),
    ],
) -> None:
    """Set the number of workers of a running cluster.

    With two numbers workers come while there is work for them and go when there is none.

    Example: `hpdp cluster scale beam gpu=0..8`
    """
    from hpdp_dask.cluster import standing

    read = _WISH.fullmatch(wish)
    if read is None:
        raise InputError(
            f"{wish!r} is no number of workers; expected N, GROUP=N or GROUP=MINIMUM..MAXIMUM."
        )
    minimum = int(read["minimum"])
    maximum = int(read["maximum"] or minimum)
    if maximum < minimum:
        raise InputError(f"{wish!r}: {maximum} is less than {minimum}; give the smaller first.")
    connection = _found(name)
    standing.scale(connection, read["group"], minimum, maximum)
    print(f"{name} will have {wish.rpartition('=')[2]} workers", end="")
    print(f" in the group {read['group']}." if read["group"] else ".")


@app.command("stop")
def stop_command(name: Name) -> None:
    """End a cluster: its workers, its jobs and its process; or clear what a dead one left.

    Example: `hpdp cluster stop beam`
    """
    from hpdp_dask.cluster import standing

    if standing.stop(_found(name)):
        print(f"{name} has ended.")
    else:
        print(f"{name} had gone already; its file and what waited of its jobs are cleared.")


def _found(name: str) -> Connection:
    from hpdp_dask.cluster.connection import all_connections
    from hpdp_dask.cluster.standing import find

    connection = find(name)
    if connection is None:
        names = ", ".join(known.name for known in all_connections())
        raise InputError(
            f"no cluster {name!r} runs; "
            + (f"these do: {names}." if names else "start one with hpdp cluster start.")
        )
    return connection


def _print_all() -> None:
    from hpdp_dask.cluster import standing
    from hpdp_dask.cluster.connection import all_connections

    connections = all_connections()
    if not connections:
        print("No cluster runs; start one with hpdp cluster start.")
        return
    rows = []
    for connection in connections:
        workers, state = "", "runs"
        try:
            groups = standing.tell(connection).groups
            workers = ", ".join(f"{group.workers} of {group.wanted}" for group in groups)
        except InputError:
            state = "has gone" if connection.gone else "does not answer"
            state += f"; clear: hpdp cluster stop {connection.name}"
        since = f"{connection.started.astimezone():%Y-%m-%d %H:%M}"
        rows.append((connection.name, connection.where, connection.host, since, workers, state))
    print_table(("cluster", "from", "machine", "since", "workers", "state"), rows)


def _print_one(connection: Connection) -> None:
    from hpdp_dask.cluster import standing

    state = standing.tell(connection)
    since = f"{connection.started.astimezone():%Y-%m-%d %H:%M}"
    print(f"Cluster {connection.name} ({connection.where}) on {connection.host} since {since}")
    print(f"Scheduler: {connection.address}, joined by --cluster {connection.name}")
    print(f"Dashboard: {connection.dashboard_link}")
    print(f"    from another machine, first: {connection.tunnel}")
    print_table(
        ("group", "workers", "threads", "memory", "jobs"),
        [
            (
                group.name,
                f"{group.workers} of {group.wanted}",
                str(group.threads),
                group.memory_words,
                standing.describe_jobs(state.scheduler, group),
            )
            for group in state.groups
        ],
    )
    print(f"Tasks: {state.running} running, {state.waiting} waiting, {state.held} results held")
    for group in state.groups:
        if group.refusal:
            print(f"The batch scheduler refused jobs of {group.name}: {group.refusal}")


@app.command("doctor")
def doctor_command(where: Where) -> None:
    """Check a cluster before jobs wait for hours, and say what to change.

    Asks the batch scheduler whether it would take the jobs, without submitting any. Exits 1 if
    something is wrong, 0 otherwise.

    Example: `hpdp cluster doctor slurm-gpu`
    """
    from rich.console import Console

    from hpdp_dask.cluster.doctor import examine

    console = Console(highlight=False)
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    failed = False
    for finding in examine(where):
        console.print(f"[{colours[finding.level]}]{finding.level:4}[/]", end=" ")
        advice = f"; {finding.advice}" if finding.advice else ""
        line = f"{finding.topic}: {finding.message.rstrip('.')}{advice}"
        console.print(line, markup=False, soft_wrap=True)
        failed |= finding.level == "fail"
    if failed:
        raise typer.Exit(1)
