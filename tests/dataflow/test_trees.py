import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import get_worker

from hpdp_dask.cluster import connect
from hpdp_dask.dataflow.forecast import IDLE_BYTES, check_memory, most_held
from hpdp_dask.dataflow.futures import memory_limits
from hpdp_dask.dataflow.leaves import Leaf, read_blocks, save_leaf
from hpdp_dask.dataflow.progress import Progress
from hpdp_dask.dataflow.trees import reduce_images, worth_keeping
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.shards import ImageReader


@dataclass(frozen=True)
class Sum:
    """Sums images in single precision, where the order of sums shows in the last bits."""

    name = "sum"
    box: int = 8
    images_per_leaf: int = 5

    @property
    def nbytes(self):
        return 4 * self.box**2 + 4

    def start(self):
        return np.zeros(self.box**2 + 1, np.float32)

    def fold(self, accumulator, block):
        accumulator[:-1] += block["images"].values.sum(axis=0).ravel()
        accumulator[-1] += block.sizes["particle"]
        return accumulator

    def merge(self, accumulator, other):
        accumulator += other
        return accumulator

    def finish(self, accumulator):
        return accumulator[:-1].reshape(self.box, self.box), int(accumulator[-1])


@dataclass(frozen=True)
class Large(Sum):
    """Says that its accumulators are larger than they are."""

    nbytes: int = 0


@dataclass(frozen=True)
class SlowSum(Sum):
    """Takes a while, and notes each fold and how many results its worker holds."""

    notes: Path = Path()
    seconds: float = 0.1

    def fold(self, accumulator, block):
        time.sleep(self.seconds)
        with (self.notes / f"{os.getpid()}").open("a") as file:
            file.write(f"{block.attrs['first_image']} {len(get_worker().data)}\n")
        return super().fold(accumulator, block)


def notes(folder):
    """Give the first image of each block that was folded, and what the worker held then."""
    lines = [line for file in folder.iterdir() for line in file.read_text().splitlines()]
    return np.array([line.split() for line in lines], int).reshape(-1, 2).T


@dataclass(frozen=True)
class Refusing(SlowSum):
    """Refuses the block of image 20, until it is told to allow it."""

    def fold(self, accumulator, block):
        accumulator = super().fold(accumulator, block)
        if block.attrs["first_image"] == 20 and not self.notes.with_name("allowed").exists():
            raise InputError("particles.zarr: image 20 is not to be had.")
        return accumulator


@dataclass(frozen=True)
class Deadly(Sum):
    """Ends the process, as the kernel does when memory runs out."""

    def fold(self, accumulator, block):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Failing(Sum):
    """Fails at first, as a file server does."""

    failures: Path = Path()
    times: int = 2

    def fold(self, accumulator, block):
        if block.attrs["first_image"] == 20 and len(list(self.failures.iterdir())) < self.times:
            (self.failures / str(time.monotonic_ns())).touch()
            raise OSError("stale file handle")
        return super().fold(accumulator, block)


def test_sum_is_right_and_does_not_depend_on_workers(client, make_stack):
    path, images = make_stack(number=437)
    total, number = here = reduce_images(path, Sum())
    assert number == 437
    np.testing.assert_allclose(total, images.sum(axis=0, dtype=np.float64), atol=1e-3)
    results = {"two": reduce_images(path, Sum(), client=client)}
    for workers in (1, 4):
        with connect("local", workers=workers, memory_limit="1GiB") as other:
            results[workers] = reduce_images(path, Sum(), client=other)
    for total, number in results.values():
        assert number == 437
        assert total.tobytes() == here[0].tobytes()
    # the order does show: a tree with other leaves differs in the last bits
    assert reduce_images(path, Sum(images_per_leaf=50))[0].tobytes() != here[0].tobytes()


@pytest.mark.parametrize("number", [1, 5, 25, 30, 85])
def test_every_shape_of_tree(client, make_stack, number):
    path, images = make_stack(number=number)
    for where in (None, client):
        total, counted = reduce_images(path, Sum(), client=where)
        assert counted == number
        np.testing.assert_allclose(total, images.sum(axis=0), atol=1e-4)


@dataclass(frozen=True)
class Moments(Sum):
    """Has an accumulator of two arrays."""

    def start(self):
        return np.zeros((self.box, self.box)), np.zeros((self.box, self.box))

    def fold(self, accumulator, block):
        images = block["images"].values.astype(np.float64)
        return accumulator[0] + images.sum(axis=0), accumulator[1] + (images**2).sum(axis=0)

    def merge(self, accumulator, other):
        for mine, its in zip(accumulator, other, strict=True):
            mine += its
        return accumulator

    def finish(self, accumulator):
        return accumulator


@pytest.mark.parametrize("inline", [True, False])
def test_accumulator_of_several_arrays(client, make_stack, inline):
    path, images = make_stack(number=85)
    first, second = reduce_images(path, Moments(), client=None if inline else client)
    np.testing.assert_allclose(first, images.sum(axis=0, dtype=np.float64))
    np.testing.assert_allclose(second, (images.astype(np.float64) ** 2).sum(axis=0))


