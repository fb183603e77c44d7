"""Streams whose processes are killed: every frame has one result, that of an unbroken run."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import zmq
from slow_loop import wait_for
from stream_measures import (
    Lit,
    Means,
    Powder,
    draw_photons,
    is_hit,
    lit_pixels,
    make_frames,
    model,
)

from hpdp_dask.cluster import connect
from hpdp_dask.dataflow.stream.driver import Stream
from hpdp_dask.dataflow.stream.folder import StreamFolder
from hpdp_dask.dataflow.stream.message import encode
from hpdp_dask.dataflow.stream.messages import Messages
from hpdp_dask.dataflow.stream.replay import Replay
from hpdp_dask.dataflow.stream.task import Recipe
from hpdp_dask.dataflow.stream.totals import Total, finish_total

TOTAL = Total("powder", Powder(), "chosen")
LABELLED = Total("labelled", Powder(), "labelled")

#: A stream in a process of its own; the arguments are source, folder and seconds of a batch.
PROGRAM = """
import sys
from test_stream_faults import run
if __name__ == "__main__":
    run(*sys.argv[1:])
"""


def run(source: str, folder: str, seconds: str) -> None:
    """Run a stream with two workers of its own."""
    found = Messages(source, 20) if "://" in source else Replay(source, 20)
    with connect("local", workers=2, memory_limit="1GiB") as client:
        Stream(found, recipe(Path(folder), float(seconds)), client=client, labelling=model()).run()


def recipe(folder: Path, seconds: float = 0.0) -> Recipe:
    measures = (Lit(seconds=seconds), Means())
    return Recipe(folder, measures, "hit", keep=True, totals=(TOTAL, LABELLED))


def start(source: object, folder: Path, seconds: float) -> psutil.Popen:
    """Start a stream in a process of its own."""
    return psutil.Popen(
        [sys.executable, "-c", PROGRAM, str(source), str(folder), str(seconds)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill(process: psutil.Popen) -> None:
    """Kill a process; those that it started end when they see that it has gone."""
    others = process.children(recursive=True)
    process.kill()
    process.wait()
    _, left = psutil.wait_procs(others, timeout=30)
    assert not left


def check_results(folder: Path, photons: np.ndarray) -> None:
    """See that each frame has one result, one label, and one part in the sums."""
    stream = StreamFolder(folder)
    names = sorted(stream.done())
    found = [stream.results(name, "frame_id", "lit_pixels") for name in names]
    ids, lit = (np.concatenate([each[name] for each in found]) for name in found[0])
    np.testing.assert_array_equal(ids, np.arange(len(photons)))
    np.testing.assert_array_equal(lit, lit_pixels(photons))
    hit = is_hit(photons)
    labels = [stream.labels("1", name) for name in names]
    ids, label = (np.concatenate([each[name] for each in labels]) for name in ("frame_id", "label"))
    np.testing.assert_array_equal(ids, np.flatnonzero(hit))
    np.testing.assert_array_equal(label, photons[hit].sum(axis=(1, 2)) > 20)
    kept = np.concatenate([stream.kept(name) for name in names])
    np.testing.assert_array_equal(kept, photons[hit])
    for name, total in (("powder", TOTAL), ("labelled-1", LABELLED)):
        powder = finish_total(folder / "sums" / name, total, names)
        np.testing.assert_array_equal(powder, photons[hit].sum(axis=0))


@pytest.fixture
def frames(tmp_path) -> tuple[Path, np.ndarray]:
    path = tmp_path / "frames.zarr"
    return path, make_frames(path, 800, images_per_shard=400)


def test_a_worker_that_is_killed_costs_nothing(frames, tmp_path):
    path, photons = frames
    with connect("local", workers=2, memory_limit="1GiB") as client:
        stream = Stream(
            Replay(path, 20), recipe(tmp_path / "live", 0.04), client=client, labelling=model()
        )
        killed = []

        def kill_one(name: str, report: object) -> None:
            if len(stream.done) in (8, 16):
                pid = client.run(os.getpid).popitem()[1]
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        stream.listen(kill_one)
        stream.run()
    assert len(set(killed)) == 2
    assert stream.figures.snapshot().asides == {}
    check_results(tmp_path / "live", photons)


def test_a_process_that_is_killed_goes_on(frames, tmp_path):
    path, photons = frames
    folder = tmp_path / "live"
    folder.mkdir()
    process = start(path, folder, 0.05)
    wait_for(lambda: len(StreamFolder(folder).done()) >= 20)
    assert process.poll() is None
    kill(process)
    assert len(StreamFolder(folder).done()) < 40
    with connect("local", workers=1, memory_limit="1GiB") as client:
        stream = Stream(Replay(path, 20), recipe(folder), client=client, labelling=model())
        stream.run()
    assert stream.figures.snapshot().frames == 800
    check_results(folder, photons)


def test_messages_come_again_to_who_was_killed(client, tmp_path):
    photons = draw_photons(400)
    folder, place = tmp_path / "live", f"ipc://{tmp_path}/socket"
    with zmq.Context.instance().socket(zmq.PUSH) as sender:
        sender.setsockopt(zmq.SNDTIMEO, 20_000)
        sender.setsockopt(zmq.LINGER, 0)
        sender.set_hwm(2)
        sender.bind(place)
        process = start(place, folder, 0.1)
        for first in range(0, 200, 10):
            sender.send_multipart(encode(first, photons[first : first + 10]))
        wait_for(lambda: len(StreamFolder(folder).done()) >= 3)
        kill(process)
        # what was in the sockets is lost, so all is sent again
        source = Messages(place, 20)
        stream = Stream(source, recipe(folder), client=client, labelling=model())
        running = threading.Thread(target=stream.run)
        running.start()
        for first in range(0, 400, 10):
            sender.send_multipart(encode(first, photons[first : first + 10]))
        sender.send_multipart([b'{"end": true}'])
        running.join(60)
    seen = stream.figures.snapshot()
    assert seen.frames == 400
    assert seen.missing == 0
    assert seen.asides["repeated"] >= 60
    names = sorted(stream.done)
    ids = np.concatenate([stream.folder.results(name)["frame_id"] for name in names])
    np.testing.assert_array_equal(np.sort(ids), np.arange(400))
    assert seen.unlabelled == 0
