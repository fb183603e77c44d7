"""What goes on around a stream in a terminal: signals that end it, lines that tell of it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from hpdp_dask.cli.options import Terminated

if TYPE_CHECKING:
    from hpdp_dask.dataflow.stream.driver import Stream
    from hpdp_dask.dataflow.stream.figures import Snapshot

#: Seconds between two lines.
_EVERY = 10.0

_FINISHING = b"\nNo more frames are taken; what came is finished. Ctrl-C again leaves it.\n"


class Ended:
    """How a stream is ended by signals."""

    def __init__(self) -> None:
        self.interrupt: KeyboardInterrupt = KeyboardInterrupt()

    @contextmanager
    def by_signals(self, stream: Stream) -> Iterator[None]:
        """End a stream in order when a signal comes, while a block runs."""

        def finish(_signal: int, _frame: FrameType | None) -> None:
            # print may be what was interrupted
            os.write(sys.stdout.fileno(), _FINISHING)
            stream.stop("finish")
            signal.signal(signal.SIGINT, leave)

        def leave(number: int, _frame: FrameType | None) -> None:
            if number != signal.SIGINT:
                self.interrupt = Terminated()
            stream.stop("leave")

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]]
        handlers = {signal.SIGINT: finish, signal.SIGTERM: leave, signal.SIGHUP: leave}
        if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
            del handlers[signal.SIGHUP]  # nohup means that this is as it should be
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def lines(stream: Stream, tell: Callable[[Snapshot], str]) -> Iterator[None]:
    """Print a line now and then while a block runs: how the stream is, and what `tell` adds."""
    ended = threading.Event()

    def print_lines() -> None:
        while not ended.wait(_EVERY):
            seen = stream.figures.snapshot()
            lag = f", lag {seen.lag_now:.1f} s" if seen.lag_now == seen.lag_now else ""
            print(
                f"{seen.frames:,} frames, {seen.rate:,.0f} a second, {seen.chosen:,} hits{lag}"
                f"{tell(seen)}",
                flush=True,
            )

    thread = threading.Thread(target=print_lines, name="lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
