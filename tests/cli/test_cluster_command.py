"""`hpdp cluster`, `hpdp submit` and `hpdp jobs`, as a person calls them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hpdp_dask.cli.main import app
from hpdp_dask.cluster import standing
from hpdp_dask.cluster.connection import all_connections
from hpdp_dask.cryoem.simulate import phantom, simulate_particles
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.store import new_stack, to_dataset, write_images


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HPDP_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    yield
    for connection in all_connections():
        standing.stop(connection)


def hpdp(*words: str) -> str:
    """Call a command in this process and give what it prints; a mistake is raised."""
    result = CliRunner().invoke(app, list(words))
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def small_stack(path: Path) -> None:
    table, images = simulate_particles(phantom(), 20, 16, pixel_size=12.0, snr=1.0)
    new_stack(path, to_dataset(table, 0), 20, 16)
    write_images(path, 0, np.asarray(images))


def test_a_cluster_for_several_commands(tmp_path: Path) -> None:
    small_stack(tmp_path / "particles.zarr")
    started = hpdp(
        *("cluster", "start", "local", "--name", "beam", "--workers", "1", "--memory-limit", "1GB")
    )
    assert "Cluster beam (local) on " in started
    assert "Dashboard: http://127.0.0.1:" in started
    assert "ssh -N -L " in started
    command = ["cryoem", "reconstruct", "particles.zarr", "-o", "map", "--cluster", "beam"]
    program = [sys.executable, "-c", "from hpdp_dask.cli.main import main; main()"]
    done = subprocess.run([*program, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "map" / "report.html").exists()
    listed = hpdp("cluster", "status").splitlines()
    assert listed[1].split()[:2] == ["beam", "local"]
    assert "1 of 1" in listed[1]
    assert "2 workers" in hpdp("cluster", "scale", "beam", "2")
    assert "of 2" in hpdp("cluster", "status", "beam")
    assert hpdp("cluster", "doctor", "beam").count("fail") == 0
    assert hpdp("cluster", "stop", "beam") == "beam has ended.\n"
    assert hpdp("cluster", "status").startswith("No cluster runs")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cluster", "status", "beam"], "no cluster 'beam' runs; start one"),
        (["cluster", "stop", "beam"], "no cluster 'beam' runs"),
        (["cluster", "scale", "beam", "many"], "'many' is no number of workers"),
        (["cluster", "scale", "beam", "gpu=8..2"], "2 is less than 8"),
        (["submit", "cluster", "stop", "beam"], "hpdp cluster is no command to submit"),
        (["submit", "--", "cryoem", "paint"], "hpdp cryoem paint is no command to submit; known"),
        (["jobs", "--cancel", "nothing"], "no job 'nothing' was submitted; there is none"),
    ],
)
def test_mistakes(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        hpdp(*words)


def test_the_doctor_fails_where_something_is_wrong() -> None:
    result = CliRunner().invoke(app, ["cluster", "doctor", "nowhere"])
    assert result.exit_code == 1
    assert "fail file: the cluster 'nowhere' is not known" in result.output


def test_wrong_options_are_found_before_the_queue() -> None:
    result = CliRunner().invoke(
        app, ["submit", "cryoem", "refine", "stack.zarr", "--colour", "red"]
    )
    assert result.exit_code == 2
    assert hpdp("jobs").startswith("No job was submitted")


def test_a_command_as_a_job(tmp_path: Path) -> None:
    small_stack(tmp_path / "particles.zarr")
    said = hpdp(
        *("submit", "--name", "small", "--", "cryoem", "reconstruct", "particles.zarr"),
        *("-o", "map", "--workers", "1", "--cluster", "local"),
    )
    assert said.startswith("Submitted: small (process ")
    patience = time.monotonic() + 90
    while "running" in (listed := hpdp("jobs")) and time.monotonic() < patience:
        time.sleep(0.3)
    name, _, state, *_, log = listed.splitlines()[1].split()
    assert (name, state, log) == ("small", "done", "small.log")
    shown = hpdp("jobs", "small")
    assert "Command: hpdp cryoem reconstruct particles.zarr -o map --workers 1 --cluster local" in (
        shown
    )
    assert "ended with exit code 0" in shown
    assert (tmp_path / "map" / "report.html").exists()
    assert hpdp("jobs", "--forget", "small") == "small is forgotten.\n"


def test_mistakes_are_told_before_anybody_waits_for_workers(tmp_path: Path) -> None:
    words = [
        "cryoem",
        "normalize",
        str(tmp_path / "nowhere.zarr"),
        "-o",
        str(tmp_path / "out.zarr"),
    ]
    found = CliRunner().invoke(app, [*words, "--cluster", "tcp://127.0.0.1:1"])
    assert isinstance(found.exception, InputError)
    assert "nowhere.zarr: there is no such file or folder" in str(found.exception)
    (tmp_path / "nowhere.zarr").mkdir()
    (tmp_path / "out.zarr").mkdir()
    found = CliRunner().invoke(app, [*words, "--cluster", "tcp://127.0.0.1:1"])
    assert "out.zarr: exists already" in str(found.exception)
