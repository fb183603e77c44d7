"""`hpdp spi stream` as a process: ended by signals in order, and gone on with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from live_frames import LEAST, NAMES, make_stack
from typer.testing import CliRunner

from hpdp_dask.cli.main import app
from hpdp_dask.dataflow.stream.folder import StreamFolder
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import add_variables, open_frames

PROGRAM = "from hpdp_dask.cli.main import main; main()"


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    path = tmp_path / "frames.zarr"
    _, truth = make_stack(path, 2000)
    rows = [f"{frame},{NAMES[index]}" for frame, index in enumerate(truth)]
    (tmp_path / "truth.csv").write_text("frame,label\n" + "\n".join(rows) + "\n")
    return path


def start(frames: Path, rate: int, *words: str) -> psutil.Popen:
    source = f"replay:{frames}@{rate}"
    options = ["-o", frames.parent / "live", "--labels", frames.parent / "truth.csv"]
    options += ["--training-size", 16, "--hits", LEAST, "--batch", 32, "--workers", 1]
    options = ["--source", source, *options, *words]
    return psutil.Popen(
        [sys.executable, "-c", PROGRAM, "spi", "stream", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell lets what it runs in the background ignore Ctrl-C, and so these tests maybe
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def end(process: psutil.Popen, sent: signal.Signals) -> tuple[str, str]:
    """Send a signal once there is a model, and see that no process is left."""
    told = ""
    while "Model 001" not in told:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        told += line
    children = process.children(recursive=True)
    process.send_signal(sent)
    output, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    return told + output, errors


def test_signals_end_a_stream_in_order(frames):
    live = frames.parent / "live"
    process = start(frames, 100)
    output, errors = end(process, signal.SIGTERM)
    assert process.returncode == 143
    assert "--resume goes on with it" in output
    assert "Page: http://127.0.0.1:" in output
    assert errors.strip() == "hpdp: interrupted."
    left = StreamFolder(live).done()
    assert 0 < len(left) < 63
    assert not (live / "frames.zarr").exists()

    # now it has a model from the start
    process = start(frames, 50, "--resume", "--no-page")
    until = time.monotonic() + 60
    while len(StreamFolder(live).done()) < len(left) + 2:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "No more frames are taken" in output
    done = StreamFolder(live).done()
    assert len(left) < len(done) < 63
    assert left < done
    found = open_frames(live / "frames.zarr").load()
    assert (found["label"] >= 0).all()
    assert (live / "report.html").exists()


def test_frames_that_have_labels_of_before_get_those_that_are_found(tmp_path):
    path = tmp_path / "frames.zarr"
    _, truth = make_stack(path, 300)
    before = {
        "label": (("frame",), np.zeros(300, np.int16)),
        "class_name": (("classes",), np.array(["something"], object)),
    }
    add_variables(path, before)
    rows = [f"{frame},{NAMES[index]}" for frame, index in enumerate(truth)]
    (tmp_path / "truth.csv").write_text("frame,label\n" + "\n".join(rows) + "\n")
    options = ["-o", tmp_path / "live", "--labels", tmp_path / "truth.csv", "--hits", LEAST]
    options += ["--training-size", 16, "--batch", 64, "--workers", 1, "--no-page"]
    words = ["spi", "stream", "--source", f"replay:{path}", *map(str, options)]
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    assert found.exit_code == 0
    names = open_frames(tmp_path / "live" / "frames.zarr")["class_name"].values
    assert set(names) <= set(NAMES)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--label-page"], "needs two classes or more"),
        (["--classes", "a,b"], "add --label-page"),
        (["--classes", "a,b", "--label-page", "--labels", "truth.csv"], "stands for a person"),
        (["--hits", "many"], "expected all, a number"),
    ],
)
def test_options_that_do_not_go_together_are_refused(frames, words, expected, monkeypatch):
    monkeypatch.chdir(frames.parent)
    source = ["--source", f"replay:{frames}", "-o", "live"]
    found = CliRunner().invoke(app, ["spi", "stream", *source, *words])
    assert isinstance(found.exception, InputError)
    assert expected in str(found.exception)
    assert not (frames.parent / "live").exists()


def test_what_is_there_is_not_replaced_unasked(frames, monkeypatch):
    monkeypatch.chdir(frames.parent)
    (frames.parent / "live").mkdir()
    words = ["spi", "stream", "--source", f"replay:{frames}", "-o", "live"]
    found = CliRunner().invoke(app, words)
    assert "no stream was in it" in str(found.exception)
    (frames.parent / "live" / "stream.json").write_text("{}")
    found = CliRunner().invoke(app, words)
    assert "--resume goes on with it, --overwrite begins anew" in str(found.exception)
