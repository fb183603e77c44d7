import pickle
import shutil

import numpy as np
import pytest
import xarray as xr
import zarr

from hpdp_dask.errors import InputError
from hpdp_dask.stacks.layout import PRECISIONS
from hpdp_dask.stacks.shard_writer import write_shard
from hpdp_dask.stacks.shards import ImageReader
from hpdp_dask.stacks.store import new_stack, write_images

NUMBER, BOX, PER_SHARD = 50, 12, 16


def make_stack(path, precision="float32", number=NUMBER, box=BOX, per_shard=PER_SHARD):
    images = np.random.default_rng(1).standard_normal((number, box, box), np.float32)
    table = xr.Dataset({"half_set": ("particle", np.arange(number) % 2)}, {}, {"kind": "particles"})
    new_stack(path, table, number, box, precision, per_shard)
    write_images(path, 0, images)
    return images


@pytest.fixture(params=PRECISIONS)
def stack(request, tmp_path):
    path = tmp_path / "noise.zarr"
    make_stack(path, request.param)
    return path


@pytest.fixture
def large_chunks(tmp_path):
    """A stack with several inner chunks a shard: 100 x 100 images, 26 an inner chunk."""
    path = tmp_path / "chunked.zarr"
    images = make_stack(path, box=100, number=120, per_shard=52)
    return path, images


def test_reader_and_zarr_agree(stack):
    reader = ImageReader(stack)
    expected = zarr.open_array(stack / "images", mode="r")[:]
    assert (reader.number, reader.box, reader.images_per_shard) == (NUMBER, BOX, PER_SHARD)
    assert reader.dtype == expected.dtype
    for start, stop in [(0, NUMBER), (0, 0), (3, 5), (15, 33), (49, 50)]:
        np.testing.assert_array_equal(reader.read(start, stop), expected[start:stop])
    indices = np.random.default_rng(2).integers(0, NUMBER, 40)
    np.testing.assert_array_equal(reader.take(indices), expected[indices])
    assert reader.take([]).shape == (0, BOX, BOX)


def test_ranges_inside_and_across_inner_chunks(large_chunks):
    path, images = large_chunks
    reader = ImageReader(path)
    assert reader.layout.images_per_chunk == 26
    for start, stop in [(0, 120), (25, 27), (1, 52), (40, 119), (104, 120)]:
        np.testing.assert_array_equal(reader.read(start, stop), images[start:stop])
    np.testing.assert_array_equal(reader.take([119, 0, 77, 77]), images[[119, 0, 77, 77]])


def test_zarr_writes_what_the_reader_reads(tmp_path):
    """The reader keeps to the specification, not only to our own writer."""
    path = tmp_path / "theirs.zarr"
    images = make_stack(path)
    other = images[::-1].copy()
    zarr.open_array(path / "images", mode="r+")[:] = other
    np.testing.assert_array_equal(ImageReader(path).read(0, NUMBER), other)
    np.testing.assert_array_equal(ImageReader(path).take([7, 49]), other[[7, 49]])


def test_a_plain_zarr_array_can_be_read_too(tmp_path):
    images = np.random.default_rng(3).standard_normal((10, 6, 6))
    group = zarr.create_group(tmp_path / "plain.zarr")
    group.create_array("images", data=images, chunks=(4, 6, 6))
    reader = ImageReader(tmp_path / "plain.zarr")
    assert (reader.dtype, reader.images_per_shard) == (np.dtype("f8"), 4)
    np.testing.assert_array_equal(reader.read(2, 9), images[2:9])
    np.testing.assert_array_equal(reader.take([9, 0]), images[[9, 0]])


def test_rounded_is_near_and_small(tmp_path):
    images = make_stack(tmp_path / "a.zarr", "rounded", number=64, box=64, per_shard=64)
    make_stack(tmp_path / "b.zarr", "float32", number=64, box=64, per_shard=64)
    read = ImageReader(tmp_path / "a.zarr").read(0, 64)
    assert np.max(np.abs(read / images - 1.0)) <= 2.0**-11
    sizes = [(tmp_path / name / "images/c/0/0/0").stat().st_size for name in ("a.zarr", "b.zarr")]
    assert sizes[0] < 0.6 * sizes[1]


