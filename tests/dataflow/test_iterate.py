"""Loops: sums and results of passes, subsets, checkpoints, and what a process keeps."""

import os
import shutil
import signal
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from slow_loop import Means

from hpdp_dask.dataflow import kept
from hpdp_dask.dataflow.iterate import iterate
from hpdp_dask.dataflow.leaves import Leaf, even_leaves
from hpdp_dask.dataflow.notes import in_batches
from hpdp_dask.dataflow.passes import chosen_images
from hpdp_dask.dataflow.results import count_results, read_results, write_results
from hpdp_dask.errors import InputError


@dataclass(frozen=True)
class State:
    iteration: int
    total: float
    counted: int = 0
    repeated: int = 0


@dataclass(frozen=True)
class Pass:
    """Adds the images' means to the model, a number in a file."""

    folder: Path
    following: Path
    iteration: int
    share: float
    crash: Path | None
    seed: int = 7
    nbytes: int = 32
    working_bytes: int = 1000
    images_per_leaf: int = 10
    preparation: Means = field(default_factory=Means)

    @property
    def name(self) -> str:
        return f"pass-{self.iteration:03d}"

    def start(self):
        return np.zeros(3)

    def fold(self, sums, block, before):
        model = kept.newest("model", str(self.folder), lambda: np.load(self.folder / "model.npy"))
        if self.crash is not None and self.iteration == 2 and self.crash.exists():
            self.crash.unlink()
            if self.crash.name == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("crash")
        mean, image = block["mean"].values, block["image"].values
        more = np.array([(mean * model).sum(), len(mean), 0 if before is None else len(image)])
        if before is not None:
            assert np.array_equal(before["twice"], 2 * image)
        return sums + more, {"twice": 2 * image}

    def merge(self, sums, other):
        return sums + other

    def finish(self, sums):
        np.save(self.following / "model.npy", sums[0] / sums[1])
        return State(self.iteration, float(sums[0]), int(sums[1]), int(sums[2]))


@dataclass(frozen=True)
class Adding:
    share: float = 1.0
    crash: Path | None = None
    last: int = 3
    name: str = "adding"
    state_type: type = State

    def begin(self, folder):
        np.save(folder / "model.npy", 1.0)
        return State(0, 0.0)

    def is_done(self, state):
        return state.iteration == self.last

    def expectation(self, state, folder, following):
        return Pass(folder, following, state.iteration + 1, self.share, self.crash)

    def largest(self, state, folder):
        return self.expectation(state, folder, folder)


def test_passes_do_not_depend_on_workers(client, make_stack, tmp_path):
    path, _ = make_stack(100)
    here = iterate(path, Adding(), tmp_path / "here")
    there = iterate(path, Adding(), tmp_path / "there", client=client)
    assert here.state == there.state
    assert (here.state.counted, here.state.repeated) == (100, 100)
    assert np.array_equal(there.results["image"], np.arange(100))
    assert np.array_equal(there.results["twice"], 2 * np.arange(100))
    assert sorted(entry.name for entry in (tmp_path / "there").glob("0*")) == ["002", "003"]


def test_states_are_told_and_memory_said(make_stack, tmp_path):
    path, _ = make_stack(50)
    told, said = [], []
    iterate(path, Adding(), tmp_path / "loop", tell=told.append, say=said.append)
    assert [state.iteration for state in told] == [0, 1, 2, 3]
    assert len(said) == 1
    assert said[0].startswith("Memory: up to about ")


@pytest.mark.parametrize("inline", [True, False])
def test_interrupted_loop_ends_as_an_unbroken_one(client, make_stack, tmp_path, inline):
    path, _ = make_stack(100)
    crash = tmp_path / "crash"
    loop = Adding(crash=crash)
    where = None if inline else client
    whole = iterate(path, loop, tmp_path / "whole", client=where)
    if inline:  # on workers an error is tried again, which the other test of workers shows
        crash.touch()
        with pytest.raises(RuntimeError, match="crash"):
            iterate(path, loop, tmp_path / "broken", client=where)
    told = []
    broken = iterate(path, loop, tmp_path / "broken", client=where, tell=told.append)
    assert broken.state == whole.state
    assert told[0].iteration == (1 if inline else 0)


def test_worker_killed_in_a_pass_changes_nothing(client, make_stack, tmp_path):
    path, _ = make_stack(100)
    kill = tmp_path / "kill"
    whole = iterate(path, Adding(crash=kill), tmp_path / "whole", client=client)
    kill.touch()
    hurt = iterate(path, Adding(crash=kill), tmp_path / "hurt", client=client)
    assert not kill.exists()
    assert hurt.state == whole.state
    assert np.array_equal(hurt.results["twice"], whole.results["twice"])
    client.wait_for_workers(2, timeout=30)


