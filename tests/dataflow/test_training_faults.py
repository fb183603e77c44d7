"""Training that fails: losses that are no numbers, memory that is too small, batches of one."""

import dataclasses

import numpy as np
import pytest
from training_learner import NUMBER, SETTINGS, Level, weights, write_frames

from hpdp_dask.dataflow.training import TrainingSettings, apply_network, train_network
from hpdp_dask.dataflow.training.apply import best_device
from hpdp_dask.dataflow.training.checkpoints import last_checkpoint
from hpdp_dask.dataflow.training.loop import Job, plan_order
from hpdp_dask.dataflow.training.order import Step
from hpdp_dask.dataflow.training.watch import NotFinite, Tally, Watch
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.shards import ImageReader

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("training") / "frames.zarr")


def order_of(frames, settings):
    job = Job(frames, Level(), settings, frames.parent, (0, NUMBER), (0, 0), 1.0)
    return plan_order(job, ImageReader(frames))


def test_images_whose_loss_is_no_number_are_named(frames, tmp_path):
    broken = (3, 57, 150)
    steps = [step for step in order_of(frames, SETTINGS).epoch(0)]
    first = next(step for step in steps if np.isin(broken, step.images).any())
    there = sorted(set(broken) & set(first.images.tolist()))
    with pytest.raises(InputError) as caught:
        train_network(frames, Level(broken=broken), SETTINGS, tmp_path, checkpoint_seconds=0.0)
    said = str(caught.value)
    plural = "s" if len(there) > 1 else ""
    named = f"the loss of image{plural} {', '.join(map(str, there))} (counted from 0) is not a"
    assert f"epoch 1, step {first.number + 1}, {named} finite number" in said
    # a checkpoint after every step, but none after that one
    assert last_checkpoint(tmp_path).step == first.number
    assert "by the same command with --resume --rate 0.005, from the network as it was " in said
    assert f"at step {first.number} of epoch 1, which is kept in {tmp_path}" in said
    kept = last_checkpoint(tmp_path).tensors["network"]
    assert all(torch.isfinite(each).all() for each in kept.values())


def test_the_last_good_network_stays(frames, tmp_path):
    class Wrong(Level):
        def losses(self, network, batch):
            found = super().losses(network, batch)
            kept = last_checkpoint(tmp_path, tensors=False)
            return {"square": found["square"] * (float("nan") if kept else 1.0)}

    said = r"epoch 2, step 1, the loss of images .* and 11 more .*after epoch 1, which is kept"
    with pytest.raises(InputError, match=said):
        train_network(frames, Wrong(), SETTINGS, tmp_path)
    kept = last_checkpoint(tmp_path)
    assert kept.epoch == 1
    assert all(torch.isfinite(each).all() for each in kept.tensors["network"].values())


def test_a_lower_rate_goes_on_from_the_last_good_network(frames, tmp_path):
    class Slips(Level):
        def losses(self, network, batch):
            found = super().losses(network, batch)
            slips = settings.rate > 6e-3 and batch["step"][0] >= 20
            return {"square": found["square"] * (float("nan") if slips else 1.0)}

    settings = SETTINGS
    with pytest.raises(InputError, match=r"--resume --rate 0.005, .* at step 8 of epoch 2"):
        train_network(frames, Slips(), settings, tmp_path, checkpoint_seconds=0.0)
    settings = dataclasses.replace(SETTINGS, rate=5e-3)
    trained = train_network(frames, Slips(), settings, tmp_path)
    assert [row["rate"] for row in trained.history] == [0.01, 0.005, 0.005, 0.005]
    assert trained.history[-1]["losses"]["square"] < trained.history[0]["losses"]["square"]


def test_a_gradient_alone_that_is_no_number_names_the_batch(frames, tmp_path):
    class Wrong(Level):
        def losses(self, network, batch):
            found = super().losses(network, batch)
            # the slope of a root at nothing
            return {"square": found["square"] + (0.0 * found["square"]).sqrt()}

    first = next(iter(order_of(frames, SETTINGS).epoch(0)))
    named = ", ".join(map(str, first.images[:5]))
    with pytest.raises(InputError, match=f"the gradient of the batch of images {named} and 11 m"):
        train_network(frames, Wrong(), SETTINGS, tmp_path)