def test_another_finish(client, make_stack):
    path, _ = make_stack()
    for where in (None, client):
        assert reduce_images(path, Sum(), client=where, finish=len) == 65


class Spy(Progress):
    """Counts what it is told."""

    def __init__(self):
        super().__init__()
        self.images, self.calls = 0, 0

    def track(self, name, images):
        assert (name, images) == ("sum", 60)
        return self

    def advance(self, images):
        self.images += images
        self.calls += 1


@pytest.mark.parametrize("inline", [True, False])
def test_progress_tells_of_each_block(client, make_stack, inline):
    path, _ = make_stack(number=60, images_per_shard=5)
    spy = Spy()
    reduce_images(path, Sum(images_per_leaf=20), client=None if inline else client, progress=spy)
    assert spy.images == 60
    assert spy.calls >= 12


def test_worker_killed_in_the_middle(client, make_stack, tmp_path):
    path, _ = make_stack(number=100)
    folder = tmp_path / "notes"
    folder.mkdir()
    killed = []

    def kill_one():
        while not killed:
            time.sleep(0.01)
            counts = {file.name: len(file.read_text().splitlines()) for file in folder.iterdir()}
            ready = [name for name, count in counts.items() if count >= 4]
            if ready:
                os.kill(int(ready[0]), signal.SIGKILL)
                killed.extend(ready[:1])

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    total, number = reduce_images(path, SlowSum(notes=folder, seconds=0.05), client=client)
    killer.join(timeout=10)
    assert number == 100
    assert total.tobytes() == reduce_images(path, Sum())[0].tobytes()
    firsts, _ = notes(folder)
    assert len(firsts) > 20  # what the dead worker held was made again
    client.wait_for_workers(2, timeout=30)


@pytest.mark.parametrize(
    ("leaves", "lanes", "held"),
    [(1, 1, 3), (4, 1, 6), (4, 64, 6), (5, 1, 9), (64, 1, 12), (64, 2, 9), (200, 64, 7)],
)
def test_forecast_of_accumulators(leaves, lanes, held):
    assert most_held(leaves, lanes) == held


def test_few_accumulators_at_a_time(client, make_stack, tmp_path):
    path, _ = make_stack(number=128, images_per_shard=1)
    folder = tmp_path / "notes"
    folder.mkdir()
    reduction = SlowSum(images_per_leaf=1, notes=folder, seconds=0.002)
    reduce_images(path, reduction, client=client)
    firsts, held = notes(folder)
    assert len(firsts) == 128
    assert np.median(held) <= most_held(128, 2)
    assert held.max() <= 2 + 2 * 3 * 4  # whatever worker lags


def test_durable_leaves_are_not_folded_again(client, make_stack, tmp_path):
    path, _ = make_stack(number=60)
    folder, leaves = tmp_path / "notes", tmp_path / "leaves"
    folder.mkdir()
    reduction = Refusing(notes=folder, seconds=0.01)
    with pytest.raises(InputError, match="image 20 is not to be had"):
        reduce_images(path, reduction, client=client, durable=leaves)
    # what was under way when the rest was cancelled comes to its end
    while any(client.run(lambda dask_worker: len(dask_worker.active_threads)).values()):
        time.sleep(0.01)
    spans = [Leaf.of_file(file) for file in leaves.glob("leaf-*.npy")]
    kept = {first for span in spans for first in range(span.start, span.stop, 5)}
    assert kept
    for file in folder.iterdir():
        file.unlink()
    (tmp_path / "allowed").touch()
    total, number = reduce_images(path, reduction, client=client, durable=leaves)
    assert (number, total.tobytes()) == (60, reduce_images(path, Sum())[0].tobytes())
    firsts, _ = notes(folder)
    assert sorted(firsts) == sorted(set(range(0, 60, 5)) - kept)


def test_durable_sums_are_the_same_and_make_way_for_the_sum_of_all(client, make_stack, tmp_path):
    path, _ = make_stack(number=60)
    expected = reduce_images(path, Sum())[0].tobytes()
    for number, where in enumerate((None, client)):
        leaves = tmp_path / f"leaves{number}"
        total, _ = reduce_images(path, Sum(), client=where, durable=leaves)
        assert total.tobytes() == expected
        [file] = leaves.glob("leaf-*")
        made = file.stat().st_mtime_ns
        total, _ = reduce_images(path, Sum(), client=where, durable=leaves)
        assert total.tobytes() == expected
        assert file.stat().st_mtime_ns == made


