"""What all benchmarks share: run a command, measure it, write the figures down."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
TEST_DATA = Path(
    os.environ.get("HPDP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)


@dataclass(frozen=True)
class Cost:
    """What a command took, its child processes included: seconds, CPU seconds."""

    wall: float
    cpu: float


def run(command: Sequence[str | Path], folder: Path | None = None) -> Cost:
    """Run a command to its end and measure it; stops the benchmark if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu)


def hpdp() -> Path:
    """Find the `hpdp` of the Python that runs the benchmark."""
    return Path(sys.executable).parent / "hpdp"


def program(name: str, option: str | None) -> Path | None:
    """Find a peer's program: the path that was given, or on the PATH."""
    found = option or shutil.which(name)
    return Path(found) if found else None


def commit() -> str:
    """Name the commit that is measured, with `+` for uncommitted changes."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True
        ).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")


def machine() -> str:
    """Describe the machine in words."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores {model}, {gib:.0f} GiB, Python {platform.python_version()}"


def record(name: str, figures: dict[str, object]) -> None:
    """Print figures and write them to `results/NAME.json` with machine, date and commit."""
    for key, value in figures.items():
        print(f"{key:45s} {value:.4g}" if isinstance(value, float) else f"{key:45s} {value}")
    RESULTS.mkdir(exist_ok=True)
    entry = {
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "figures": figures,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(entry, indent=2) + "\n")
