"""What stages tell the scheduler of how far they are, for the dashboard and for notebooks.

A stage sends a message when it begins, a few a second while it works, and one when it ends. Each
says all there is to know, so that whoever looks needs the last one only. The scheduler keeps them
as events of one topic; nothing waits for them, and none that is lost does harm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hpdp_dask.dataflow.progress import progress_for_reader

if TYPE_CHECKING:
    from distributed import Client

    from hpdp_dask.dataflow.progress import Progress

TOPIC = "hpdp-progress"

#: Seconds between two messages of a stage, and how long the last one may take.
_INTERVAL, _PATIENCE = 0.5, 2.0

#: What a row of a loop's history may tell of an iteration; see `loops.Loop`.
FIGURES = ("resolution", "angular_step", "shift_step", "step")


class Announcement:
    """A stage as it is told to the scheduler; may be told from any thread.

    Parameters
    ----------
    client : distributed.Client or None
        None: nobody is told.
    stage : str
        Its name.
    """

    def __init__(self, client: Client | None, stage: str) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._began = self._told = time.monotonic()
        self._message: dict[str, Any] = {
            "id": uuid4().hex,
            "client": None if client is None else client.id,
            "stage": stage,
            "status": "running",
            "number": 0,
            "images": 0,
            "total": 0,
            "all_images": 0,
            "iteration": None,
            "figures": {},
            "curve": [],
        }

    def begin(self, images: int, iteration: int | None = None) -> None:
        """Begin to work on images, for the first time or, in a loop, again.

        Parameters
        ----------
        images : int
            How many there are to do.
        iteration : int, optional
        """
        self._tell(images=0, total=images, iteration=iteration)

    def advance(self, images: int) -> None:
        """Count images that are done; negative for some that must be done again."""
        with self._lock:
            self._message["images"] += images
            self._message["all_images"] += images
            quiet = time.monotonic() - self._told < _INTERVAL
        if not quiet:
            self._tell()

    def reach(self, state: Any) -> None:
        """Tell what a loop has reached: its `history`, if the state has one."""
        history: list[Mapping[str, Any]] = getattr(state, "history", [])
        if history:
            figures = {name: history[-1][name] for name in FIGURES if name in history[-1]}
            self._tell(figures=figures, curve=[row.get("resolution") for row in history])

    def end(self, status: str) -> None:
        """Tell that the stage ended, and wait a moment until that is heard."""
        if self._client is not None and self._client.status == "running":
            message = self._next(status=status)
            with suppress(OSError, TimeoutError):
                self._client.sync(_send, self._client, message, callback_timeout=_PATIENCE)

    def _tell(self, **news: Any) -> None:
        # from the thread of the client's loop too, so nothing here may wait
        message = self._next(**news)
        if self._client is not None and self._client.status == "running":
            self._client.loop.add_callback(partial(_send, self._client, message))

    def _next(self, **news: Any) -> dict[str, Any]:
        with self._lock:
            self._told = time.monotonic()
            # messages may overtake each other
            self._message["number"] += 1
            self._message |= news
            return {**self._message, "seconds": self._told - self._began}


async def _send(client: Client, message: dict[str, Any]) -> None:
    with suppress(OSError):  # the scheduler is gone: the stage itself will say so
        await client.scheduler.log_event(topic=TOPIC, msg=message)


class Shown:
    """A stage as it is shown to who waits for it: as bars, and on the dashboard.

    Parameters
    ----------
    bars : Progress or None
    announcement : Announcement
    """

    def __init__(self, bars: Progress | None, announcement: Announcement) -> None:
        self._bars = bars
        self._announcement = announcement

    def begin_pass(
        self, name: str, images: int, iteration: int | None = None
    ) -> Callable[[int], None]:
        """Begin a pass over images.

        Parameters
        ----------
        name : str
            Of the bar.
        images : int
            How many there are to do.
        iteration : int, optional

        Returns
        -------
        callable
            To be told of images that are done; negative for some that must be done again.
        """
        bar = self._bars.track(name, images) if self._bars else None
        self._announcement.begin(images, iteration)

        def done(number: int) -> None:
            self._announcement.advance(number)
            if bar is not None:
                bar.advance(number)

        return done

    def reach(self, state: Any) -> None:
        """Show what a loop has reached."""
        self._announcement.reach(state)


@contextmanager
def shown_loop(stage: str, *, client: Client | None, progress: Progress | None) -> Iterator[Shown]:
    """Show a stage of several passes over images while a block runs.

    Parameters
    ----------
    stage : str
        Its name.
    client : distributed.Client or None
        Where it runs, and is announced.
    progress : Progress or None
        By default bars are drawn in a notebook alone.

    Yields
    ------
    Shown
    """
    announcement = Announcement(client, stage)
    with progress_for_reader(progress) as bars:
        try:
            yield Shown(bars, announcement)
        except BaseException:
            announcement.end("failed")
            raise
        announcement.end("done")


@contextmanager
def shown(
    stage: str, images: int, *, client: Client | None, progress: Progress | None
) -> Iterator[Callable[[int], None]]:
    """Show a stage of one pass over images while a block runs; as `shown_loop`.

    Yields
    ------
    callable
        To be told of images that are done.
    """
    with shown_loop(stage, client=client, progress=progress) as shown_stage:
        yield shown_stage.begin_pass(stage, images)
