import gzip

import numpy as np
import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.formats.numpy_frames import read_numpy

FRAMES = np.random.default_rng(8).poisson(2.0, (7, 6, 8)).astype(np.uint16)


def refused(match, *arguments):
    with pytest.raises(InputError, match=match) as caught:
        read_numpy(*arguments)
    assert "\n" not in str(caught.value)


def save_all(folder, array):
    np.save(folder / "f.npy", array)
    (folder / "f.npy.gz").write_bytes(gzip.compress((folder / "f.npy").read_bytes()))
    np.savez(folder / "plain.npz", frames=array)
    np.savez_compressed(folder / "f.npz", frames=array)
    return [folder / name for name in ("f.npy", "f.npy.gz", "plain.npz", "f.npz")]


def test_frames_of_all_kinds_of_files(tmp_path):
    for path in save_all(tmp_path, FRAMES.astype(">u2")):
        source = read_numpy(path)
        assert (source.number, source.shape, source.unit) == (7, (6, 8), "photons")
        assert source.dtype == np.dtype("=u2")
        assert (source.read(0, 7) == FRAMES).all()
        assert (source.read(5, 6) == FRAMES[5:6]).all()


def test_labelled_patterns_of_pr772(test_data):
    source = read_numpy(test_data / "spi" / "pr772" / "pr772_30_labelled.npz")
    with np.load(source.path) as file:
        assert (source.read(3, 30) == file["patterns"][3:]).all()
        assert ((source.partial.mask == 2) == (file["mask"] == 1)).all()
        names = source.columns["class_name"][source.columns["label"]]
        assert names.tolist() == [str(label) for label in file["labels"]]
    assert (source.number, source.shape, source.unit) == (30, (128, 128), "photons")


def test_raw_frames_of_pr772(test_data):
    source = read_numpy(test_data / "spi" / "pr772" / "pr772_10_frames_adu_260x257.npy.gz")
    assert (source.number, source.shape, source.unit) == (10, (260, 257), "adu")
    assert np.isinf(source.read(0, 10)).any()
    assert source.read(9, 10).min() < 0


def test_one_of_several_arrays(tmp_path):
    path = tmp_path / "f.npz"
    np.savez(path, a=FRAMES, b=FRAMES + 1, c=np.zeros(3))
    refused(r"2 arrays of three dimensions \(frame, y, x\): a, b", path)
    assert (read_numpy(path, "b").read(0, 7) == FRAMES + 1).all()
    refused("no array d; it has a, b, c", path, "d")
    refused(r"holds float64 of the shape \(3,\)", path, "c")


def test_files_that_are_cut_short(tmp_path):
    for path in save_all(tmp_path, FRAMES):
        path.write_bytes(path.read_bytes()[:-60])
        if path.suffix == ".npy":
            with pytest.raises(InputError, match=r"truncated: frames 5 to 6 end after 132 of 192"):
                read_numpy(path).read(5, 7)
        elif path.suffix == ".npz":
            refused("cut short .*copy the file again", path)
        else:
            with pytest.raises(InputError, match="frames 0 to 6 cannot be read"):
                read_numpy(path).read(0, 7)


def test_files_that_are_none(tmp_path):
    path = tmp_path / "f.npy"
    path.write_bytes(b"none")
    refused("not a file of NumPy", path)
    np.save(path, np.asfortranarray(FRAMES))
    refused("in Fortran's order", path)
    np.save(path, FRAMES[0])
    refused("expected numbers of three dimensions", path)
    np.save(path, FRAMES[:0])
    refused("expected numbers of three dimensions", path)