def test_steps_that_were_seen_together():
    """As on a GPU, which is asked for figures of several steps at once."""
    watch, tally = Watch(1, "cuda"), Tally()
    steps = [Step(number, np.arange(4) + 4 * number, (0, 0)) for number in range(3)]
    for step in steps:
        assert not watch.saw(step, step.images, {"a": torch.ones(4)}, torch.tensor(2.0))
    assert watch.look(tally, 0.5, wish=True)
    assert tally.losses == {"a": 12.0}
    assert tally.waited == 0.5
    for step in steps:
        losses = torch.ones(4)
        if step.number:
            losses[step.number] = float("inf")
        watch.saw(step, step.images, {"a": losses}, torch.tensor(1.0))
    with pytest.raises(NotFinite) as caught:
        watch.look(tally, 0.0, wish=False)
    assert caught.value.step is steps[1]
    assert caught.value.images == (5,)


def test_memory_that_is_too_small_halves_what_is_computed_at_once(frames, tmp_path):
    whole = weights(train_network(frames, Level(), SETTINGS, tmp_path / "whole"))
    said = []
    pieces = train_network(frames, Level(most=5), SETTINGS, tmp_path / "small", say=said.append)
    for name, values in weights(pieces).items():
        assert np.allclose(values, whole[name], atol=1e-6)
    assert len(said) == 2
    assert "too small for 16 images at once" in said[0]
    assert "from the beginning with 4 at once, and the same batch of 16" in said[1]


def test_memory_that_gets_too_small_later(frames, tmp_path):
    """It goes on from the last checkpoint; progress is told back and forth."""

    class Later(Level):
        def losses(self, network, batch):
            small = dataclasses.replace(self, most=8) if batch["step"][0] >= 20 else self
            return Level.losses(small, network, batch)

    whole = train_network(frames, Level(), SETTINGS, tmp_path / "whole")
    said = []
    pieces = train_network(frames, Later(), SETTINGS, tmp_path / "small", say=said.append)
    assert ["from epoch 1 with 8 at once" in line for line in said] == [True]
    for row, expected in zip(pieces.history, whole.history, strict=True):
        assert row["losses"] == pytest.approx(expected["losses"], rel=1e-5)


def test_memory_for_no_image(frames, tmp_path):
    with pytest.raises(InputError, match="too little memory to train on 1 image at once"):
        train_network(frames, Level(most=0), SETTINGS, tmp_path / "a")
    with pytest.raises(InputError, match="too little memory to train on 2 images at once"):
        train_network(frames, Level(most=1, norm=True), SETTINGS, tmp_path / "b")
    # seven in pieces of two or more has one of three
    odd = dataclasses.replace(SETTINGS, batch=7)
    with pytest.raises(InputError, match="too little memory to train on 3 images at once"):
        train_network(frames, Level(most=2, norm=True), odd, tmp_path / "c")
    assert not list(tmp_path.glob("*/[0-9]*"))


@pytest.mark.parametrize("most", [8, 5, 1])
def test_memory_that_is_too_small_to_apply(frames, tmp_path, most):
    network = Level().build()
    alone = apply_network(network, Level(), frames, 0, NUMBER)["level"]
    given = apply_network(network, Level(most=most), frames, 0, NUMBER)["level"]
    assert np.allclose(given, alone, atol=1e-6)
    with pytest.raises(InputError, match=r"too little memory to apply the network to one image; "):
        apply_network(network, Level(most=0), frames, 0, NUMBER)


def test_memory_that_is_too_small_to_judge(frames, tmp_path):
    parts = {"train": (0, 160), "held_back": (160, NUMBER)}
    whole = train_network(frames, Level(), SETTINGS, tmp_path / "whole", **parts)
    small = train_network(frames, Level(most=16), SETTINGS, tmp_path / "small", **parts)
    for row, expected in zip(small.history, whole.history, strict=True):
        assert row["scores"] == pytest.approx(expected["scores"], rel=1e-5)


def test_memory_for_no_network(frames, tmp_path):
    class Huge(torch.nn.Linear):
        def to(self, device):
            if device == best_device():
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().to(device)

    class Wide(Level):
        def build(self):
            return Huge(64, 1)

    for work in (
        lambda: train_network(frames, Wide(), SETTINGS, tmp_path),
        lambda: apply_network(Wide().build(), Wide(), frames, 0, NUMBER),
    ):
        with pytest.raises(InputError, match="too little memory for the network; choose a smaller"):
            work()


def test_means_over_a_batch_take_two_images(frames, tmp_path):
    odd = dataclasses.replace(SETTINGS, batch=7, epochs=1)
    learner = Level(norm=True, most=3)
    assert train_network(frames, learner, odd, tmp_path / "odd").history
    with pytest.raises(InputError, match="batch is 1, expected 2 or more"):
        train_network(frames, learner, TrainingSettings(batch=1, epochs=1), tmp_path / "one")
