"""Ctrl-C and a scheduler's SIGTERM: said in a line, nothing half-written, no process left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from hpdp_dask.cryoem.simulate import phantom, simulate_particles
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images

#: `hpdp` with a reduction that takes its time, so that it can be interrupted.
SLOW = """
import time
import hpdp_dask.dataflow.trees as trees
from hpdp_dask.cli.main import main

def slowly(work, leaves, images, client, done):
    print("folding", flush=True)
    time.sleep(30)

trees.run_tree = slowly
main()
"""


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    table, images = simulate_particles(phantom(), 10, 16, pixel_size=12.0, snr=1.0)
    path = tmp_path / "particles.zarr"
    new_stack(path, to_dataset(table, 0), 10, 16)
    write_images(path, 0, np.asarray(images))
    return path


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_says_so_and_cleans_up(
    sent: signal.Signals, code: int, stack: Path, tmp_path: Path
) -> None:
    words = ["cryoem", "reconstruct", stack, "-o", tmp_path / "map", "--workers", 1]
    process = psutil.Popen(
        [sys.executable, "-c", SLOW, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell lets what it runs in the background ignore Ctrl-C, and so these tests maybe
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    while "folding" not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read()
    children = process.children(recursive=True)
    time.sleep(0.2)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "hpdp: interrupted." in errors
    assert "Traceback" not in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["particles.zarr"]
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
