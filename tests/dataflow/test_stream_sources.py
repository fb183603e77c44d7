"""Where live frames come from: files that appear, messages; each frame once, in order or not."""

import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from slow_loop import wait_for
from stream_measures import (
    MEASURES,
    SHAPE,
    ArrayFile,
    Lit,
    Means,
    draw_photons,
    is_hit,
    lit_pixels,
)

from hpdp_dask.dataflow.stream import directory as stream_directory
from hpdp_dask.dataflow.stream import listing
from hpdp_dask.dataflow.stream import messages as stream_messages
from hpdp_dask.dataflow.stream.batches import Aside, Batch, EndOfStream
from hpdp_dask.dataflow.stream.directory import Directory
from hpdp_dask.dataflow.stream.driver import Stream
from hpdp_dask.dataflow.stream.folder import StreamFolder
from hpdp_dask.dataflow.stream.found import Found
from hpdp_dask.dataflow.stream.ids import Intervals
from hpdp_dask.dataflow.stream.message import decode, encode
from hpdp_dask.dataflow.stream.messages import Messages
from hpdp_dask.dataflow.stream.stack import write_new_stack
from hpdp_dask.dataflow.stream.task import Recipe
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import open_frames


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 6)), max_size=40))
def test_intervals_are_a_set(spans):
    intervals, numbers = Intervals(), set()
    for start, length in spans:
        if length % 2:
            intervals.add(start, start + length)
        else:
            intervals.update(np.arange(start, start + length)[::-1])
        numbers |= set(range(start, start + length))
    assert intervals.count == len(numbers)
    assert intervals.last == max(numbers, default=-1)
    assert [number in intervals for number in range(70)] == [n in numbers for n in range(70)]
    span = max(numbers) - min(numbers) + 1 if numbers else 0
    assert intervals.missing == span - len(numbers)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 6)), max_size=20),
    st.integers(0, 70),
    st.integers(0, 70),
)
def test_gaps_are_what_is_not_there(spans, start, stop):
    intervals, numbers = Intervals(), set()
    for first, length in spans:
        intervals.add(first, first + length)
        numbers |= set(range(first, first + length))
    gaps = list(intervals.gaps(start, stop))
    assert all(low < high for low, high in gaps)
    found = [number for low, high in gaps for number in range(low, high)]
    assert found == [number for number in range(start, stop) if number not in numbers]


# ---------------------------------------------------------------------------------------- messages


@given(
    st.integers(0, 2**40),
    st.sampled_from(["|u1", "<u2", ">u2", "<u4", "<i4", "<f4"]),
    st.tuples(*[st.integers(1, 4)] * 3),
)
def test_a_message_brings_what_was_sent(first, dtype, shape):
    photons = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    found = decode(encode(first, photons, pulse_id=np.arange(shape[0])))
    np.testing.assert_array_equal(found.photons, photons)
    np.testing.assert_array_equal(found.ids, first + np.arange(shape[0]))
    np.testing.assert_array_equal(found.columns["pulse_id"], np.arange(shape[0]))


HEADER = {"id": 7, "shape": [2, 6, 8], "dtype": "|u1"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": -1}, "the id -1, expected a whole number"),
        ({"id": 2**63}, "expected a whole number"),
        ({"id": True}, "the id True"),
        ({"shape": [2, 6]}, "96 bytes of numbers, expected 12"),
        ({"shape": [0, 6, 8]}, "expected 0"),
        ({"shape": [2**40, 2**40, 8]}, "96 bytes of numbers, expected"),
        ({"shape": "2,6,8"}, r"the shape '2,6,8', expected \[frames, y, x\]"),
        ({"dtype": "O"}, "the dtype 'O', expected one as '<u2'"),
        ({"dtype": "|O"}, r"the dtype '\|O'"),
        ({"columns": {"pulse_id": [1, 2, 3]}}, "the column 'pulse_id' is not 2 numbers"),
        ({"columns": {"pulse_id": ["a", "b"]}}, "is not 2 numbers"),
        ({"columns": {"frame_id": [1, 2]}}, "'frame_id' is none of the schema"),
    ],
)
def test_messages_that_are_wrong_say_how(change, words):
    with pytest.raises(ValueError, match=words):
        decode([json.dumps(HEADER | change).encode(), bytes(96)])


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_no_message_breaks_the_reader(parts):
    with suppress(ValueError):
        decode(parts)


