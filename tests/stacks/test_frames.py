"""Stacks of frames: what is written is what is read, by us, by xarray and by zarr."""

import json

import numpy as np
import pytest
import xarray as xr
import zarr
from frame_stacks import make_frames
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdp_dask.errors import InputError
from hpdp_dask.stacks.frames import add_variables, detector_of, frame_table, new_frames, open_frames
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import open_stack, staging, write_images


@pytest.fixture
def photons():
    return np.random.default_rng(0).poisson(0.3, (50, 12, 20)).astype(np.uint8)


@settings(max_examples=15, deadline=None)
@given(
    number=st.integers(1, 40),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from([np.uint8, np.uint16, np.uint32]),
    per_shard=st.integers(1, 50),
)
def test_round_trip(tmp_path_factory, number, shape, dtype, per_shard):
    random = np.random.default_rng(number)
    frames = random.integers(0, np.iinfo(dtype).max, (number, *shape), dtype)
    path = tmp_path_factory.mktemp("stack") / "frames.zarr"
    make_frames(path, frames, images_per_shard=per_shard)
    reader = ImageReader(path)
    assert reader.layout.packed
    np.testing.assert_array_equal(reader.read(0, number), frames)
    wanted = random.integers(0, number, 10)
    np.testing.assert_array_equal(reader.take(wanted), frames[wanted])
    np.testing.assert_array_equal(zarr.open_array(path / "photons", mode="r")[...], frames)
    assert open_frames(path)["photons"].dtype == dtype
    np.testing.assert_array_equal(open_frames(path)["photons"].values, frames)


def test_adu(tmp_path):
    adu = np.random.default_rng(0).normal(0, 10, (5, 7, 3)).astype(np.float32)
    path = make_frames(tmp_path / "frames.zarr", adu, unit="adu")
    np.testing.assert_array_equal(ImageReader(path).read(0, 5), adu)
    assert open_frames(path)["adu"].dims == ("frame", "y", "x")


def test_photons_are_packed(tmp_path, photons):
    many = np.tile(photons, (20, 3, 3))
    path = make_frames(tmp_path / "frames.zarr", many)
    stored = sum(file.stat().st_size for file in (path / "photons").rglob("*") if file.is_file())
    assert stored < many.nbytes / 2


def test_a_damaged_chunk_is_told(tmp_path, photons):
    path = make_frames(tmp_path / "frames.zarr", photons)
    file = ImageReader(path).layout.shard_file(0)
    content = bytearray(file.read_bytes())
    content[30] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="a checksum does not match in the shard photons/c/0/0/0"):
        ImageReader(path).read(0, 50)
    file.write_bytes(content[:100])
    with pytest.raises(InputError, match="the index at the end is damaged"):
        ImageReader(path).read(0, 50)


def test_geometry_and_columns(tmp_path, photons):
    trains = np.arange(50) + 2**40
    path = make_frames(
        tmp_path / "frames.zarr", photons, columns={"train_id": trains}, center=(9.0, 5.5)
    )
    stack = open_frames(path)
    np.testing.assert_array_equal(stack["train_id"], trains)
    detector = detector_of(stack)
    assert detector.shape == (12, 20)
    assert detector.wavelength == 8.0
    assert detector.distance == 0.5
    np.testing.assert_allclose(detector.pixel_x[:, 9], 0)
    add_variables(path, {"beam_center": (("axis",), np.array([1e-3, -2e-3]))})
    moved = detector_of(open_frames(path))
    np.testing.assert_allclose(moved.pixel_x, detector.pixel_x - 1e-3)
    np.testing.assert_allclose(moved.pixel_y, detector.pixel_y + 2e-3)


def test_variables_are_added_and_told_of(tmp_path, photons):
    path = make_frames(tmp_path / "frames.zarr", photons)
    lit = np.arange(50)
    add_variables(path, {"lit_pixels": (("frame",), lit)}, history={"command": "hpdp spi hits"})
    with pytest.raises(InputError, match="has lit_pixels already; --overwrite replaces it"):
        add_variables(path, {"lit_pixels": (("frame",), lit)})
    add_variables(path, {"lit_pixels": (("frame",), lit + 1)}, overwrite=True)
    with xr.open_zarr(path) as plain:
        np.testing.assert_array_equal(plain["lit_pixels"], lit + 1)
        first, second = plain.attrs["history"]
    assert first["command"] == "hpdp spi hits"
    assert first["added"] == second["added"] == ["lit_pixels"]
    assert not (path / ".adding").exists()


def test_a_failure_adds_nothing(tmp_path, photons):
    path = make_frames(tmp_path / "frames.zarr", photons)
    before = json.loads((path / "zarr.json").read_bytes())
    with pytest.raises(ValueError, match="lit_pixels has 49 rows for 50 frames"):
        add_variables(path, {"lit_pixels": (("frame",), np.arange(49))})
    assert json.loads((path / "zarr.json").read_bytes()) == before
    assert not (path / ".adding").exists()


def test_each_kind_is_told_from_the_other(tmp_path, photons):
    path = make_frames(tmp_path / "frames.zarr", photons)
    with pytest.raises(InputError, match="a stack of frames, but not a stack of particles"):
        open_stack(path)
    with pytest.raises(InputError, match="no such stack"):
        open_frames(tmp_path / "none.zarr")


def test_what_is_missing_is_named(tmp_path, photons):
    with staging(tmp_path / "frames.zarr") as folder:
        new_frames(folder, frame_table(None, {}), 50, (12, 20), np.uint8)
        write_images(folder, 0, photons)
    with pytest.raises(InputError, match=r"no pixel_x .* import the frames again with --geometry"):
        detector_of(open_frames(tmp_path / "frames.zarr"))
