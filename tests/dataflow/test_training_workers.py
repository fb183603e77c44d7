"""Training by workers together: as one would, whatever befalls them."""

import dataclasses
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from distributed import WorkerPlugin
from training_learner import NUMBER, SETTINGS, Level, weights, write_frames

from hpdp_dask.cluster import connect
from hpdp_dask.dataflow.training import (
    apply_network,
    apply_to_all,
    member,
    ranks,
    spread,
    train_network,
)
from hpdp_dask.dataflow.training.loop import Job
from hpdp_dask.errors import InputError

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("training") / "frames.zarr")


class FindLearner(WorkerPlugin):
    """Lets workers import the learner of these tests, those that come later too."""

    name = "find-learner"
    folder = str(Path(__file__).parent)

    def setup(self, worker):
        sys.path.insert(0, self.folder)

    def teardown(self, worker):
        if self.folder in sys.path:
            sys.path.remove(self.folder)


@pytest.fixture(scope="module")
def two_workers():
    """A cluster of its own, since one of its workers will die."""
    with connect("local", workers=2, memory_limit="1GiB") as client:
        client.register_plugin(FindLearner())
        yield client


def test_two_workers_train_as_one(frames, tmp_path, two_workers):
    settings = dataclasses.replace(SETTINGS, batch=15)
    parts = {"train": (0, 160), "held_back": (160, NUMBER)}
    alone = train_network(frames, Level(), settings, tmp_path / "alone", **parts)
    together = train_network(
        frames, Level(), settings, tmp_path / "together", client=two_workers, **parts
    )
    for name, values in weights(together).items():
        assert np.allclose(values, weights(alone)[name], atol=1e-5)
    for row, expected in zip(together.history, alone.history, strict=True):
        for figures in ("losses", "scores"):
            assert row[figures] == pytest.approx(expected[figures], rel=1e-4)


def test_a_worker_that_dies(frames, tmp_path, two_workers):
    """No step is taken twice that a checkpoint knows of, and the dead one's heir is waited for."""
    trap, said = tmp_path / "trap", []
    trap.touch()
    settings = dataclasses.replace(SETTINGS, epochs=3)
    alone = weights(train_network(frames, Level(), settings, tmp_path / "unbroken"))
    together = train_network(
        frames,
        Level(trap=str(trap), trap_step=17),
        settings,
        tmp_path / "broken",
        checkpoint_seconds=0.0,
        client=two_workers,
        say=said.append,
    )
    assert not trap.exists()
    assert said == ["1 of the workers died; the training goes on from step 5 of epoch 2."]
    for name, values in weights(together).items():
        assert np.allclose(values, alone[name], atol=1e-4)


def test_a_worker_that_comes_later(frames, tmp_path, two_workers, monkeypatch):
    usable, asked = ranks._usable, []

    def one_at_first(client, job):
        asked.append(None)
        return usable(client, job)[: 1 if len(asked) < 5 else 2]

    monkeypatch.setattr(ranks, "_usable", one_at_first)
    monkeypatch.setattr(ranks, "_JOINING", 0.0)
    said = []
    settings = dataclasses.replace(SETTINGS, epochs=6)
    alone = weights(train_network(frames, Level(), settings, tmp_path / "alone"))
    together = train_network(
        frames, Level(pause=0.05), settings, tmp_path / "a", client=two_workers, say=said.append
    )
    assert len(said) == 1
    assert "One more worker joined; the training goes on from " in said[0]
    for name, values in weights(together).items():
        assert np.allclose(values, alone[name], atol=1e-5)


def test_memory_and_losses_of_workers(frames, tmp_path, two_workers):
    """What befalls one of them is told of all: halved batches, and images that are no numbers."""
    settings = dataclasses.replace(SETTINGS, epochs=1)
    said = []
    together = train_network(
        frames, Level(most=4), settings, tmp_path / "a", client=two_workers, say=said.append
    )
    assert len(said) == 1
    assert "too small for 8 images at once" in said[0]
    alone = weights(train_network(frames, Level(), settings, tmp_path / "alone"))
    for name, values in weights(together).items():
        assert np.allclose(values, alone[name], atol=1e-5)
    with pytest.raises(InputError, match=r"the loss of image 57 .* is not a finite number"):
        train_network(frames, Level(broken=(57,)), settings, tmp_path / "b", client=two_workers)


