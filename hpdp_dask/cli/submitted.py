"""Runs a submitted command in its job: `python -m hpdp_dask.cli.submitted FILE`.

The command runs in this very process, so that the signals of the batch scheduler reach it once
and directly: on SIGTERM it ends in order and keeps what it can go on from.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from hpdp_dask.cluster.submitted import Run, Submitted, read_submitted, write_model


def _ask_to_end(_signal: int, _frame: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the command that the file names, noting when it began and ended, and how."""
    record = read_submitted(Path(sys.argv[1]))
    os.environ.update(record.environment)
    os.chdir(record.folder)
    with open(record.log, "ab") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # SGE says that it will suspend the job
    # what else batch schedulers send before they kill: SGE, and those that count CPU time
    for name in (signal.SIGUSR2, signal.SIGXCPU):
        signal.signal(name, _ask_to_end)
    run = Run(host=socket.gethostname(), began=datetime.now(UTC))
    write_model(record.run_file, run)
    sys.argv = ["hpdp", *_words(record)]
    print(f"{run.began:%Y-%m-%d %H:%M:%S} {run.host}: {shlex.join(sys.argv)}", flush=True)
    run.code = _code()
    run.ended = datetime.now(UTC)
    print(f"{run.ended:%Y-%m-%d %H:%M:%S} ended with exit code {run.code}", flush=True)
    write_model(record.run_file, run)
    sys.exit(run.code)


def _words(record: Submitted) -> list[str]:
    """Give the words of the command, which goes on from what an earlier run of it left."""
    goes_on = record.partial is not None and record.partial.is_dir()
    more = ["--resume"] if goes_on and "--resume" not in record.words else []
    return [*record.words, *more]


def _code() -> int:
    from hpdp_dask.cli.main import main as run_command

    try:
        run_command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        return 130
    except Exception:  # Python would print it and exit with 1 too; the end must be noted first
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
