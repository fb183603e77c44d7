import h5py
import hdf5plugin
import numpy as np
import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.formats.hdf5_frames import read_hdf5
from hpdp_dask.formats.mask_files import read_mask

FRAMES = np.random.default_rng(7).poisson(2.0, (5, 6, 8)).astype(np.int16)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "f.h5"


def refused(match, *arguments):
    with pytest.raises(InputError, match=match) as caught:
        read_hdf5(*arguments)
    assert "\n" not in str(caught.value)


def test_the_only_stack_with_what_lies_beside_it(path):
    with h5py.File(path, "w") as file:
        group = file.create_group("run/hits")
        group.create_dataset("frames", data=FRAMES, **hdf5plugin.Bitshuffle())
        group["labels"] = np.array(["virus", "", "salt", "virus", "virus"], h5py.string_dtype())
        group["mask"] = FRAMES[0] > 4
        group["trainId"] = np.arange(5)
        group["something"] = np.arange(3)
        file["background"] = np.zeros((6, 8))
    source = read_hdf5(path)
    assert (source.number, source.shape, source.unit) == (5, (6, 8), "photons")
    assert (source.read(1, 4) == FRAMES[1:4]).all()
    assert source.columns["class_name"].tolist() == ["salt", "virus"]
    assert source.columns["label"].tolist() == [1, -1, 0, 1, 1]
    assert source.columns["train_id"].tolist() == [0, 1, 2, 3, 4]
    assert ((source.partial.mask == 2) == (FRAMES[0] > 4)).all()


def test_a_dataset_by_name_and_modules(path):
    with h5py.File(path, "w") as file:
        file["a"] = FRAMES
        file["b"] = FRAMES.astype(">f4").reshape(5, 2, 3, 8)
        file["c"] = FRAMES
    refused(r"2 datasets of three dimensions \(frame, y, x\): /a, /c", path)
    refused("no dataset d; it has /a", path, "d")
    source = read_hdf5(path, "b")
    assert (source.modules, source.shape, source.unit) == (2, (6, 8), "adu")
    assert source.dtype == np.dtype("=f4")
    assert (source.read(0, 5) == FRAMES).all()


def test_files_without_frames(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(4)
    refused("has no datasets of three dimensions", path)
    refused(r"x is no stack of frames.*found \(4,\)", path, "x")


def test_a_mask_of_another_shape(path):
    with h5py.File(path, "w") as file:
        file["frames"] = FRAMES
        file["mask"] = np.zeros((8, 6))
    refused("the mask is of 8 x 6 pixels, the frames of 6 x 8", path)


@pytest.mark.parametrize(("name", "good"), [("mask", False), ("good_pixels", True)])
def test_masks_in_files_of_their_own(tmp_path, name, good):
    bad = FRAMES[1] > 3
    values = ~bad if good else bad
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file[f"entry_1/data_1/{name}"] = values.reshape(2, 3, 8)
        file["entry_1/other"] = np.zeros((4, 4))
    np.save(tmp_path / "m.npy", bad)
    np.savez(tmp_path / "m.npz", mask=bad, other=bad)
    for file_name in ("m.h5", "m.npy", "m.npz"):
        assert ((read_mask(tmp_path / file_name, (6, 8)) == 2) == bad).all()


def test_masks_that_are_none(tmp_path):
    def refused(match, path):
        with pytest.raises(InputError, match=match):
            read_mask(path, (6, 8))

    path = tmp_path / "m.npy"
    refused("there is no such file", path)
    np.save(path, np.ones((6, 8)))
    refused("leaves no pixel .*the other way round", path)
    np.save(path, np.array([["a"] * 8] * 6))
    refused("expected numbers", path)
    path.write_bytes(b"none")
    refused("not a file of NumPy", path)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["a"] = file["b"] = np.zeros((6, 8))
    refused("none of them alone called mask", tmp_path / "m.h5")