@dataclass(frozen=True)
class Large(Pass):
    """Sums that the workers cannot hold several of; two arrays."""

    nbytes: int = 200 << 20

    def start(self):
        return np.zeros(3), np.zeros(1)

    def fold(self, sums, block, before):
        first, results = super().fold(sums[0], block, before)
        return (first, sums[1] + len(results["twice"])), results

    def merge(self, sums, other):
        return sums[0] + other[0], sums[1] + other[1]

    def finish(self, sums):
        assert sums[1][0] == sums[0][1]
        return super().finish(sums[0])


@dataclass(frozen=True)
class AddingLarge(Adding):
    def expectation(self, state, folder, following):
        return Large(folder, following, state.iteration + 1, self.share, self.crash)


def test_sums_that_memory_does_not_hold_go_through_files(client, make_stack, tmp_path):
    path, _ = make_stack(100)
    said = []
    small = iterate(path, Adding(), tmp_path / "small", client=client)
    large = iterate(path, AddingLarge(), tmp_path / "large", client=client, say=said.append)
    assert "sums in files" in said[0]
    assert large.state == small.state
    assert not list((tmp_path / "large").glob("0*/leaf-*"))


def test_too_little_memory_is_told_before_the_first_pass(client, make_stack, tmp_path):
    @dataclass(frozen=True)
    class TooLarge(Adding):
        def largest(self, state, folder):
            return Large(folder, folder, 1, 1.0, None, nbytes=1 << 30)

    path, _ = make_stack(20)
    with pytest.raises(InputError, match=r"may need 3.2\d GiB of memory .* the workers have"):
        iterate(path, TooLarge(), tmp_path / "loop", client=client)


def test_folder_of_another_loop_is_refused(make_stack, tmp_path):
    path, _ = make_stack(20)
    iterate(path, Adding(), tmp_path / "loop")
    with pytest.raises(InputError, match="another reduction"):
        iterate(path, Adding(last=4), tmp_path / "loop")


def test_subsets_are_as_large_as_asked_and_differ(make_stack, tmp_path):
    whole = Leaf(0, 20000)
    first = chosen_images(Pass(tmp_path, tmp_path, 1, 0.3, None), whole)
    second = chosen_images(Pass(tmp_path, tmp_path, 2, 0.3, None), whole)
    assert abs(len(first) - 6000) < 300
    assert abs(len(second) - 6000) < 300
    assert abs(len(np.intersect1d(first, second)) - 1800) < 200
    parts = [
        chosen_images(Pass(tmp_path, tmp_path, 1, 0.3, None), leaf)
        for leaf in even_leaves(20000, 64, 900)
    ]
    assert np.array_equal(np.concatenate(parts), first)

    path, _ = make_stack(100)
    found = iterate(path, Adding(share=0.3), tmp_path / "loop")
    chosen = chosen_images(Pass(tmp_path, tmp_path, 3, 0.3, None), Leaf(0, 100))
    assert np.array_equal(found.results["image"], chosen)
    assert found.state.counted == len(chosen)
    assert found.state.repeated == 0


def test_results_come_from_any_leaves(tmp_path):
    for start in (0, 10, 20):
        image = np.arange(start, start + 10)
        write_results(tmp_path / Leaf(start, start + 10).file_name, [{"image": image, "x": image}])
    assert np.array_equal(read_results(tmp_path, np.arange(7, 23))["x"], np.arange(7, 23))
    assert count_results(tmp_path) == 30


def test_leaves_are_even():
    for number in (1, 63, 64, 100, 5000, 12345):
        leaves = even_leaves(number, 16, 300)
        assert leaves[0].start == 0
        assert leaves[-1].stop == number
        assert all(a.stop == b.start for a, b in pairwise(leaves))
        assert all(leaf.start % 16 == 0 for leaf in leaves)
    assert len(even_leaves(5000, 16, 300)) == 23  # of 24 that would be, were chunks shorter
    assert len(even_leaves(5000, 16, 10**6)) == 8


def test_what_fits_stays_and_the_rest_is_made_again():
    made = []

    def make(index):
        made.append(index)
        return np.zeros(1000, np.uint8)

    for _ in range(2):
        for index in range(4):
            kept.while_they_fit("images of a test", index, lambda i=index: make(i), 2300)
    assert made == [0, 1, 2, 3, 2, 3]
    kept.while_they_fit("others", 0, lambda: make(9), 2300)
    kept.while_they_fit("images of a test", 0, lambda: make(0), 2300)
    assert made[-2:] == [9, 0]


def test_batches_halve_when_memory_runs_out():
    seen = []

    def work(part: slice) -> None:
        if part.stop - part.start > 3:
            raise MemoryError
        seen.append((part.start, part.stop))

    in_batches(8, 8, work)
    assert seen == [(0, 2), (2, 4), (4, 6), (6, 8)]


def test_a_stack_made_anew_under_the_same_name_is_read_anew(make_stack, tmp_path):
    for box in (8, 10):
        path, images = make_stack(20, box)
        total = iterate(path, Adding(last=1), tmp_path / f"loop{box}").state.total
        assert np.isclose(total, images.mean(axis=(1, 2)).sum())
        shutil.rmtree(path)
