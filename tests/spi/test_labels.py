"""Labels of frames: the log that people write together, and files from elsewhere."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpdp_dask.errors import InputError
from hpdp_dask.spi.labels import LabelLog, read_labels


def read(path):
    log = LabelLog(path)
    log.refresh()
    return log


def test_acts_are_lines_of_json(tmp_path):
    log = LabelLog(tmp_path / "labels.jsonl")
    assert log.refresh() == []
    log.write([(3, "single"), (1, "other")], "anna")
    log.write([(3, None)], "björn")
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [(line["frame"], line["label"], line["person"]) for line in lines] == [
        (3, "single", "anna"),
        (1, "other", "anna"),
        (3, None, "björn"),
    ]
    assert all(line["time"].endswith("Z") and line["time"][:2] == "20" for line in lines)
    assert [act.frame for act in log.refresh()] == [3, 1, 3]
    assert log.refresh() == []
    assert log.labels == {1: "other"}
    assert read_labels(log.path, 4).tolist() == ["", "other", "", ""]


def test_others_are_seen_at_the_next_look(tmp_path):
    mine, theirs = (LabelLog(tmp_path / "labels.jsonl") for _ in range(2))
    mine.write([(0, "single")], "anna")
    theirs.write([(0, "other"), (1, "other")], "ben")
    assert mine.refresh() == theirs.refresh()
    assert mine.labels == {0: "other", 1: "other"}


@given(cut=st.integers(1, 79))
def test_a_crash_in_the_middle_of_a_line_loses_that_line_alone(tmp_path_factory, cut):
    log = LabelLog(tmp_path_factory.mktemp("crash") / "labels.jsonl")
    log.write([(0, "single")], "anna")
    log.write([(1, "other")], "anna")
    whole = log.path.read_bytes()
    second = len(whole.splitlines(keepends=True)[0])
    log.path.write_bytes(whole[: second + cut])
    assert read(log.path).labels == {0: "single"}
    LabelLog(log.path).write([(2, "single")], "ben")
    again = read(log.path)
    # of the line that was cut only its end may have been missing
    complete = cut >= len(whole) - second - 1
    assert again.labels == {0: "single", 2: "single"} | ({1: "other"} if complete else {})
    assert again.damaged == (not complete)


def test_a_line_that_is_still_being_written_is_read_when_it_is_whole(tmp_path):
    log = LabelLog(tmp_path / "labels.jsonl")
    log.write([(0, "single")], "anna")
    log.refresh()
    line = b'{"frame": 1, "label": "other", "person": "b", "time": ""}\n'
    with log.path.open("ab") as file:
        file.write(line[:20])
        file.flush()
        assert log.refresh() == []
        file.write(line[20:])
    assert [act.frame for act in log.refresh()] == [1]


def test_a_log_that_was_replaced_is_read_anew(tmp_path):
    log = LabelLog(tmp_path / "labels.jsonl")
    log.write([(0, "single"), (1, "single")], "anna")
    log.refresh()
    before = log.identity
    other = LabelLog(tmp_path / "other.jsonl")
    other.write([(5, "other")], "ben")
    os.replace(other.path, log.path)
    assert [act.frame for act in log.refresh()] == [5]
    assert log.labels == {5: "other"}
    assert log.identity != before


WRITER = """
import sys
from hpdp_dask.spi.labels import LabelLog
log = LabelLog(sys.argv[1])
first = int(sys.argv[2])
for frame in range(first, first + 100):
    log.write([(frame, "single")], sys.argv[2])
print("done", flush=True)
while len(sys.argv) > 3:
    log.write([(first, "single")], sys.argv[2])
