"""Training: the same network for any interruptions and, to rounding, any number of workers."""

import dataclasses
import shutil

import numpy as np
import pytest
import xarray as xr
from training_learner import NUMBER, SETTINGS, SHARD, Level, weights, write_frames

from hpdp_dask.dataflow.training import (
    PLACE,
    STEP,
    TrainingSettings,
    apply,
    apply_network,
    train_network,
)
from hpdp_dask.dataflow.training.checkpoints import last_checkpoint
from hpdp_dask.dataflow.training.feed import Feed
from hpdp_dask.dataflow.training.loop import rate_at
from hpdp_dask.dataflow.training.order import Order, share_of
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import new_stack, write_images

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("training") / "frames.zarr")


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


@dataclasses.dataclass(frozen=True)
class Plain(Level):
    """Gives images as they are, with where and when they are shown."""

    def prepare(self, images, rows, randoms):
        assert len(images) == len(randoms)
        return {"images": images, "place": rows[PLACE], "step": rows[STEP]}


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """Raw images, which are mapped, in shards of 32."""
    path = tmp_path_factory.mktemp("training") / "particles.zarr"
    images = np.random.default_rng(1).standard_normal((NUMBER, 16, 16), dtype=np.float32)
    rows = {"true_level": ("particle", np.arange(NUMBER) / NUMBER)}
    table = xr.Dataset(rows, attrs={"kind": "particles"})
    new_stack(path, table, NUMBER, 16, images_per_shard=SHARD)
    write_images(path, 0, images)
    assert ImageReader(path).layout.raw
    return path


