"""Frames that are wanted, as a stack of their own."""

import numpy as np
import pytest
from frame_stacks import make_frames

from hpdp_dask.cluster import connect
from hpdp_dask.errors import InputError
from hpdp_dask.spi.select import Wanted, select_frames
from hpdp_dask.stacks.frames import add_variables, open_frames

NUMBER = 90


@pytest.fixture
def photons():
    return np.random.default_rng(0).poisson(0.3, (NUMBER, 12, 20)).astype(np.uint16)


@pytest.fixture
def stack(tmp_path, photons):
    columns = {
        "train_id": np.arange(NUMBER) // 10,
        "hit": np.arange(NUMBER) % 3 == 0,
        "particle_size": np.linspace(100, 1000, NUMBER),
        "size_score": np.linspace(3, 1, NUMBER),
        "label": np.arange(NUMBER) % 2,
        "label_accepted": np.arange(NUMBER) < 50,
        "class_name": np.array(["single", "other"], object),
    }
    columns = {
        name: values.astype(np.int8) if values.dtype == bool else values
        for name, values in columns.items()
    }
    return make_frames(tmp_path / "frames.zarr", photons, images_per_shard=40, columns=columns)


@pytest.mark.parametrize(
    ("wanted", "rule"),
    [
        (Wanted(hits=True), lambda i: i % 3 == 0),
        (Wanted(labels=("other",)), lambda i: (i % 2 == 1) & (i < 50)),
        (Wanted(labels=("other",), accepted=False), lambda i: i % 2 == 1),
        (Wanted(labels=("other", "single"), hits=True), lambda i: (i % 3 == 0) & (i < 50)),
        (Wanted(size=(0, 500), size_score=2.5), lambda i: i <= 22),
    ],
)
def test_frames_that_are_wanted(tmp_path, stack, photons, wanted, rule):
    kept = np.flatnonzero(rule(np.arange(NUMBER)))
    selected = select_frames(stack, tmp_path / "kept.zarr", wanted, client=None)
    assert (selected.number, selected.of) == (len(kept), NUMBER)
    found = open_frames(tmp_path / "kept.zarr")
    np.testing.assert_array_equal(found["photons"], photons[kept])
    np.testing.assert_array_equal(found["train_id"], kept // 10)
    np.testing.assert_array_equal(found["pixel_x"], open_frames(stack)["pixel_x"])
    assert found.attrs["history"][-1]["selected"] == str(wanted)


def test_on_workers(tmp_path, stack, photons):
    with connect("local", workers=2) as client:
        select_frames(stack, tmp_path / "kept.zarr", Wanted(hits=True), client=client)
    np.testing.assert_array_equal(open_frames(tmp_path / "kept.zarr")["photons"], photons[::3])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(), "nothing says which frames"),
        (Wanted(labels=("double",)), "no class 'double', expected one of single, other"),
        (Wanted(size=(2000, 3000)), "no frames that are of 2000 to 3000 Å"),
    ],
)
def test_what_cannot_be_is_told(tmp_path, stack, wanted, message):
    with pytest.raises(InputError, match=message):
        select_frames(stack, tmp_path / "kept.zarr", wanted, client=None)
    assert not (tmp_path / "kept.zarr").exists()


def test_what_the_stack_does_not_know_is_told(tmp_path, photons):
    path = make_frames(tmp_path / "frames.zarr", photons)
    with pytest.raises(InputError, match=r"no hit .*hpdp spi hits"):
        select_frames(path, tmp_path / "kept.zarr", Wanted(hits=True), client=None)
    add_variables(path, {"hit": (("frame",), np.ones(NUMBER, np.int8))})
    assert select_frames(path, tmp_path / "kept.zarr", Wanted(hits=True), client=None).number == 90
