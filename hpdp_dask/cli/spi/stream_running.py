"""What goes on around a stream in a terminal: signals that end it, lines that tell of it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from hpdp_dask.cli.options import Terminated

if TYPE_CHECKING:
    from hpdp_dask.workflow.spi_stream import Live

#: Seconds between two lines.
_EVERY = 10.0

_FINISHING = b"\nNo more frames are taken; what came is finished. Ctrl-C again leaves it.\n"


class Ended:
    """How a stream is ended by signals."""

    def __init__(self) -> None:
        self.interrupt: KeyboardInterrupt = KeyboardInterrupt()

    @contextmanager
    def by_signals(self, live: Live) -> Iterator[None]:
        """End a stream in order when a signal comes, while a block runs."""

        def finish(_signal: int, _frame: FrameType | None) -> None:
            # print may be what was interrupted
            os.write(sys.stdout.fileno(), _FINISHING)
            live.stream.stop("finish")
            signal.signal(signal.SIGINT, leave)

        def leave(number: int, _frame: FrameType | None) -> None:
            if number != signal.SIGINT:
                self.interrupt = Terminated()
            live.stream.stop("leave")

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
def lines(live: Live) -> Iterator[None]:
    """Print a line now and then while a block runs."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(_EVERY):
            seen = live.stream.figures.snapshot()
            lag = f", lag {seen.lag_now:.1f} s" if seen.lag_now == seen.lag_now else ""
            left = f", {seen.unlabelled:,} to be labelled" if seen.model else ""
            print(
                f"{seen.frames:,} frames, {seen.rate:,.0f} a second, {seen.chosen:,} hits{lag}"
                f"{left}; {live.scenario.status.words}",
                flush=True,
            )

    thread = threading.Thread(target=tell, name="lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def tell_page(name: str, url: str, port: int, address: str) -> None:
    print(f"{name}: {url}", flush=True)
    if os.environ.get("SSH_CONNECTION") and address == "127.0.0.1":
        there = f"{port}:127.0.0.1:{port} {socket.gethostname()}"
        print(f"From your own machine: ssh -L {there}, then open the same address.", flush=True)
