"""Numbers of each frame: the same whatever runs them, all of them or none."""

from dataclasses import dataclass

import numpy as np
import pytest
from frame_stacks import make_frames

from hpdp_dask.cluster import connect
from hpdp_dask.dataflow import columns as columns_module
from hpdp_dask.dataflow.columns import Column, measure_images
from hpdp_dask.dataflow.leaves import Leaf
from hpdp_dask.dataflow.trees import reduce_images
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import open_frames


@dataclass(frozen=True)
class Photons:
    """Counts the photons of good pixels, and those of each row."""

    name: str = "count"
    needs: tuple[str, ...] = ()

    @property
    def columns(self):
        return {
            "photon_count": Column(np.int64),
            "rows": Column(np.float32, (12,), ("row",)),
        }

    def prepare(self, stack):
        return stack["mask"].values == 0

    def measure(self, block, good):
        photons = np.where(good, block["photons"].values, 0)
        return {
            "photon_count": photons.sum(axis=(1, 2), dtype=np.int64),
            "rows": photons.sum(axis=2, dtype=np.float32),
        }


@dataclass(frozen=True)
class Excess:
    """Photons beyond a number, of what was counted before."""

    beyond: int
    name: str = "excess"
    needs: tuple[str, ...] = ("photon_count",)

    @property
    def columns(self):
        return {"excess": Column(np.int64)}

    def prepare(self, stack):
        return None

    def measure(self, block, _):
        if block["photon_count"].values.max() > 10_000:
            raise InputError("a frame has too many photons.")
        return {"excess": block["photon_count"].values - self.beyond}


@dataclass(frozen=True)
class Sum:
    """Sum of the frames."""

    name: str = "sum"
    nbytes: int = 12 * 20 * 8
    images_per_leaf: int = 10

    def start(self):
        return np.zeros((12, 20))

    def fold(self, accumulator, block):
        assert block["mask"].shape == (12, 20)
        return accumulator + block["photons"].values.sum(axis=0)

    def merge(self, accumulator, other):
        return accumulator + other

    def finish(self, accumulator):
        return accumulator


@pytest.fixture
def photons():
    return np.random.default_rng(0).poisson(0.3, (200, 12, 20)).astype(np.uint8)


@pytest.fixture
def stack(tmp_path, photons):
    mask = np.zeros((12, 20), np.uint8)
    mask[3, :5] = 2
    return make_frames(tmp_path / "frames.zarr", photons, images_per_shard=30, mask=mask)


@dataclass(frozen=True)
class Row:
    """A row of each frame, as a part of the images and not a copy."""

    name: str = "row"
    needs: tuple[str, ...] = ()

    @property
    def columns(self):
        return {"row": Column(np.uint8, (20,), ("column",))}

    def prepare(self, stack):
        return None

    def measure(self, block, _):
        return {"row": block["photons"].values[:, 5]}


def check(stack, photons):
    found = open_frames(stack)
    good = photons.astype(int)
    good[:, 3, :5] = 0
    np.testing.assert_array_equal(found["photon_count"], good.sum(axis=(1, 2)))
    np.testing.assert_array_equal(found["rows"], good.sum(axis=2))
    np.testing.assert_array_equal(found["excess"], good.sum(axis=(1, 2)) - 7)
    assert found["rows"].dims == ("frame", "row")
    assert found["photon_count"].attrs["units"] == "photon"


def test_in_this_process(stack, photons):
    measure_images(stack, [Photons(), Excess(7)], history={"command": "hpdp test"})
    check(stack, photons)
    assert open_frames(stack).attrs["history"][0]["command"] == "hpdp test"


def test_parts_of_images_outlive_their_block(stack, photons, monkeypatch):
    monkeypatch.setattr(columns_module, "even_leaves", lambda number, *_: [Leaf(0, number)])
    measure_images(stack, [Row()])
    np.testing.assert_array_equal(open_frames(stack)["row"], photons[:, 5])


def test_on_workers(stack, photons, monkeypatch):
    monkeypatch.setattr(columns_module, "_PIXELS_PER_LEAF", 12 * 20 * 10)
    with connect("local", workers=2) as client:
        measure_images(stack, [Photons(), Excess(7)], client=client)
        check(stack, photons)
        measure_images(stack, [Excess(9)], client=client, overwrite=True)
        found = open_frames(stack)
        np.testing.assert_array_equal(found["excess"], found["photon_count"] - 9)
        np.testing.assert_array_equal(
            reduce_images(stack, Sum(), client=client), photons.sum(axis=0)
        )


def test_what_is_there_is_not_replaced_unasked(stack):
    measure_images(stack, [Photons()])
    with pytest.raises(InputError, match="has photon_count, rows already; --overwrite"):
        measure_images(stack, [Photons()])


def test_what_is_missing_is_named(stack):
    with pytest.raises(InputError, match=r"no photon_count .* hpdp spi hits computes it"):
        measure_images(stack, [Excess(7)])


def test_a_refusal_adds_nothing(tmp_path):
    frames = np.full((3, 12, 20), 200, np.uint8)
    path = make_frames(tmp_path / "frames.zarr", frames)
    with pytest.raises(InputError, match="too many photons"):
        measure_images(path, [Photons(), Excess(7)])
    assert "photon_count" not in open_frames(path)


def test_counts_are_needed(tmp_path):
    path = make_frames(tmp_path / "frames.zarr", np.zeros((3, 12, 20), np.float32), unit="adu")
    with pytest.raises(InputError, match="hpdp spi calibrate"):
        measure_images(path, [Photons()])