"""


def test_people_who_write_at_once_lose_nothing(tmp_path):
    path = tmp_path / "labels.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, str(first)], stdout=subprocess.PIPE)
        for first in (0, 100, 200)
    ]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    log = read(path)
    assert len(log.acts) == 300
    assert log.damaged == 0
    assert len(path.read_text().splitlines()) == 300


def test_what_was_written_is_there_after_a_kill(tmp_path):
    path = tmp_path / "labels.jsonl"
    command = [sys.executable, "-c", WRITER, path, "0", "on"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"done\n"
        writer.send_signal(signal.SIGKILL)
    assert len(read(path).acts) == 100


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    log = LabelLog(tmp_path / "labels.jsonl")
    log.write([(0, "single")], "anna")
    before = log.path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:10]))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        log.write([(1, "single")], "anna")
    assert log.path.read_bytes() == before


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", no_locks)
    log = LabelLog(tmp_path / "labels.jsonl")
    log.write([(1, "single")], "anna")
    log.refresh()
    assert log.labels == {1: "single"}


def test_a_lock_that_is_held_delays_but_does_not_stop(tmp_path, monkeypatch):
    def held(*_):
        raise BlockingIOError(errno.EAGAIN, "held")

    monkeypatch.setattr("fcntl.lockf", held)
    monkeypatch.setattr("hpdp_dask.spi.labels._PATIENCE", 0.05)
    log = LabelLog(tmp_path / "labels.jsonl")
    began = time.monotonic()
    log.write([(1, "single")], "anna")
    assert time.monotonic() - began >= 0.05
    log.refresh()
    assert log.labels == {1: "single"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "frame,label\n2, single\n0,other\n3,\n"),
        ("labels.txt", "\ufeffFrame,Label,who\n2,single,anna\n0,other,ben\n"),
        ("labels.csv", 'label,frame\r\n"single",2\r\nother,0\r\nother,0\r\n'),
    ],
)
def test_tables(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / name, 4).tolist() == ["other", "", "single", ""]


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["other", "", "single", ""]),
        np.array([b"other", b"", b"single", b""]),
    ],
)
def test_arrays_of_words(tmp_path, labels):
    np.save(tmp_path / "labels.npy", labels)
    assert read_labels(tmp_path / "labels.npy", 4).tolist() == ["other", "", "single", ""]
    np.savez(tmp_path / "labels.npz", label=labels[[2, 0]], frame=np.array([2, 0]), others=1)
    assert read_labels(tmp_path / "labels.npz", 4).tolist() == ["other", "", "single", ""]


@pytest.mark.parametrize("labels", [np.array([0, -1, 1]), np.array([0.0, np.nan, 1.0])])
def test_arrays_of_numbers(tmp_path, labels):
    np.savez(tmp_path / "labels.npz", labels=labels)
    assert read_labels(tmp_path / "labels.npz", 3).tolist() == ["0", "", "1"]


def test_real_labels(test_data):
    found = read_labels(test_data / "spi/pr772/pr772_30_labelled.npz", 30)
    assert set(found) == {"0", "1"}


def test_an_empty_log(tmp_path):
    (tmp_path / "labels.jsonl").touch()
    assert read_labels(tmp_path / "labels.jsonl", 2).tolist() == ["", ""]


LINE = '{{"frame": {}, "label": {}, "person": "a", "time": ""}}\n'


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("labels.jsonl", LINE.format(4, '"single"'), "frame 4, but the stack has 4 frames"),
        ("labels.jsonl", LINE.format(-1, '"single"'), "frame -1, but"),
        ("labels.jsonl", LINE.format('"x"', '"single"'), "line 1: expected a whole number"),
        ("labels.jsonl", LINE.format(1, 7), "line 1: expected a whole number"),
        ("labels.jsonl", '{"frame": 1}\n', "line 1: expected a whole number"),
        ("labels.jsonl", "no log\n", "not a log of labels"),
        ("labels.csv", "frame,label\n9,single\n7,single\n", "frame 7 and 1 others"),
        ("labels.csv", "frame,label\n1,single\n1,other\n", "line 3: frame 1 is other, but single"),
        ("labels.csv", "frame,label\nfirst,single\n", "line 2: the frame is 'first'"),
        ("labels.csv", "index,class\n1,single\n", "index,class, expected columns frame and label"),
        ("labels.csv", "", "the first line is empty"),
        ("labels.csv", b"frame,label\n1,\xff\xfe\n", "cannot be read as a table"),
        ("labels.npy", b"no array", "cannot be read as NumPy's arrays"),
        ("labels.npy", np.array(["a"] * 3), r"shape \(3,\), expected one for each of the 4 frames"),
        ("labels.npy", np.array([0.5] * 4), "holds float64, expected words or whole numbers"),
        ("labels.npz", {"classes": np.zeros(4)}, "no array label"),
        ("labels.npz", {"label": np.zeros(4, int), "frame": np.zeros(3, int)}, r"each of the \(3,"),
        ("labels.npz", {"label": np.zeros(2, int), "frame": np.zeros(2)}, "frame holds float64"),
        (
            "labels.npz",
            {"label": np.array(["a", "b"]), "frame": np.array([1, 1])},
            "frame 1 is both a and b",
        ),
    ],
)
def test_wrong_files(tmp_path, name, content, words):
    path = tmp_path / name
    if isinstance(content, dict):
        np.savez(path, **content)
    elif isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=words) as raised:
        read_labels(path, 4)
    assert str(path) in str(raised.value)


def test_places_where_nothing_can_be_written(tmp_path):
    with pytest.raises(InputError, match="a file in a folder that exists"):
        LabelLog(tmp_path / "none" / "labels.jsonl").check_writable()
    with pytest.raises(InputError, match=f"{tmp_path}: cannot be read"):
        LabelLog(tmp_path).refresh()
    with pytest.raises(InputError, match="no such file of labels"):
        read_labels(tmp_path / "none.csv", 3)
    (tmp_path / "kept.jsonl").touch(mode=0o444)
    if os.geteuid() != 0:
        with pytest.raises(InputError, match="may not be written"):
            LabelLog(tmp_path / "kept.jsonl").check_writable()