@pytest.fixture
def pushed(tmp_path):
    """Give what makes a source and a socket whose messages it gets."""
    made = []
    place = f"ipc://{tmp_path}/socket"

    def make(batch=20, kind=zmq.PUSH, **words):
        sender = zmq.Context.instance().socket(kind)
        sender.set_hwm(4)
        sender.setsockopt(zmq.SNDTIMEO, 20_000)
        sender.bind(place)
        source = Messages(place, batch, subscribe=kind == zmq.PUB, **words)
        made.extend([sender, source])
        return source, sender

    yield make
    for socket in made:
        socket.close()


def everything(source, patience=5.0):
    """Take all that a source gives until it ends."""
    found = []
    until = time.monotonic() + patience
    while time.monotonic() < until:
        try:
            found.append(source.next(0.1))
        except EndOfStream:
            return [each for each in found if each is not None]
    raise AssertionError(f"no end; {found}")


def test_repeated_late_and_damaged_messages_are_set_aside(pushed, tmp_path, monkeypatch):
    monkeypatch.setattr(stream_messages, "WINDOW", 50)
    source, sender = pushed(30)
    (tmp_path / "live").mkdir()
    source.begin(tmp_path / "live", set())
    photons = draw_photons(100)
    sender.send_multipart(encode(0, photons[:20]))
    sender.send_multipart([b"{", bytes(5)])
    sender.send_multipart(encode(40, photons[40:60]))
    sender.send_multipart(encode(10, photons[10:30]))  # half of it came before
    sender.send_multipart(encode(95, photons[95:]))
    sender.send_multipart(encode(30, photons[30:40]))  # long after their place
    sender.send_multipart([b'{"end": true}'])
    found = everything(source)
    batches = [each for each in found if isinstance(each, Batch)]
    asides = [(each.reason, each.frames) for each in found if isinstance(each, Aside)]
    assert sorted(asides) == [("damaged", 1), ("late", 10), ("repeated", 10)]
    blocks = [batch.read() for batch in batches]
    ids = np.concatenate([block["frame_id"] for block in blocks])
    expected = [*range(20), *range(40, 60), *range(20, 30), *range(95, 100)]
    assert ids.tolist() == expected
    np.testing.assert_array_equal(
        np.concatenate([block["photons"] for block in blocks]), photons[expected]
    )
    assert [batch.frames for batch in batches] == [30, 25]
    assert source.missing == 45


def test_frames_of_messages_outlive_the_process(pushed, tmp_path):
    source, sender = pushed(20)
    folder = StreamFolder(tmp_path / "live")
    folder.make()
    source.begin(folder.path, set())
    photons = draw_photons(40)
    for first in range(0, 40, 10):
        sender.send_multipart(encode(first, photons[first : first + 10]))
    names = [wait_for(lambda: source.next(0.1)).name for _ in range(2)]
    folder.write_results(names[0], {"frame_id": np.arange(20)}, {}, {})
    # another process, before the second batch has results
    again = Messages("ipc://" + str(tmp_path / "other"), 20)
    again.begin(folder.path, {names[0]})
    batch = again.next(0.1)
    assert batch.name == names[1]
    np.testing.assert_array_equal(batch.read()["photons"], photons[20:])
    assert again.missing == 0
    assert {file.stem for file in folder.incoming.iterdir()} == {names[1]}
    again.settled(batch)
    assert not list(folder.incoming.iterdir())
    again.close()


def test_hits_of_messages_are_kept_and_become_a_stack(client, pushed, tmp_path):
    source, sender = pushed(32)
    photons = draw_photons(150)
    wild = photons.astype(np.float32)
    wild[70, 2, 2] = np.inf
    wild[80, 0, 0] = -1
    stream = Stream(source, Recipe(tmp_path / "live", MEASURES, "hit", keep=True), client=client)
    running = threading.Thread(target=stream.run)
    running.start()
    for first in range(0, 150, 10):
        frames = (wild if first >= 60 else photons)[first : first + 10]
        sender.send_multipart(encode(first, frames, train_id=np.arange(first, first + 10)))
    sender.send_multipart([b'{"end": true}'])
    running.join(60)
    seen = stream.figures.snapshot()
    assert (seen.frames, seen.asides) == (148, {"values": 2})
    made = tmp_path / "hits.zarr"
    write_new_stack(Found(stream.folder), made, client=client, history={})
    expected = np.setdiff1d(np.flatnonzero(is_hit(photons)), [70, 80])
    hits = open_frames(made).load()
    np.testing.assert_array_equal(hits["photons"], photons[expected])
    np.testing.assert_array_equal(hits["train_id"], expected)
    assert not list(stream.folder.incoming.iterdir())


