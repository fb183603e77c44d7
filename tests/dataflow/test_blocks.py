import numpy as np
import pytest
from dask import optimize

from hpdp_dask.dataflow.blocks import map_images, read_images, store_images
from hpdp_dask.dataflow.progress import Progress
from hpdp_dask.errors import InputError
from hpdp_dask.stacks.shards import ImageReader


def scale(images, factors, offsets, *, power=1):
    assert len(images) == len(factors) == len(offsets)
    return images * factors[:, None, None] ** power + offsets[:, 1, None, None]


def refuse(images):
    raise InputError("particles.zarr: image 3 is NaN.")


def tasks(array):
    (optimized,) = optimize(array)
    return dict(optimized.dask)


@pytest.fixture
def columns():
    generator = np.random.default_rng(1)
    return generator.uniform(1, 2, 23).astype(np.float32), generator.uniform(size=(23, 3)).astype(
        np.float32
    )


def test_a_chunk_is_a_shard(make_stack):
    path, images = make_stack(number=23, images_per_shard=5)
    array = read_images(path)
    assert array.chunks == ((5, 5, 5, 5, 3), (8,), (8,))
    assert array.dtype == array._meta.dtype == np.float32
    np.testing.assert_array_equal(array.compute(scheduler="synchronous"), images)
    np.testing.assert_array_equal(array[7:9].compute(scheduler="synchronous"), images[7:9])


def test_function_gets_the_rows_of_its_images(make_stack, columns):
    path, images = make_stack(number=23, images_per_shard=5)
    factors, offsets = columns
    mapped = map_images(read_images(path), scale, factors, offsets, name="scale", power=2)
    assert mapped.name.startswith("scale-")
    assert (mapped.shape, mapped.dtype) == ((23, 8, 8), np.float32)
    np.testing.assert_allclose(
        mapped.compute(scheduler="synchronous"), scale(images, factors, offsets, power=2), rtol=1e-6
    )
    assert len(tasks(mapped)) == 5  # reading and function are one task


def test_numbers_of_images_go_on_as_columns(make_stack, columns):
    path, images = make_stack(number=23, images_per_shard=5)
    stack = read_images(path)
    means = map_images(
        stack, lambda block: block.mean(axis=(1, 2)), dtype=np.float64, image_shape=()
    )
    pairs = map_images(stack, lambda block: block[:, 0, :3], image_shape=(3,))
    assert (means.shape, means.dtype, means._meta.shape) == ((23,), np.float64, (0,))
    assert (pairs.shape, pairs.chunks[0]) == ((23, 3), (5, 5, 5, 5, 3))
    mapped = map_images(stack, scale, means, pairs)
    np.testing.assert_allclose(
        mapped.compute(scheduler="synchronous"),
        scale(images, images.mean(axis=(1, 2)), images[:, 0, :3]),
        atol=1e-6,
    )


def test_other_shape_and_dtype(make_stack):
    path, images = make_stack(number=23, images_per_shard=5)
    cropped = map_images(
        read_images(path), lambda block: block[:, 2:6, 2:6] > 0, dtype=bool, image_shape=(4, 4)
    )
    assert (cropped.shape, cropped.dtype) == ((23, 4, 4), np.bool_)
    np.testing.assert_array_equal(cropped.compute(scheduler="synchronous"), images[:, 2:6, 2:6] > 0)
    assert len(tasks(cropped)) == 5


def test_columns_must_fit(make_stack):
    path, _ = make_stack(number=23, images_per_shard=5)
    stack = read_images(path)
    with pytest.raises(ValueError, match="a column of 22 rows for 23 images"):
        map_images(stack, scale, np.ones(22))
    with pytest.raises(ValueError, match="a column in chunks of"):
        map_images(stack, scale, stack[:, 0, 0].rechunk(23))


class Spy(Progress):
    """Notes what it is told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def track(self, name, images):
        self.told.append((name, images))
        return self

    def advance(self, images):
        self.told.append(images)


def tasks_of(client):
    """Count the tasks that have ended, by name."""
    return client.run_on_scheduler(
        lambda dask_scheduler: {
            name: prefix.state_counts["memory"]
            for name, prefix in dask_scheduler.task_prefixes.items()
        }
    )


@pytest.mark.parametrize("inline", [True, False])
def test_stored_shard_by_shard(client, make_stack, columns, inline):
    path, images = make_stack(number=23, images_per_shard=5)
    target, _ = make_stack(number=23, images_per_shard=5, name="target.zarr")
    mapped = map_images(read_images(path), scale, *columns, name="scale")
    spy = Spy()
    before = {} if inline else tasks_of(client)
    store_images(mapped, target, client=None if inline else client, progress=spy)
    np.testing.assert_allclose(ImageReader(target).read(0, 23), scale(images, *columns), rtol=1e-6)
    assert spy.told[0] == ("scale", 23)
    assert sorted(spy.told[1:]) == [3, 5, 5, 5, 5]
    if not inline:
        after = tasks_of(client)
        assert after["store-scale"] - before.get("store-scale", 0) == 5
        assert after.get("read") == before.get("read")


def test_chunks_must_be_shards(make_stack):
    path, _ = make_stack(number=23, images_per_shard=5)
    target, _ = make_stack(number=23, images_per_shard=10, name="target.zarr")
    with pytest.raises(ValueError, match="for a stack of the shards"):
        store_images(read_images(path), target)
    with pytest.raises(ValueError, match="for a stack of the shards"):
        store_images(read_images(path)[:, :4, :4], target)


@pytest.mark.parametrize("inline", [True, False])
def test_input_errors_come_through(client, make_stack, inline):
    path, _ = make_stack(number=23, images_per_shard=5)
    target, _ = make_stack(number=23, images_per_shard=5, name="target.zarr")
    where = None if inline else client
    with pytest.raises(InputError, match="image 3 is NaN"):
        store_images(map_images(read_images(path), refuse), target, client=where)
    (path / "images" / "c" / "2" / "0" / "0").unlink()
    with pytest.raises(InputError, match=r"shard images/c/2.* is missing"):
        store_images(read_images(path), target, client=where)
