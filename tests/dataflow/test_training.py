"""Training: the same network for any interruptions and, to rounding, any number of workers."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from distributed import WorkerPlugin
from training_learner import Level

from hpdp_dask.cluster import connect
from hpdp_dask.dataflow.training import TrainingSettings, apply_network, train_network
from hpdp_dask.dataflow.training.checkpoints import last_checkpoint
from hpdp_dask.dataflow.training.feed import Feed
from hpdp_dask.dataflow.training.loop import rate_at
from hpdp_dask.dataflow.training.order import Order, share_of
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import frame_table, new_frames
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import staging, write_images

torch = pytest.importorskip("torch")

NUMBER, SHARD = 200, 32
SETTINGS = TrainingSettings(epochs=4, batch=16, rate=1e-2, window_bytes=64 * 64, seed=3)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Frames of 8 x 8 Poisson counts, with their level, in shards of 32."""
    path = tmp_path_factory.mktemp("training") / "frames.zarr"
    random = np.random.default_rng(0)
    level = random.uniform(0, 4, NUMBER)
    counts = random.poisson(4 * level[:, None, None], (NUMBER, 8, 8)).astype(np.uint8)
    with staging(path) as stack:
        table = frame_table(None, {"true_level": level, "place": np.arange(NUMBER)})
        new_frames(stack, table, NUMBER, (8, 8), np.uint8, images_per_shard=SHARD)
        write_images(stack, 0, counts)
    return path


def weights(trained):
    return {name: each.numpy().copy() for name, each in trained.network.state_dict().items()}


def test_every_image_is_shown_once_an_epoch():
    order = Order(10, 190, SHARD, 2, 7, seed=1)
    shown = np.concatenate([step.images for step in order.epoch(0)])
    assert len(shown) == order.steps * 7 == len(np.unique(shown))
    assert shown.min() >= 10
    assert shown.max() < 190
    again = np.concatenate([step.images for step in order.epoch(1)])
    assert not np.array_equal(shown, again)
    assert np.array_equal(np.concatenate(order.windows(0))[: len(shown)], shown)


def test_a_batch_knows_its_windows():
    order = Order(0, 100, 8, 1, 20, seed=0)
    windows = order.windows(2)
    for step in order.epoch(2):
        first, last = step.windows
        assert np.isin(step.images, np.concatenate(windows[first : last + 1])).all()
        for outer in (first, last):
            assert np.isin(step.images, windows[outer]).any()


def test_workers_share_a_batch():
    images = np.arange(10)
    parts = [share_of(images, rank, 3) for rank in range(3)]
    assert np.array_equal(np.concatenate(parts), images)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("ranks", [1, 3])