def test_who_sends_waits_while_the_stream_is_full(client, pushed, tmp_path):
    source, sender = pushed(5)
    slow = Recipe(tmp_path / "live", (Lit(seconds=0.1),))
    stream = Stream(source, slow, client=client)
    running = threading.Thread(target=stream.run)
    running.start()
    photons = np.zeros((5, 300, 300), np.uint8)  # more than sockets of the system hold
    begin = time.monotonic()
    for first in range(0, 200, 5):
        sender.send_multipart(encode(first, photons))
    waited = time.monotonic() - begin
    sender.send_multipart([b'{"end": true}'])
    running.join(60)
    # 40 batches of 0.1 s on two workers, and some 20 wait in sockets
    assert waited > 0.3
    assert stream.figures.snapshot().frames == 200


def test_a_subscriber_gets_what_is_published(pushed, tmp_path):
    source, sender = pushed(10, kind=zmq.PUB, idle=0.5)
    (tmp_path / "live").mkdir()
    source.begin(tmp_path / "live", set())
    time.sleep(0.2)  # until it has subscribed
    sender.send_multipart([b"topic", *encode(0, draw_photons(10))])
    found = everything(source)
    assert [batch.frames for batch in found] == [10]


def test_an_address_that_is_none_is_refused():
    with pytest.raises(InputError, match="zmq://host:port"):
        Messages("tcp://nowhere", 10)


# --------------------------------------------------------------------------------------- directory


