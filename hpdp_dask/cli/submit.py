"""`hpdp submit` and `hpdp jobs`: whole commands as jobs of a batch scheduler."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpdp_dask.cli.tables import print_table
from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from hpdp_dask.cluster.submitted import Submitted

#: Where the options of the command begin, the options of `submit` have ended.
SUBMIT_SETTINGS = {"allow_interspersed_args": False}
_RUNNER = "hpdp_dask.cli.submitted"
#: Lines of a log that are shown.
_TAIL = 20
_TAIL_BYTES = 65536


def submit_command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND...", help="As after *hpdp*, with its options.", show_default=False
        ),
    ],
    cluster: Annotated[
        str | None,
        typer.Option(
            help="A site, or a cluster that runs: its batch scheduler takes the job, and the "
            "command uses it; by default *local*, a process that outlives the shell.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the job; by default after the command and its output.")
    ] = None,
    walltime: Annotated[
        str | None, typer.Option(help="How long the job may run; by default as the site says.")
    ] = None,
) -> None:
    """Hand a whole command to a batch scheduler.

    The job runs `hpdp COMMAND --cluster SITE`, which starts its workers as further jobs. Its log
    is beside the output. Submit the same again after it was killed, and it goes on from there.

    Example: `hpdp submit --cluster slurm-gpu -- cryoem refine stack.zarr -o out --reference m.mrc`
    """
    from hpdp_dask.cluster import submit

    words, said = _without_cluster(words)
    where = cluster or said or "local"
    verbs, options, given = _parse(words)
    if "cluster" in given:
        words = [*words, "--cluster", where]
    output = given["output"].absolute() if isinstance(given.get("output"), Path) else None
    name = name or "-".join([verbs[-1], *([output.stem] if output else [])])
    partial = None
    if output is not None and "--resume" in options:
        partial = output.with_name(f".{output.name}.partial")
    record = submit.submit(
        where,
        words,
        _RUNNER,
        name=name,
        log=(output.parent if output else Path.cwd()) / f"{name}.log",
        partial=partial,
        walltime=walltime,
    )
    what = f"process {record.job}" if record.scheduler == submit.LOCAL else f"job {record.job}"
    print(f"Submitted: {name} ({what})")
    print(f"Log: {record.log}")
    print(f"Follow it: hpdp jobs {name}")


def _without_cluster(words: list[str]) -> tuple[list[str], str | None]:
    """Take `--cluster` out of the words of a command; its last value is what counts."""
    kept: list[str] = []
    where = None
    rest = iter(words)
    for word in rest:
        if word == "--cluster":
            where = next(rest, None)
        elif word.startswith("--cluster="):
            where = word.partition("=")[2]
        else:
            kept.append(word)
    return kept, where


def _parse(words: list[str]) -> tuple[list[str], set[str], dict[str, Any]]:
    """Check a command as its call would.

    Returns
    -------
    verbs : list of str
        Its name, as `cryoem`, `refine`.
    options : set of str
        That it has.
    given : dict
        Its parameters by name, those left out too.

    Raises
    ------
    InputError
        There is no such command. Wrong options end the program as the command itself would.
    """
    from hpdp_dask.cli.main import app

    command: Any = typer.main.get_command(app)
    verbs: list[str] = []
    while hasattr(command, "commands"):
        word = words[len(verbs)] if len(verbs) < len(words) else None
        if word not in command.commands or [*verbs, word] in (["submit"], ["jobs"], ["cluster"]):
            known = sorted({*command.commands} - {"submit", "jobs", "cluster"})
            raise InputError(
                f"{shlex.join(['hpdp', *words[: len(verbs) + 1]])} is no command to submit; known "
                f"are {', '.join(known)}."
            )
        verbs.append(str(word))
        command = command.commands[word]
    context = command.make_context(" ".join(["hpdp", *verbs]), words[len(verbs) :])
    options = {option for parameter in command.params for option in parameter.opts}
    return verbs, options, context.params


def jobs_command(
    name: Annotated[
        str | None, typer.Argument(help="Show the end of its log.", show_default=False)
    ] = None,
    cancel: Annotated[
        str | None, typer.Option(metavar="NAME", help="Ask a job to end, in order.")
    ] = None,
    forget: Annotated[
        str | None, typer.Option(metavar="NAME", help="Leave out a job that has ended.")
    ] = None,
) -> None:
    """List the commands that were submitted, and how it stands with them.

    Example: `hpdp jobs refine-out`
    """
    from hpdp_dask.cluster import submit
    from hpdp_dask.cluster.submitted import all_submitted, find_submitted

    if cancel is not None:
        submit.cancel(find_submitted(cancel))
        print(f"{cancel} was asked to end.")
    elif forget is not None:
        submit.forget(find_submitted(forget))
        print(f"{forget} is forgotten.")
    elif name is not None:
        _show(find_submitted(name))
    else:
        _list(all_submitted())


def _list(records: list[Submitted]) -> None:
    from hpdp_dask.cluster.submit import follow

    if not records:
        print("No job was submitted; hpdp submit does.")
        return
    rows = []
    for record in records:
        standing = follow(record)
        since = f"{standing.since.astimezone():%Y-%m-%d %H:%M}"
        log = os.path.relpath(record.log)
        rows.append((record.name, record.job or "", str(standing), since, log))
    print_table(("name", "job", "state", "since", "log"), rows)


def _show(record: Submitted) -> None:
    from hpdp_dask.cluster.submit import follow

    standing = follow(record)
    since = f"{standing.since.astimezone():%Y-%m-%d %H:%M}"
    print(f"{record.name}: {standing} since {since}")
    print(f"Job: {record.job} of {record.scheduler}, submitted on {record.host}")
    print(f"Command: {shlex.join(['hpdp', *record.words])}")
    print(f"Folder: {record.folder}")
    print(f"Log: {record.log}")
    said = [*_end_of(record.said), *_end_of(record.log)][-_TAIL:]
    print("\n".join(f"    {line}" for line in said))
    if standing.state in ("killed", "interrupted") and record.partial is not None:
        print("Submit the same command again to go on from what was done.")


def _end_of(path: Path) -> list[str]:
    """Read the last lines of a file, if it is there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
