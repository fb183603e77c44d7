"""What is kept of the cluster after a run: Dask's performance report, and the logs of workers."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import Any

from distributed import Client, Scheduler

from hpdp_dask.errors import InputError
from hpdp_dask.formats.writing import write_whole

#: Of each worker's log, the last so many lines are kept.
LOG_LINES = 2000

#: What Panel, where it is imported in the scheduler's process, adds to every page of Bokeh: scripts
#: of a server of its own, which a file does not have.
_PANEL_SCRIPTS = re.compile(r'<script[^>]* src="static/extensions/panel/[^"]*">\s*</script>')

#: Seconds that workers have to send their logs.
_PATIENCE = 10.0


@contextmanager
def performance_report(client: Client, path: Path | None, command: str = "") -> Iterator[None]:
    """Write Dask's performance report on what a block does: one page that needs nothing else.

    It is written also if the block fails: then it may say why.

    Parameters
    ----------
    client : distributed.Client
    path : Path or None
        The HTML file, which is replaced; None: no report.
    command : str, optional
        What was called, for the page.

    Raises
    ------
    InputError
        The file cannot be written, which is found before the block runs.
    """
    if path is None:
        yield
        return
    check_report(path)
    began, monitored = time.time(), client.run_on_scheduler(_begin)
    try:
        yield
    except BaseException:
        # what went wrong in the block matters more
        with suppress(Exception):
            _write_report(client, path, began, monitored, command)
        raise
    _write_report(client, path, began, monitored, command)


def check_report(path: Path) -> None:
    """See that a performance report can be written: before anybody waits for workers.

    Raises
    ------
    InputError
        It is no name of a page, or there is no such folder.
    """
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise InputError(f"{path}: expected the name of an .html file for the performance report.")
    if not path.absolute().parent.is_dir():
        raise InputError(
            f"{path}: the folder {path.absolute().parent} for the performance report does not "
            "exist; make it first."
        )


def _write_report(client: Client, path: Path, began: float, monitored: int, command: str) -> None:
    if client.status != "running":
        raise InputError(
            f"{path}: the scheduler is gone, and with it what the performance report tells of."
        )
    page: str = client.sync(
        client.scheduler.performance_report,
        start=began,
        last_count=monitored,
        # Dask puts it into the page as it is
        code=escape(command),
        mode="inline",
    )
    text = _PANEL_SCRIPTS.sub("", page).encode()
    with write_whole(path, len(text)) as file:
        file.write(text)


def _begin(dask_scheduler: Scheduler) -> int:
    """Let the scheduler keep the stream of tasks, and count what it has measured of itself."""
    dask_scheduler.get_task_stream(start=0, stop=0)
    return int(dask_scheduler.monitor.count)


@contextmanager
def worker_logs(client: Client, folder: Path) -> Iterator[None]:
    """Keep the logs of workers in a folder when a block ends, also if it fails.

    Parameters
    ----------
    client : distributed.Client
    folder : Path
        For `NAME.log` of each worker and `scheduler.log`, which tells of workers that came and
        went as well; made if there is anything to keep.
    """
    try:
        yield
    finally:
        keep_worker_logs(client, folder)


def keep_worker_logs(client: Client, folder: Path) -> list[Path]:
    """Write the last lines that each worker and the scheduler have logged into a folder.

    What cannot be had any more, of a worker or a scheduler that is gone, is left out: logs must
    not fail a run.

    Parameters
    ----------
    client : distributed.Client
    folder : Path
        Made if there is anything to keep.

    Returns
    -------
    list of Path
        The files.
    """
    if client.status != "running":
        return []
    try:
        found = client.sync(_collect, client, callback_timeout=_PATIENCE)
        found["scheduler"] = client.run_on_scheduler(_changes) + found["scheduler"]
    except (OSError, TimeoutError):
        return []
    files = []
    try:
        for name, lines in found.items():
            if lines:
                folder.mkdir(parents=True, exist_ok=True)
                files.append(folder / f"{name}.log")
                files[-1].write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")
    except OSError as error:
        warnings.warn(f"{folder}: the logs of the workers cannot be written: {error}", stacklevel=2)
    return files


async def _collect(client: Client) -> dict[str, list[str]]:
    """Ask the scheduler for all logs: lines, oldest first, under the name of a file."""
    identity = await client.scheduler.identity(n_workers=-1)
    names = {
        address: _file_name(str(worker["name"])) for address, worker in identity["workers"].items()
    }
    workers = await client.scheduler.worker_logs(n=LOG_LINES, workers=None, nanny=False)
    found = {
        f"worker-{names.get(address, _file_name(address))}": _lines(logs)
        for address, logs in workers.items()
        # of one that is going there is a message in place of lines
        if not isinstance(logs, str)
    }
    found["scheduler"] = _lines(await client.scheduler.logs(n=LOG_LINES))
    return found


def _lines(logs: Sequence[Any]) -> list[str]:
    return [str(line) for _, line in reversed(logs)]


def _changes(dask_scheduler: Scheduler) -> list[str]:
    """Tell which workers came and went; runs on the scheduler, some of whose events stay there."""
    return [
        f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))} {event['action']} "
        f"{event.get('worker', '')}"
        for at, event in dask_scheduler.get_events("all")
        if isinstance(event, dict) and event.get("action") in ("add-worker", "remove-worker")
    ]


def _file_name(name: str) -> str:
    """Make a name of a file of a worker's, which may be its address."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"