@pytest.mark.parametrize("lost", [range(0, 5), range(4, 12), [11]])
def test_durable_sums_go_on_from_any_that_are_left(client, make_stack, tmp_path, lost):
    """Leaves of which some have been added already, some not, and some were never there."""
    path, _ = make_stack(number=60)
    expected = reduce_images(path, Sum())[0].tobytes()
    leaves = tmp_path / "leaves"
    reduce_images(path, Sum(), durable=leaves)
    for file in leaves.glob("leaf-*"):
        file.unlink()
    accumulators = [Sum().start() for _ in range(12)]
    for index, sums in enumerate(accumulators):
        for block in read_blocks(path, Leaf(5 * index, 5 * index + 5)):
            accumulators[index] = Sum().fold(sums, block)
        if index not in lost and index not in range(4):
            save_leaf(leaves / Leaf(5 * index, 5 * index + 5).file_name, accumulators[index])
    if 0 not in lost:
        for other in accumulators[1:4]:
            Sum().merge(accumulators[0], other)
        save_leaf(leaves / Leaf(0, 20).file_name, accumulators[0])
    total, _ = reduce_images(path, Sum(), client=client, durable=leaves)
    assert total.tobytes() == expected


def test_what_is_long_or_does_not_fit_is_worth_keeping(client, make_stack):
    path, _ = make_stack(number=60)
    assert not worth_keeping(path, Sum(), client)
    assert not worth_keeping(path, Sum(), None)
    many, _ = make_stack(number=200, name="many.zarr")
    assert worth_keeping(many, Sum(), None)
    limit = memory_limits(client)[0][1]
    large = Large(nbytes=(limit - IDLE_BYTES) // 5)
    assert worth_keeping(path, large, client)
    assert not worth_keeping(path, large, None)
    check_memory(client, ImageReader(path), large, 12, durable=True)
    with pytest.raises(InputError, match="8 sums of"):
        check_memory(client, ImageReader(path), large, 12, durable=False)


def test_durable_leaves_of_other_work_are_refused(make_stack, tmp_path):
    path, _ = make_stack()
    other, _ = make_stack(name="b.zarr")
    leaves = tmp_path / "leaves"
    reduce_images(path, Sum(), durable=leaves)
    with pytest.raises(InputError, match="partial sums of another stack"):
        reduce_images(other, Sum(), durable=leaves)
    with pytest.raises(InputError, match="partial sums of another reduction"):
        reduce_images(path, Sum(images_per_leaf=6), durable=leaves)
    (path / "defocus_u" / "c" / "0").touch()
    with pytest.raises(InputError, match="partial sums of another stack"):
        reduce_images(path, Sum(), durable=leaves)


def test_input_error_of_a_worker_is_raised_at_once(client, make_stack, tmp_path):
    path, _ = make_stack(number=500)
    folder = tmp_path / "notes"
    folder.mkdir()
    with pytest.raises(InputError, match="image 20 is not to be had"):
        reduce_images(path, Refusing(notes=folder, seconds=0.02), client=client)
    firsts, _ = notes(folder)
    assert np.count_nonzero(firsts == 20) == 1  # not tried again
    assert len(firsts) < 40  # of 100: the rest was cancelled


def test_damaged_shard_is_named(client, make_stack):
    path, _ = make_stack()
    with (path / "images" / "c" / "3" / "0" / "0").open("r+b") as file:
        file.write(b"nonsense")
    for where in (None, client):
        with pytest.raises(InputError, match=r"a checksum does not match in the shard images/c/3"):
            reduce_images(path, Sum(), client=where)


def test_errors_that_pass_are_tried_again(client, make_stack, tmp_path):
    path, _ = make_stack()
    failures = tmp_path / "failures"
    failures.mkdir()
    _, number = reduce_images(path, Failing(failures=failures), client=client)
    assert number == 60
    with pytest.raises(OSError, match="stale file handle"):
        reduce_images(path, Failing(failures=failures, times=100), client=client)


def test_workers_that_die_are_told_in_a_sentence(make_stack):
    path, _ = make_stack(number=5)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        connect("local", workers=1, memory_limit="1GiB") as client,
        pytest.raises(InputError, match=r"2 worker processes died .* task fold-sum; .*1.00 GiB"),
    ):
        reduce_images(path, Deadly(), client=client)


def test_too_little_memory_is_found_before_the_start(client, make_stack):
    path, _ = make_stack()

    @dataclass(frozen=True)
    class Large(Sum):
        nbytes: int = 2**30

        def start(self):
            raise AssertionError("started")

    with pytest.raises(
        InputError, match=r"sum needs 8\.\d+ GiB of memory on each worker .* have 2\.00 GiB; use"
    ):
        reduce_images(path, Large(), client=client)


def test_inline_does_without_distributed(make_stack):
    path, _ = make_stack(number=10)
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from types import SimpleNamespace\n"
        "from hpdp_dask.dataflow.trees import reduce_images\n"
        "count = SimpleNamespace(name='count', nbytes=8, images_per_leaf=1, finish=int,\n"
        "    start=lambda: np.zeros(()), merge=lambda a, b: a + b,\n"
        "    fold=lambda a, block: a + block.sizes['particle'])\n"
        f"print(reduce_images({str(path)!r}, count), 'distributed' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10", "False"]


def test_stack_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="not a Zarr particle stack"):
        reduce_images(tmp_path / "none.zarr", Sum())
