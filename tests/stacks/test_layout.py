import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hpdp_dask.errors import InputError
from hpdp_dask.stacks.layout import plan, read_layout, round_mantissa, to_precision

MB = 2**20


@pytest.mark.parametrize(
    ("number", "box", "precision", "chunk", "shard"),
    [
        (17, 200, "float32", 6, 18),  # below 64 MB: one shard, in whole inner chunks
        (3, 128, "float32", 3, 3),  # never more than the stack
        (10_000, 128, "float32", 16, 1024),  # 64 MB
        (1_000_000, 128, "float16", 32, 2048),
        (1100, 128, "float32", 16, 128),  # 69 MB: eight shards or more
        (100_000, 512, "float32", 1, 64),
        (100, 1024, "float32", 1, 12),  # an image is larger than an inner chunk
    ],
)
def test_plan_makes_inner_chunks_of_1_mb_and_shards_of_64_mb(number, box, precision, chunk, shard):
    planned = plan(number, box, precision)
    assert planned["chunks"][0] == chunk
    assert planned["shards"][0] == shard
    total = number * box * box * planned["dtype"].itemsize
    if total > 64 * MB:
        assert -(-number // shard) >= 8


@given(st.integers(1, 10**7), st.sampled_from([8, 64, 100, 128, 256, 360, 512, 800]))
def test_shards_are_whole_inner_chunks(number, box):
    planned = plan(number, box, "float32")
    chunk, shard = planned["chunks"][0], planned["shards"][0]
    assert shard % chunk == 0
    assert shard < number + chunk
    assert shard * box * box * 4 <= max(64 * MB, 4 * box * box) + chunk * box * box * 4


@given(st.integers(1, 300))
def test_a_given_shard_size_is_kept(images_per_shard):
    planned = plan(1000, 64, "float32", images_per_shard)
    assert planned["shards"][0] == images_per_shard
    assert images_per_shard % planned["chunks"][0] == 0


def test_unknown_precision_is_refused():
    with pytest.raises(InputError, match=r"'float8'.*float32, float16, rounded"):
        plan(10, 8, "float8")


@given(npst.arrays(np.float32, 50, elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_rounding_is_to_the_nearest_of_ten_bits(values):
    rounded = round_mantissa(values)
    mantissa, exponent = np.frexp(values.astype(np.float64))
    expected = np.ldexp(np.rint(mantissa * 2.0**11) / 2.0**11, exponent)
    normal = np.abs(values) >= np.finfo(np.float32).tiny
    np.testing.assert_array_equal(rounded[normal], expected[normal].astype(np.float32))
    assert not (rounded.view(np.uint32) & 0x1FFF).any()


def test_numbers_too_large_for_float16_are_refused():
    images = np.zeros((2, 4, 4), np.float32)
    images[1, 0, 0] = -70000.0
    with pytest.raises(InputError, match=r"70000.*float16.*65504"):
        to_precision(images, "float16")


def test_what_is_not_a_stack_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.zarr: not a Zarr particle stack"):
        read_layout(tmp_path / "nothing.zarr")
