"""Where a command runs: the options that say so, and the cluster that they name."""

from __future__ import annotations

import functools
import gc
import inspect
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from hpdp_dask.cli.options import WHERE, Interrupted, MemoryLimit
from hpdp_dask.errors import InputError

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Where:
    """The options of every command that runs on a cluster; see `runs_on_a_cluster`."""

    cluster: Annotated[
        str,
        typer.Option(
            help="Where to run: *local*, *local-cuda*, a cluster that was started to stay, a site "
            "by name or the path of its YAML, or a scheduler as *tls://host:port*.",
            rich_help_panel=WHERE,
        ),
    ] = "local"
    workers: Annotated[
        int | None,
        typer.Option(
            help="By default one a core, or one a GPU, on this machine, and what the YAML of a "
            "site says.",
            rich_help_panel=WHERE,
        ),
    ] = None
    memory_limit: MemoryLimit = None
    wait: Annotated[
        float,
        typer.Option(
            help="Seconds that the first job of a site may take to start.", rich_help_panel=WHERE
        ),
    ] = 300.0
    performance_report: Annotated[
        Path | None,
        typer.Option(
            help="An HTML file to write: every task, when and where it ran.",
            rich_help_panel=WHERE,
            show_default=False,
        ),
    ] = None

    @contextmanager
    def connected(
        self,
        *,
        reads: Sequence[Path | None],
        writes: Path | None = None,
        adds: Sequence[str] = (),
        overwrite: bool = False,
    ) -> Iterator[Client]:
        """Connect to the cluster for the time of a command and tell where its dashboard is.

        What the command reads must be there, and what it writes must not, nor the variables that
        it adds to the stack of frames that it reads first, before anybody waits for workers.
        """
        for path in reads:
            if path is not None and not path.exists():
                raise InputError(f"{path}: there is no such file or folder.")
        if writes is not None and os.path.lexists(writes) and not overwrite:
            raise InputError(
                f"{writes}: exists already; choose another name, or --overwrite to replace it."
            )
        if adds:
            from hpdp_dask.stacks.frames import check_absent

            assert reads[0] is not None
            check_absent(reads[0], adds, overwrite)
        # Collecting among what is only imported, and never garbage, costs a short command half a
        # second at its start and its end.
        gc.disable()
        from hpdp_dask.cluster import connect, reports

        gc.freeze()
        gc.enable()
        if self.performance_report is not None:
            reports.check_report(self.performance_report)
        try:
            with ExitStack() as stack:
                here = self.cluster in ("local", "local-cuda")
                with _interrupts_at_the_end() if here else nullcontext():
                    client = stack.enter_context(
                        connect(
                            self.cluster,
                            workers=self.workers,
                            memory_limit=self.memory_limit,
                            wait=self.wait,
                        )
                    )
                print(f"Dashboard: {client.dashboard_link}", flush=True)
                with reports.performance_report(client, self.performance_report, called()):
                    yield client
        except KeyboardInterrupt as interrupt:
            raise Interrupted(interrupt) from interrupt


@contextmanager
def _interrupts_at_the_end() -> Iterator[None]:
    """Raise at the end an interrupt that comes meanwhile; a second one is raised at once.

    Worker processes that are half started cannot be ended in order.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        restore()

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.getsignal(each) for each in signals}
    for each in signals:
        signal.signal(each, note)
    try:
        yield
    finally:
        restore()
    for number in came:
        signal.raise_signal(number)


def runs_on_a_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Where`, in place of its parameter `where`.

    Typer reads options off a function's signature, one by one.
    """
    hints = get_type_hints(Where, include_extras=True)
    parameters = [
        *(
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command, eval_str=True).parameters.values()
            if parameter.name != "where"
        ),
        *(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=hints[field.name],
            )
            for field in fields(Where)
        ),
    ]

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        where = Where(**{field.name: given.pop(field.name) for field in fields(Where)})
        command(**given, where=where)

    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # PEP 362
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def called() -> str:
    """Give the command as it was typed, for what tells later how a result was made."""
    return shlex.join(["hpdp", *sys.argv[1:]])
