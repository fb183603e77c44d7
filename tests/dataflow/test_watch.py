"""Workers that are stuck are told of, and their tasks done by others."""

import os
import signal

import psutil
import pytest
from slow_loop import Slow, folds, wait_for
from test_elastic import expected, in_background, outcome

from hpdp_dask.cluster import connect
from hpdp_dask.dataflow import watch
from hpdp_dask.dataflow.iterate import iterate


@pytest.fixture
def impatient(monkeypatch):
    """Seconds for minutes."""
    for name, value in {"EVERY": 0.3, "SILENT": 2.0, "LOST": 4.0, "LEAST": 3.0}.items():
        monkeypatch.setattr(watch, name, value)


@pytest.fixture
def workers():
    with connect("local", workers=2, memory_limit="1GiB") as client:
        yield client


def test_a_frozen_worker_is_told_of_and_given_up(workers, impatient, make_stack, tmp_path):
    path, images = make_stack(100)
    loop, said = Slow(tmp_path / "notes", last=1, seconds=0.2), []
    join = in_background(
        lambda: iterate(path, loop, tmp_path / "loop", client=workers, say=said.append)
    )
    begun = wait_for(
        lambda: loop.notes.is_dir() and len(folds(loop.notes)) > 5 and folds(loop.notes)
    )
    _, _, name, pid = begun[-1]
    os.kill(pid, signal.SIGSTOP)
    assert outcome(join().state) == expected(images, loop)
    assert said[1].startswith(f"worker {name} on 127.0.0.1 has not been heard of for ")
    assert "(task expect-slow" in said[1]
    assert said[-1] == f"worker {name} on 127.0.0.1 is given up; its tasks go to others"
    wait_for(lambda: not psutil.pid_exists(pid))
    workers.wait_for_workers(2, timeout=30)


def test_a_task_that_does_not_end_is_told_of_and_done_anew(
    workers, impatient, make_stack, tmp_path
):
    path, images = make_stack(100)
    hang = tmp_path / "hang"
    hang.touch()
    loop, said = Slow(tmp_path / "notes", last=2, seconds=0.1, hang=hang), []
    state = iterate(path, loop, tmp_path / "loop", client=workers, say=said.append).state
    assert outcome(state) == expected(images, loop)
    told = said[1:]
    assert len(told) == 1
    assert " has been at the task expect-slow" in told[0]
    assert told[0].endswith("; the task goes to another")


def test_tasks_go_on_when_all_workers_are_lost_at_once(workers, impatient, make_stack, tmp_path):
    path, images = make_stack(100)
    loop, said = Slow(tmp_path / "notes", last=2, seconds=0.2), []
    join = in_background(
        lambda: iterate(path, loop, tmp_path / "loop", client=workers, say=said.append)
    )
    wait_for(lambda: loop.notes.is_dir() and len(folds(loop.notes)) > 5)
    for pid in workers.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)
    assert outcome(join().state) == expected(images, loop)


def test_who_is_not_asked_to_say_reads_it(workers, impatient, make_stack, tmp_path, capsys):
    path, _ = make_stack(100)
    hang = tmp_path / "hang"
    hang.touch()
    loop = Slow(tmp_path / "notes", last=2, seconds=0.1, hang=hang)
    iterate(path, loop, tmp_path / "loop", client=workers)
    assert " has been at the task expect-slow" in capsys.readouterr().err


def test_workers_that_do_well_are_left_alone(workers, impatient, make_stack, tmp_path):
    path, _ = make_stack(60)
    loop, said = Slow(tmp_path / "notes", last=1, seconds=0.5), []
    before = set(workers.run(os.getpid).values())
    iterate(path, loop, tmp_path / "loop", client=workers, say=said.append)
    assert len(said) == 1
    assert set(workers.run(os.getpid).values()) == before