def test_feed_gives_the_images_of_its_rows(frames, ranks, raw, monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Plain(Level):
        def prepare(self, images, rows, randoms):
            assert len(images) == len(randoms)
            return {"images": images, "place": rows["place"]}

    reader = ImageReader(frames)
    if raw:
        # packed shards through the path of those that are mapped
        monkeypatch.setattr(reader, "layout", dataclasses.replace(reader.layout, raw=True))
        monkeypatch.setattr(reader, "take", lambda places: ImageReader(frames).take(places))
    truth = reader.read(0, NUMBER) if not raw else ImageReader(frames).read(0, NUMBER)
    order = Order(0, NUMBER, SHARD, 1, 48, seed=5)
    rows = {"place": np.arange(NUMBER)}
    feeds = [Feed(reader, rows, Plain(), order, rank, ranks, 2) for rank in range(ranks)]
    for step, *parts in zip(order.epoch(1), *(feed.epoch(1) for feed in feeds), strict=True):
        places = np.concatenate([part["place"] for part in parts])
        assert np.array_equal(places, step.images)
        assert np.array_equal(np.concatenate([part["images"] for part in parts]), truth[places])


def test_it_learns_and_tells(frames, tmp_path):
    rows = []
    trained = train_network(
        frames,
        Level(),
        dataclasses.replace(SETTINGS, epochs=30),
        tmp_path / "kept",
        train=(0, 160),
        held_back=(160, NUMBER),
        tell=rows.append,
    )
    assert rows == trained.history
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["scores"]["error"] < 0.3 < rows[0]["scores"]["error"]
    assert 0 <= rows[-1]["waited"] < 1
    assert len(list((tmp_path / "kept").glob("[0-9]*"))) == 2
    given = apply_network(trained.network, Level(), frames, 0, NUMBER)["level"]
    assert given.shape == (NUMBER,)


def test_resumed_as_unbroken(frames, tmp_path):
    """Dropout and changes by chance come out the same, bit by bit."""
    learner = Level(dropout=0.3)
    whole = weights(train_network(frames, learner, SETTINGS, tmp_path / "whole"))

    class Broken(Exception):
        pass

    def stop(row):
        if row["epoch"] == 2:
            raise Broken

    with pytest.raises(Broken):
        train_network(frames, learner, SETTINGS, tmp_path / "broken", tell=stop)
    assert last_checkpoint(tmp_path / "broken").epoch < SETTINGS.epochs
    resumed = train_network(frames, learner, SETTINGS, tmp_path / "broken")
    assert len(resumed.history) == SETTINGS.epochs
    for name, values in weights(resumed).items():
        assert np.array_equal(values, whole[name])


def test_another_training_is_refused(frames, tmp_path):
    short = dataclasses.replace(SETTINGS, epochs=1)
    train_network(frames, Level(), short, tmp_path)
    with pytest.raises(InputError, match="other settings"):
        train_network(frames, Level(), SETTINGS, tmp_path)


def test_not_a_number_stops_and_keeps_the_last_good_network(frames, tmp_path, monkeypatch):
    train_network(frames, Level(), SETTINGS, tmp_path / "good")
    settings = dataclasses.replace(SETTINGS, epochs=3)

    class Wrong(Level):
        def losses(self, network, batch):
            found = super().losses(network, batch)
            kept = last_checkpoint(tmp_path / "kept", tensors=False)
            return {"square": found["square"] * (float("nan") if kept else 1.0)}

    with pytest.raises(InputError, match=r"epoch 2, step 1.*after epoch 1 is kept"):
        train_network(frames, Wrong(), settings, tmp_path / "kept")
    kept = last_checkpoint(tmp_path / "kept")
    assert kept.epoch == 1
    assert all(torch.isfinite(each).all() for each in kept.tensors["network"].values())


@pytest.mark.parametrize("precision", ["bfloat16", "fastest"])
def test_half_precision(frames, tmp_path, precision):
    settings = dataclasses.replace(SETTINGS, precision=precision)
    trained = train_network(frames, Level(), settings, tmp_path)
    assert all(each.dtype == torch.float32 for each in trained.network.parameters())


def test_rate_rises_and_falls():
    rates = [rate_at(step, 100, SETTINGS) for step in range(100)]
    assert np.argmax(rates) in (4, 5)
    assert max(rates) == pytest.approx(SETTINGS.rate)
    assert rates[-1] < 0.01 * SETTINGS.rate


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"rate": 0.0}, "rate is 0"),
        ({"precision": "float8"}, "float32, bfloat16"),
    ],
)
def test_settings_that_make_no_sense(wrong, said):
    with pytest.raises(InputError, match=said):
        TrainingSettings(**wrong)


def test_too_few_images_and_a_missing_truth(frames, tmp_path):
    with pytest.raises(InputError, match="do not fill one batch"):
        train_network(frames, Level(), SETTINGS, tmp_path, train=(0, 5))
    with pytest.raises(InputError, match="no variable true_size"):
        train_network(frames, Level(needs=("true_size",)), SETTINGS, tmp_path)


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
    alone = weights(train_network(frames, Level(), settings, tmp_path / "alone"))
    together = train_network(frames, Level(), settings, tmp_path / "together", client=two_workers)
    for name, values in weights(together).items():
        assert np.allclose(values, alone[name], atol=1e-5)


def test_a_worker_that_dies(frames, tmp_path, two_workers):
    trap, said = tmp_path / "trap", []
    settings = dataclasses.replace(SETTINGS, epochs=40)
    alone = weights(train_network(frames, Level(), settings, tmp_path / "unbroken"))

    def tell(row):
        if row["epoch"] == 1:
            trap.touch()

    together = train_network(
        frames,
        Level(trap=str(trap)),
        settings,
        tmp_path / "broken",
        client=two_workers,
        tell=tell,
        say=said.append,
    )
    assert not trap.exists()
    assert len(said) == 1
    assert "1 of the workers died" in said[0]
    for name, values in weights(together).items():
        assert np.allclose(values, alone[name], atol=1e-4)
