"""Bars of progress in a notebook, as plain HTML: they need no widgets and stay when it is saved."""

from __future__ import annotations

import threading
import time
from contextvars import copy_context
from html import escape
from typing import Any

from rich import progress as bars

#: Seconds between two drawings.
_INTERVAL = 0.5

#: Of stages that ended, the last so many stay.
_KEPT = 3

_CELL = "padding: 0 0.8em 0 0; text-align: left; font-variant-numeric: tabular-nums;"


class NotebookBars:
    """Draws the tasks of a `rich.progress.Progress` under a cell; may be told from any thread.

    Parameters
    ----------
    drawn : rich.progress.Progress
        That keeps the counts and rates.
    """

    def __init__(self, drawn: bars.Progress) -> None:
        self._bars = drawn
        self._handle: Any = None
        self._at = 0.0
        # by this the kernel knows the cell, in whatever thread images are counted
        self._context = copy_context()
        self._lock = threading.Lock()

    def refresh(self, *, now: bool = False) -> None:
        """Draw what has changed, if the last drawing was a while ago.

        Parameters
        ----------
        now : bool, optional
            Even if it was not.
        """
        with self._lock:
            if self._bars.tasks and (now or time.monotonic() - self._at >= _INTERVAL):
                self._at = time.monotonic()
                self._context.run(self._draw)

    def _draw(self) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(self, display_id=True)
        else:
            self._handle.update(self)

    def __repr__(self) -> str:
        return "\n".join(
            f"{task.description}: {task.completed:,.0f}/{task.total or 0:,.0f} images{_speed(task)}"
            for task in self._bars.tasks
        )

    def _repr_html_(self) -> str:
        tasks = self._bars.tasks
        ended = [task for task in tasks if task.finished]
        hidden = {task.id for task in ended[:-_KEPT]}
        rows = [_row(task) for task in tasks if task.id not in hidden]
        if hidden:
            rows.insert(0, f'<tr><td colspan="4" style="{_CELL}">{len(hidden)} before</td></tr>')
        return f'<table style="border: none;">{"".join(rows)}</table>'


def _row(task: bars.Task) -> str:
    total = task.total or 0
    bar = f'<progress value="{task.completed:.0f}" max="{total:.0f}"></progress>'
    left = task.time_remaining
    words = [
        escape(task.description),
        bar,
        f"{task.completed:,.0f}/{total:,.0f} images",
        _speed(task).removeprefix(", ")
        + (f", {left:.0f} s left" if left and not task.finished else ""),
    ]
    cells = "".join(f'<td style="{_CELL}">{word}</td>' for word in words)
    return f"<tr>{cells}</tr>"


def _speed(task: bars.Task) -> str:
    if task.finished and task.finished_time:
        return f", {task.completed / task.finished_time:,.0f} images/s"
    return "" if task.speed is None else f", {task.speed:,.0f} images/s"