def test_reader_is_pickled_as_its_path(stack):
    reader = ImageReader(stack)
    reader.take([1])
    again = pickle.loads(pickle.dumps(reader))
    assert len(pickle.dumps(reader)) < 1000
    np.testing.assert_array_equal(again.take([1, 30]), reader.take([1, 30]))


def test_outside_the_stack(stack):
    reader = ImageReader(stack)
    with pytest.raises(IndexError, match="0:51 of a stack of 50"):
        reader.read(0, 51)
    with pytest.raises(IndexError, match="-1"):
        reader.take([-1])


def test_missing_shard_is_named(stack):
    (stack / "images/c/1/0/0").unlink()
    reader = ImageReader(stack)
    np.testing.assert_array_equal(reader.read(0, 16), reader.read(0, 16))
    expected = r"noise\.zarr: the shard images/c/1/0/0 with images 16 to 31 .* is missing"
    for read in (lambda: reader.read(10, 20), lambda: reader.take([17])):
        with pytest.raises(InputError, match=expected):
            read()


def test_flipped_bit_is_found(stack):
    file = stack / "images/c/2/0/0"
    content = bytearray(file.read_bytes())
    content[100] ^= 4
    file.write_bytes(content)
    with pytest.raises(
        InputError, match=r"checksum.* in the shard images/c/2/0/0, so images 3[2-4] to \d+"
    ):
        ImageReader(stack).read(34, 40)


def test_damage_names_the_inner_chunk(large_chunks):
    path, images = large_chunks
    file = path / "images/c/1/0/0"
    content = bytearray(file.read_bytes())
    content[26 * 40_000 + 4 + 100] ^= 1  # the second inner chunk of the second shard
    file.write_bytes(content)
    reader = ImageReader(path)
    np.testing.assert_array_equal(reader.read(52, 78), images[52:78])
    with pytest.raises(InputError, match="so images 78 to 103 "):
        reader.read(52, 104)


def test_short_file_is_found(large_chunks):
    path, _ = large_chunks
    file = path / "images/c/0/0/0"
    content = file.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:size])
        reader = ImageReader(path)
        for read in (lambda: reader.read(0, 1), lambda: reader.take([0])):  # noqa: B023
            with pytest.raises(InputError, match=r"images/c/0/0/0, so images 0 to 51 "):
                read()


def test_zarr_sees_checksums_too(stack):
    """What we write carries what zarr verifies."""
    file = stack / "images/c/0/0/0"
    content = bytearray(file.read_bytes())
    content[64] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(stack / "images", mode="r")[0:1]


def test_a_shard_is_written_in_blocks_of_inner_chunks(tmp_path):
    path = tmp_path / "blocks.zarr"
    images = make_stack(path, box=100, number=120, per_shard=52)
    shutil.rmtree(path / "images/c/1")
    write_shard(path, 1, (images[start : start + 26] for start in (52, 78)))
    np.testing.assert_array_equal(ImageReader(path).read(0, 120), images)
    for wrong in ([images[:26]], [images[:52], images[:1]], [images[:10], images[:42]]):
        with pytest.raises(ValueError, match="shard"):
            write_shard(path, 1, wrong)
    assert [file.name for file in (path / "images/c/1/0").iterdir()] == ["0"]
    np.testing.assert_array_equal(ImageReader(path).read(0, 120), images)


def test_a_late_task_does_not_bring_a_removed_stack_back(tmp_path):
    path = tmp_path / "gone.zarr"
    images = make_stack(path)
    shutil.rmtree(path / "images/c")
    with pytest.raises(FileNotFoundError):
        write_shard(path, 0, [images[:16]])
