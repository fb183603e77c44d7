"""Workers that come and go: they get work, and nothing depends on them."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from distributed import Client, Scheduler, SpecCluster
from slow_loop import Slow, State, extra_worker, folds, wait_for

from hpdp_dask.cluster import connect
from hpdp_dask.dataflow import watch
from hpdp_dask.dataflow.forecast import BRANCHES
from hpdp_dask.dataflow.futures import workers_of
from hpdp_dask.dataflow.iterate import iterate
from hpdp_dask.dataflow.running import _same_order

#: Larger than what a worker of 1 GiB holds several of: sums go through files.
LARGE = 200 << 20


@pytest.fixture
def nobody():
    """A scheduler without workers."""
    here = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with (
        SpecCluster(scheduler={"cls": Scheduler, "options": here}, workers={}) as cluster,
        Client(cluster) as client,
    ):
        yield client


def in_background(work):
    """Run something in a thread; gives what waits for its result."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return partial(future.result, 60)


def expected(images, loop):
    means = images.mean(axis=(1, 2), dtype="f8")
    return pytest.approx(means.sum()), len(images), loop.last


def outcome(state: State):
    return state.total, state.counted, state.iteration


def test_a_worker_that_joins_late_gets_leaves_of_the_same_pass(make_stack, tmp_path):
    path, images = make_stack(100)
    loop = Slow(tmp_path / "notes", last=1, seconds=0.5)
    with connect("local", workers=1, memory_limit="1GiB") as client:
        join = in_background(lambda: iterate(path, loop, tmp_path / "loop", client=client))
        wait_for(lambda: loop.notes.is_dir() and folds(loop.notes))
        with extra_worker(client, "late", "--memory-limit", "1GiB"):
            state = join().state
    assert outcome(state) == expected(images, loop)
    found = folds(loop.notes)
    assert len(found) == 20
    # on a busy machine it takes seconds to come
    assert any(worker == "late" for _, _, worker, _ in found)


def test_a_loop_waits_for_its_first_worker_and_says_so(nobody, make_stack, tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "EVERY", 0.2)
    monkeypatch.setattr(watch, "SILENT", 0.5)
    path, images = make_stack(30)
    loop, said = Slow(tmp_path / "notes", last=1), []
    join = in_background(
        lambda: iterate(path, loop, tmp_path / "loop", client=nobody, say=said.append)
    )
    wait_for(lambda: said)
    assert said == ["there is no worker; waiting until one comes"]
    with extra_worker(nobody, "first", "--memory-limit", "1GiB"):
        assert outcome(join().state) == expected(images, loop)


def test_all_workers_gone_between_passes(make_stack, tmp_path):
    path, images = make_stack(30)
    loop = Slow(tmp_path / "notes", last=2)

    def all_die(state):
        if state.iteration == 1:
            client.run(os.getpid)  # they are there
            for pid in client.run(os.getpid).values():
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not workers_of(client))

    with connect("local", workers=2, memory_limit="1GiB") as client:
        state = iterate(path, loop, tmp_path / "loop", client=client, tell=all_die).state
    assert outcome(state) == expected(images, loop)


def test_tasks_for_a_device_never_go_to_workers_without(nobody, make_stack, tmp_path):
    path, images = make_stack(60)
    loop = Slow(tmp_path / "notes", last=2, seconds=0.1)
    with (
        extra_worker(nobody, "gpu-0", "--resources", "GPU=1"),
        extra_worker(nobody, "cpu-0"),
        extra_worker(nobody, "gpu-1", "--resources", "GPU=1"),
    ):
        nobody.wait_for_workers(3, timeout=60)
        before = set(workers_of(nobody))
        state = iterate(path, loop, tmp_path / "loop", client=nobody).state
        assert set(workers_of(nobody)) == before  # none fell over
    assert outcome(state) == expected(images, loop)
    assert {worker for _, _, worker, _ in folds(loop.notes)} == {"gpu-0", "gpu-1"}


def test_leaves_come_back_to_the_worker_of_that_name(client, make_stack, tmp_path):
    path, _ = make_stack(80)
    loop = Slow(tmp_path / "notes", last=3, seconds=0.05)

    def one_dies(state):
        if state.iteration == 2:
            os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)
            wait_for(lambda: len(workers_of(client)) < 2)
            client.wait_for_workers(2, timeout=30)

    iterate(path, loop, tmp_path / "loop", client=client, tell=one_dies)
    places = [
        {image: worker for number, image, worker, _ in folds(loop.notes) if number == iteration}
        for iteration in (1, 3)
    ]
    same = sum(places[0][image] == places[1][image] for image in places[0])
    assert same >= 0.75 * len(places[0])


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_worker_lost_in_a_fold_costs_that_fold(client, make_stack, tmp_path, on_disk):
    path, images = make_stack(200)
    loop = Slow(tmp_path / "notes", last=1, seconds=0.1, nbytes=LARGE if on_disk else 32)

    def lose_one():
        found = wait_for(
            lambda: loop.notes.is_dir() and len(folds(loop.notes)) > 25 and folds(loop.notes)
        )
        time.sleep(0.05)  # in the middle
        os.kill(found[-1][3], signal.SIGKILL)

    join = in_background(lose_one)
    said = []
    state = iterate(path, loop, tmp_path / "loop", client=client, say=said.append).state
    join()
    assert ("sums in files" in said[0]) == on_disk
    assert outcome(state) == expected(images, loop)
    again = len(folds(loop.notes)) - 40
    # what it held in memory and had not been added yet is lost with it, too
    assert 1 <= again <= (1 if on_disk else 1 + BRANCHES)
    client.wait_for_workers(2, timeout=30)


def test_notes_come_to_whoever_runs_the_task(client, make_stack, tmp_path):
    path, _ = make_stack(30)
    heard = {"mine": [], "theirs": []}
    with Client(client.scheduler.address) as other:
        joins = [
            in_background(
                lambda name=name, where=where: iterate(
                    path,
                    Slow(tmp_path / f"notes of {name}", words=f"a note of {name}"),
                    tmp_path / name,
                    client=where,
                    say=heard[name].append,
                )
            )
            for name, where in (("mine", client), ("theirs", other))
        ]
        for join in joins:
            join()
    for name, words in heard.items():
        assert words[0].startswith("Memory")
        assert words[1:] == [f"a note of {name}"] * 2  # once a pass


def test_the_scheduler_keeps_nothing_of_each_pass(client, make_stack, tmp_path):
    def kept(dask_scheduler):
        named = [*dask_scheduler._broker._topics, *map(str, dask_scheduler.tasks)]
        return [name for name in named if "slow-0" in name]

    path, _ = make_stack(30)
    iterate(path, Slow(tmp_path / "notes", last=3, seconds=0), tmp_path / "loop", client=client)
    wait_for(lambda: client.run_on_scheduler(kept) == [])


def test_workers_are_known_whenever_asked(client):
    # Dask's client forgets them every two seconds, to ask for the scheduler's figures alone
    for _ in range(200):
        client.loop.add_callback(client._update_scheduler_info)
        assert len(workers_of(client)) == 2


def test_new_workers_take_the_places_of_those_that_have_gone():
    assert _same_order([], ["a", "b"]) == ["a", "b"]
    assert _same_order(["a", "b", "c"], ["d", "c", "a"]) == ["a", "d", "c"]
    assert _same_order(["a", "b", "c"], ["c"]) == ["c"]
    assert _same_order(["a", "b"], ["b", "c", "d"]) == ["c", "b", "d"]
