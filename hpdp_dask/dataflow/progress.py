"""How far a computation is: a bar in the terminal and in Jupyter, with rate and time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from hpdp_dask.dataflow.notebook_bars import NotebookBars

#: Drawings a second; more would cost CPU time that the images need.
REFRESH = 2


class Progress:
    """Shows what is being done, as a context manager.

    A bar for each stage is drawn where somebody looks: a terminal, or a notebook. Elsewhere, in a
    file or a pipe, nothing is written.

    Parameters
    ----------
    closing_lines : bool, optional
        Where no bars are drawn, write one line when a stage ends.
    console : rich.console.Console, optional
        Where to; by default the standard error, so that results can be piped.

    Examples
    --------
    >>> with Progress() as progress:  # doctest: +SKIP
    ...     reduce_images("particles.zarr", reduction, progress=progress)
    """

    def __init__(self, *, closing_lines: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        in_notebook = self._console.is_jupyter
        drawn = self._console.is_terminal and not self._console.is_dumb_terminal and not in_notebook
        self._closing_lines = closing_lines and not drawn and not in_notebook
        self._bars = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            _RateColumn(),
            bars.TimeRemainingColumn(),
            console=self._console,
            refresh_per_second=REFRESH,
            disable=not drawn,
        )
        self._notebook = NotebookBars(self._bars) if in_notebook else None

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()
        if self._notebook is not None:
            self._notebook.refresh(now=True)

    def track(self, name: str, images: int) -> Stage:
        """Begin a stage.

        Parameters
        ----------
        name : str
            What is done.
        images : int
            How many images it takes.

        Returns
        -------
        Stage
            Tell it of images that are done.
        """
        console = self._console if self._closing_lines else None
        return Stage(self._bars, name, images, console, self._notebook)


@contextmanager
def progress_for_reader(progress: Progress | None) -> Iterator[Progress | None]:
    """Give a stage bars in a notebook even if its caller asked for none.

    Parameters
    ----------
    progress : Progress or None
        What the caller gave, which goes before.

    Yields
    ------
    Progress or None
    """
    if progress is not None or not Console().is_jupyter:
        yield progress
        return
    with Progress() as bars_of_notebook:
        yield bars_of_notebook


class Stage:
    """A stage that is shown by a `Progress`; may be told from any thread."""

    def __init__(
        self,
        drawn: bars.Progress,
        name: str,
        images: int,
        console: Console | None,
        notebook: NotebookBars | None,
    ) -> None:
        self._bars = drawn
        self._task = drawn.add_task(name, total=images)
        self._console = console
        self._notebook = notebook
        self._start = time.monotonic()
        self._left = images
        self._lock = threading.Lock()

    def advance(self, images: int) -> None:
        """Count images that are done; negative for some that must be done again.

        Parameters
        ----------
        images : int
        """
        self._bars.advance(self._task, images)
        if self._notebook is not None:
            self._notebook.refresh()
        with self._lock:
            self._left -= images
            console = self._console if self._left == 0 else None
            if console is None:
                return
            self._console = None
        task = self._bars.tasks[self._task]
        seconds = time.monotonic() - self._start
        console.print(
            f"{task.description}: {task.completed:,.0f} images in {seconds:.1f} s "
            f"({task.completed / max(seconds, 1e-9):,.0f} images/s)",
            highlight=False,
        )


class _RateColumn(bars.ProgressColumn):
    """Images a second, over the last while or, at the end, over all."""

    def render(self, task: bars.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} images/s")
