"""Processes that tests start."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended(process: subprocess.Popen, patience: float = 20.0) -> Iterator[subprocess.Popen]:
    """Ask a process to end when a block ends, and see that it does."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