@pytest.mark.parametrize("name", ["frames", "particles"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_feed_gives_the_images_of_its_rows(request, ranks, name):
    reader = ImageReader(request.getfixturevalue(name))
    truth = reader.read(0, NUMBER)
    order = Order(0, NUMBER, SHARD, 1, 48, seed=5)
    feeds = [Feed(reader, {}, Plain(), order, rank, ranks, 2) for rank in range(ranks)]
    whole = list(zip(*(feed.epoch(1) for feed in feeds), strict=True))
    assert len(whole) == order.steps
    for step, parts in zip(order.epoch(1), whole, strict=True):
        places = np.concatenate([part["place"] for _, part in parts])
        assert np.array_equal(places, step.images)
        assert np.array_equal(np.concatenate([part["images"] for _, part in parts]), truth[places])
        assert all((part["step"] == order.steps + step.number).all() for _, part in parts)
    later = list(feeds[0].epoch(1, first=2))
    assert [step.number for step, _ in later] == list(range(2, order.steps))
    for (_, batch), parts in zip(later, whole[2:], strict=True):
        assert torch.equal(batch["images"], parts[0][1]["images"])


def test_a_missing_shard_is_named(particles, tmp_path):
    broken = tmp_path / "broken.zarr"
    shutil.copytree(particles, broken)
    ImageReader(broken).layout.shard_file(3).unlink()
    feed = Feed(ImageReader(broken), {}, Plain(), Order(0, NUMBER, SHARD, 1, 48, seed=5))
    with pytest.raises(InputError, match="images 96 to 127"):
        list(feed.epoch(0))


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


def test_a_checkpoint_within_an_epoch(frames, tmp_path):
    """Goes on at the step after it, to the network of an unbroken training, and its losses."""
    whole = train_network(frames, Level(dropout=0.3), SETTINGS, tmp_path / "whole")

    class Broken(Exception):
        pass

    class Breaks(Level):
        def prepare(self, images, rows, randoms):
            if randoms is not None and rows[STEP][0] == 30 and not resumed:
                raise Broken
            return super().prepare(images, rows, randoms)

    resumed = False
    with pytest.raises(Broken):
        train_network(
            frames, Breaks(dropout=0.3), SETTINGS, tmp_path / "broken", checkpoint_seconds=0.0
        )
    kept = last_checkpoint(tmp_path / "broken")
    assert (kept.epoch, kept.step) == divmod(30, NUMBER // SETTINGS.batch)
    assert len(list((tmp_path / "broken").glob("[0-9]*"))) == 2
    resumed, told = True, []
    again = train_network(
        frames, Breaks(dropout=0.3), SETTINGS, tmp_path / "broken", tell=told.append
    )
    assert [row["epoch"] for row in told] == [3, 4]
    for row, expected in zip(again.history, whole.history, strict=True):
        assert row["losses"] == pytest.approx(expected["losses"], rel=1e-9)
    for name, values in weights(again).items():
        assert np.array_equal(values, weights(whole)[name])


def test_another_training_is_refused(frames, tmp_path):
    short = dataclasses.replace(SETTINGS, epochs=1)
    train_network(frames, Level(), short, tmp_path)
    with pytest.raises(InputError, match="other settings"):
        train_network(frames, Level(), SETTINGS, tmp_path)
    with pytest.raises(InputError, match="other learner"):
        train_network(frames, Level(dropout=0.5), short, tmp_path)


def test_another_stack_is_refused(frames, particles, tmp_path):
    short = dataclasses.replace(SETTINGS, epochs=1)
    train_network(frames, Level(), short, tmp_path)
    with pytest.raises(InputError, match="other stack;"):
        train_network(particles, Level(), short, tmp_path)


def test_another_rate_goes_on(frames, tmp_path):
    """From the weights and the optimizer's memory, with the schedule of the new rate."""

    class Broken(Exception):
        pass

    def stop(row):
        if row["epoch"] == 2:
            raise Broken

    with pytest.raises(Broken):
        train_network(frames, Level(), SETTINGS, tmp_path, tell=stop)
    before = last_checkpoint(tmp_path)
    slow = dataclasses.replace(SETTINGS, rate=1e-9, threads=2)
    trained = train_network(frames, Level(), slow, tmp_path)
    for name, values in weights(trained).items():
        assert np.allclose(values, before.tensors["network"][name], atol=1e-6)
    rates = [row["rate"] for row in trained.history]
    assert rates == [SETTINGS.rate] * before.epoch + [1e-9] * (SETTINGS.epochs - before.epoch)
    optimizer = last_checkpoint(tmp_path).tensors["optimizer"]
    assert optimizer["state"][0]["step"] == SETTINGS.epochs * (NUMBER // SETTINGS.batch)
    assert 0.0 < optimizer["param_groups"][0]["lr"] < 1e-9


@pytest.mark.parametrize("multiplies", [True, False])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "fastest"])
def test_half_precision(frames, tmp_path, precision, multiplies, monkeypatch):
    seen = set()

    class Looks(Level):
        def losses(self, network, batch):
            seen.add(network(batch["seen"]).dtype)
            return super().losses(network, batch)

        def outputs(self, network, batch):
            seen.add(network(batch["seen"]).dtype)
            return super().outputs(network, batch)

    monkeypatch.setattr(apply, "multiplies_halves", lambda device: multiplies)
    settings = dataclasses.replace(SETTINGS, epochs=1, precision=precision)
    trained = train_network(frames, Looks(), settings, tmp_path, held_back=(160, NUMBER))
    half = precision == "bfloat16" or (precision == "fastest" and multiplies)
    assert seen == {torch.bfloat16 if half else torch.float32}
    assert all(each.dtype == torch.float32 for each in trained.network.parameters())


def test_rate_rises_and_falls():
    rates = [rate_at(step, 100, SETTINGS) for step in range(100)]
    assert np.argmax(rates) in (4, 5)
    assert max(rates) == pytest.approx(SETTINGS.rate)
    assert rates[-1] < 0.01 * SETTINGS.rate


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": 0}, "^--epochs is 0"),
        ({"rate": 0.0}, "^--rate is 0"),
        ({"precision": "float8"}, "float32, bfloat16"),
    ],
)
def test_settings_that_make_no_sense(wrong, said):
    with pytest.raises(InputError, match=said):
        TrainingSettings(**wrong)


def test_too_few_images_and_what_is_missing(frames, particles, tmp_path):
    with pytest.raises(InputError, match="do not fill one batch"):
        train_network(frames, Level(), SETTINGS, tmp_path, train=(0, 5))
    with pytest.raises(InputError, match=r"no variable true_size.*simulated with its truth"):
        train_network(frames, Level(needs=("true_size",)), SETTINGS, tmp_path)
    with pytest.raises(InputError, match=r"no variable shift.*import the particles with their"):
        train_network(particles, Level(needs=("shift",)), SETTINGS, tmp_path)