def averaging_at_the_end(job, rank, ranks, meeting):
    """Train; count what averages gradients over workers when their group ends."""
    import gc

    end, found = torch.distributed.destroy_process_group, []

    def look():
        kind = torch.nn.parallel.DistributedDataParallel
        found.append(sum(isinstance(each, kind) for each in gc.get_objects()))
        end()

    torch.distributed.destroy_process_group = look
    try:
        member.join_and_train(job, rank, ranks, meeting)
    except InputError:
        found.append("refused")
    finally:
        torch.distributed.destroy_process_group = end
    return found


@pytest.mark.parametrize(
    ("learner", "expected"), [(Level(broken=(57,)), [0, "refused"]), (Level(most=4), [0])]
)
def test_the_group_of_workers_is_the_last_to_go(frames, tmp_path, two_workers, learner, expected):
    """Else torch ends it while it holds Python's lock, and may wait for ever."""
    settings = dataclasses.replace(SETTINGS, epochs=1)
    job = Job(frames, learner, settings, tmp_path, (0, NUMBER), (0, 0), 120.0)
    addresses = sorted(two_workers.scheduler_info()["workers"])
    meeting = two_workers.submit(member.meeting_point, workers=addresses[:1]).result()
    futures = [
        two_workers.submit(averaging_at_the_end, job, rank, 2, meeting, workers=[address])
        for rank, address in enumerate(addresses)
    ]
    assert two_workers.gather(futures) == [expected, expected]


def test_no_worker_takes_means_over_one_image(frames, tmp_path, two_workers):
    """A batch of three would leave one image to the second worker, of which there is no spread."""
    settings = dataclasses.replace(SETTINGS, epochs=1, batch=3)
    alone, together = (
        train_network(
            frames, Level(norm=True), settings, tmp_path / name, train=(0, 30), client=client
        )
        for name, client in (("alone", None), ("together", two_workers))
    )
    # before a norm a bias has no gradient but rounding, which depends on the number of threads
    idle = {"1.bias", "2.running_mean"}
    for name, values in weights(together).items():
        assert name in idle or np.allclose(values, weights(alone)[name], atol=1e-4)


def test_threads_share_a_network(frames, tmp_path):
    """The one that ends first leaves it to the others as it was."""
    learner = Level(norm=True)
    network = learner.build()
    torch.nn.init.constant_(network[2].running_mean, 0.5)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    alone = apply_network(network, learner, frames, 0, NUMBER)["level"]
    shared = spread._network(learner, tmp_path / "weights.pt")
    begun, meanwhile = threading.Event(), threading.Event()

    def wait(images):
        begun.set()
        assert meanwhile.wait(60)

    def let_the_first_end(images):
        meanwhile.set()
        assert len(first.result(60)["level"]) == 32

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(apply_network, shared, learner, frames, 0, 32, done=wait)
        assert begun.wait(60)
        given = apply_network(shared, learner, frames, 0, NUMBER, done=let_the_first_end)
    assert np.array_equal(given["level"], alone)


def test_workers_apply_a_network(frames, tmp_path, two_workers):
    torch.manual_seed(0)
    network = Level().build()
    alone = apply_network(network, Level(), frames, 0, NUMBER, threads=2)
    part = apply_network(network, Level(), frames, 64, 130)
    assert np.array_equal(part["level"], alone["level"][64:130])
    here = apply_to_all(network, Level(), frames, tmp_path)
    together = apply_to_all(network, Level(), frames, tmp_path, threads=2, client=two_workers)
    assert np.array_equal(together["level"], alone["level"])
    assert np.array_equal(here["level"], alone["level"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="no variable shift"):
        apply_to_all(network, Level(needs=("shift",)), frames, tmp_path, client=two_workers)