@pytest.fixture
def incoming(tmp_path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def directory(incoming: Path, **words) -> Directory:
    return Directory(incoming, 20, ArrayFile, (".npy",), **{"settle": 0.3, "idle": 0.7} | words)


def put(file: Path, photons: np.ndarray) -> None:
    """Put a file in place at once."""
    hidden = file.with_name(f".{file.name}")
    with hidden.open("wb") as stream:
        np.save(stream, photons)
    os.replace(hidden, file)


def test_files_are_taken_when_they_are_complete(client, incoming, tmp_path, monkeypatch):
    monkeypatch.setattr(stream_directory, "_DAMAGED", 2.0)
    photons = draw_photons(130)
    put(incoming / "a.npy", photons[:50])
    (incoming / "b.npy.part").write_bytes(b"not yet")
    (incoming / "notes.txt").write_text("no frames")
    source = directory(incoming, idle=3.0)
    stream = Stream(source, Recipe(tmp_path / "live", MEASURES, "hit"), client=client)
    running = threading.Thread(target=stream.run)
    running.start()
    wait_for(lambda: stream.figures.snapshot().frames == 50)
    # one that grows, one that nobody can read, one that holds what another holds
    slow = incoming / "run" / "c.npy"
    slow.parent.mkdir()
    put(incoming / "whole", photons[50:])
    whole = (incoming / "whole").read_bytes()
    with slow.open("wb") as stream_:
        for first in range(0, len(whole), 1500):
            stream_.write(whole[first : first + 1500])
            stream_.flush()
            time.sleep(0.2)
    (incoming / "d.npy").write_bytes(b"no array")
    put(incoming / "e.npy", photons[:50])
    running.join(60)
    seen = stream.figures.snapshot()
    assert seen.frames == 130
    assert seen.asides == {"damaged": 1, "repeated": 50}
    names = sorted(stream.done)
    found = [stream.folder.results(name, "frame_id", "lit_pixels", "pulse_id") for name in names]
    ids, lit, pulse = (np.concatenate([each[name] for each in found]) for name in found[0])
    np.testing.assert_array_equal(ids, np.arange(130))
    np.testing.assert_array_equal(lit, lit_pixels(photons))
    np.testing.assert_array_equal(pulse, [*range(50), *range(80)])
    assert "pixel_x" in open_frames(stream.folder.shared)
    made = tmp_path / "hits.zarr"
    write_new_stack(
        Found(stream.folder, again=stream.source.again), made, client=client, history={}
    )
    np.testing.assert_array_equal(open_frames(made)["photons"], photons[is_hit(photons)])


def test_files_keep_their_numbers_when_the_stream_goes_on(client, incoming, tmp_path):
    photons = draw_photons(90)
    put(incoming / "b.npy", photons[:40])
    first = Stream(directory(incoming), Recipe(tmp_path / "live", MEASURES), client=client)
    first.run()
    put(incoming / "a.npy", photons[40:])
    # the last line of what was taken was cut off by a crash
    with (tmp_path / "live" / "taken.jsonl").open("a") as log:
        log.write('{"file": "a.np')
    (tmp_path / "live" / "results" / "000000000020-000000000039.npz").unlink()
    again = Stream(directory(incoming), Recipe(tmp_path / "live", MEASURES), client=client)
    again.run()
    assert again.figures.snapshot().came == 70
    folder = StreamFolder(tmp_path / "live")
    found = [folder.results(name, "frame_id", "lit_pixels") for name in sorted(folder.done())]
    ids, lit = (np.concatenate([each[name] for each in found]) for name in found[0])
    np.testing.assert_array_equal(ids, np.arange(90))
    np.testing.assert_array_equal(lit, lit_pixels(photons))


def test_a_file_that_changes_after_it_was_taken_is_set_aside(incoming, tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "_LOOKS", 2)
    photons = draw_photons(40)
    put(incoming / "a.npy", photons[:20])
    source = directory(incoming, settle=0.1)
    source.begin(tmp_path, set())
    assert wait_for(lambda: source.next(0.1)).frames == 20
    put(incoming / "a.npy", photons)
    aside = wait_for(lambda: source.next(0.1))
    assert (aside.reason, aside.what) == ("changed", str(incoming / "a.npy"))
    assert everything(source) == []  # told once


def test_files_are_put_together_to_batches_as_far_as_they_are_alike(incoming, tmp_path):
    photons = draw_photons(30)
    for place in range(5):
        put(incoming / f"a{place}.npy", photons[6 * place : 6 * place + 6])
    put(incoming / "b.npy", np.zeros((4, 3, 3), np.uint8))
    put(incoming / "c.npy", np.zeros((50, 3, 3), np.uint8))
    source = directory(incoming, settle=0.1)
    source.begin(tmp_path, set())
    batches = everything(source)
    assert [batch.frames for batch in batches] == [20, 10, 20, 20, 14]
    found = [batch.read() for batch in batches]
    np.testing.assert_array_equal(
        np.concatenate([block["photons"] for block in found[:2]]), photons
    )
    assert [len(batch.parts) for batch in batches] == [4, 2, 2, 0, 0]
    assert source.place_of(7) == (str(incoming / "a1.npy"), 1)
    # some of it is done when another process goes on, which puts the rest together anew
    again = directory(incoming, settle=0.1)
    again.begin(tmp_path, {batches[1].name, batches[4].name})
    rest = [again.next(0.1) for _ in range(3)]
    assert [batch.name for batch in rest] == [batches[place].name for place in (0, 2, 3)]
    block = again.again(batches[1].name)()
    np.testing.assert_array_equal(block["photons"], photons[20:])
    assert block["frame_id"].values.tolist() == list(range(20, 30))


def test_a_file_that_fails_costs_no_other(client, incoming, tmp_path):
    photons = draw_photons(20)
    for place in range(10):
        put(incoming / f"{place}.npy", photons[2 * place : 2 * place + 2])
    poisoned = np.full((2, *SHAPE), 99, np.uint8)
    put(incoming / "x.npy", poisoned)
    put(incoming / "y.npy", poisoned + 1)
    recipe = Recipe(tmp_path / "live", (Lit(), Means(poison=99)))
    source = directory(incoming)
    stream = Stream(source, recipe, client=client)
    stream.run()
    seen = stream.figures.snapshot()
    assert (seen.frames, seen.asides) == (22, {"failed": 2})
    (aside,) = stream.folder.asides()
    assert (aside.what, aside.words) == ("frames 000000000020-000000000021", "poison.")


def test_a_folder_that_has_not_changed_is_not_read_again(incoming, monkeypatch):
    (incoming / "run").mkdir()
    put(incoming / "run" / "a.npy", draw_photons(1))
    put(incoming / "B.NPY", draw_photons(1))
    (incoming / "c_master.npy").write_bytes(b"")
    for folder in (incoming, incoming / "run"):
        os.utime(folder, (1e9, 1e9))
    found = listing.Listing(incoming, (".npy",), ("_master.npy",))
    names = ["B.NPY", "run/a.npy"]
    assert [file for file, _ in found.look(())] == names
    monkeypatch.setattr(os, "scandir", None)  # nobody asks
    assert [file for file, _ in found.look(())] == names
    assert [file for file, _ in found.look({"B.NPY"})] == ["run/a.npy"]
    monkeypatch.undo()
    put(incoming / "run" / "d.npy", draw_photons(1))
    assert [file for file, _ in found.look({"B.NPY"})] == ["run/a.npy", "run/d.npy"]


def test_frames_of_another_detector_fail(client, incoming, tmp_path):
    put(incoming / "a.npy", draw_photons(20))
    put(incoming / "b.npy", np.zeros((20, 3, 3), np.uint8))
    stream = Stream(directory(incoming), Recipe(tmp_path / "live", MEASURES), client=client)
    stream.run()
    seen = stream.figures.snapshot()
    assert (seen.frames, seen.asides) == (20, {"failed": 20})
    assert stream.folder.asides()[0].words == (
        f"frames of 3x3 pixels, where those of the stream have {SHAPE[0]}x{SHAPE[1]}."
    )


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        directory(tmp_path / "nowhere")
