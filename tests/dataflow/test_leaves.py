import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpdp_dask.dataflow import leaves
from hpdp_dask.dataflow.leaves import Leaf, group_shards, load_leaf, read_blocks, save_leaf


@given(st.integers(1, 10_000), st.integers(1, 500), st.integers(1, 5_000))
def test_leaves_are_whole_shards_in_order(number, images_per_shard, images_per_leaf):
    found = group_shards(number, images_per_shard, images_per_leaf)
    assert [leaf.start for leaf in found[1:]] == [leaf.stop for leaf in found[:-1]]
    assert (found[0].start, found[-1].stop) == (0, number)
    for leaf in found[:-1]:
        assert leaf.start % images_per_shard == leaf.stop % images_per_shard == 0
        assert images_per_leaf <= leaf.stop - leaf.start < images_per_leaf + images_per_shard


def test_blocks_hold_images_with_their_rows(make_stack, monkeypatch):
    path, images = make_stack(number=23, images_per_shard=5)
    # three images a block; a shard of this stack is one inner chunk of five
    monkeypatch.setattr(leaves, "block_length", lambda _reader: 3)
    blocks = list(read_blocks(path, Leaf(5, 23)))
    assert [block.sizes["particle"] for block in blocks] == [3, 2, 3, 2, 3, 2, 3]
    np.testing.assert_array_equal(np.concatenate([block["images"] for block in blocks]), images[5:])
    rows = np.concatenate([block["defocus_u"] for block in blocks])
    np.testing.assert_array_equal(rows, np.arange(5, 23))
    for block in blocks:
        assert block.attrs["first_image"] == block["defocus_u"].values[0]
        assert block["euler_angles"].shape == (block.sizes["particle"], 3)
        assert block["pixel_size"].values.tolist() == [1.5]
        assert block.attrs["path"] == str(path)
        assert "micrograph_name" not in block
        assert all(isinstance(variable.data, np.ndarray) for variable in block.variables.values())


def test_blocks_are_whole_inner_chunks_of_bounded_size(make_stack, monkeypatch):
    path, _ = make_stack(number=4096, box=16, images_per_shard=2048)
    reader = leaves.ImageReader(path)
    assert reader.layout.images_per_chunk == 1024
    monkeypatch.setattr(leaves, "BLOCK_BYTES", 2**20 + 1000)
    assert leaves.block_length(reader) == 1024
    monkeypatch.setattr(leaves, "BLOCK_BYTES", 1000)
    assert leaves.block_length(reader) == 1024
    monkeypatch.setattr(leaves, "BLOCK_BYTES", 2**30)
    assert leaves.block_length(reader) == 2048


def test_leaf_files_appear_whole(tmp_path):
    file = tmp_path / Leaf(0, 12).file_name
    assert file.name == "leaf-000000000-000000011.npy"
    with pytest.raises(TypeError, match="single arrays of numbers"):
        save_leaf(file, {"a": 1})
    with pytest.raises(TypeError, match="single arrays of numbers"):
        save_leaf(file, np.array([None]))
    assert list(tmp_path.iterdir()) == []
    save_leaf(file, np.arange(5))
    assert list(tmp_path.iterdir()) == [file]
    assert load_leaf(str(file)).tolist() == [0, 1, 2, 3, 4]
