import pickle
import shutil
import sys

import h5py
import numpy as np
import pytest
from xfel_run import PULSES, TRAINS, frames_of, image_groups, make_run

from hpdp_dask.errors import InputError
from hpdp_dask.formats.euxfel import read_run

pytest.importorskip("extra_data")

MODULE = np.repeat(np.arange(16), 512)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("complete") / "r0142")


@pytest.fixture
def run(complete, tmp_path):
    """A run that a test may spoil."""
    return shutil.copytree(complete, tmp_path / "r0142")


def module_file(run, module):
    return run / f"CORR-R0142-AGIPD{module:02}-S00000.h5"


def refused(match, *arguments):
    with pytest.raises(InputError, match=match) as caught:
        read_run(*arguments)
    assert "\n" not in str(caught.value)


def test_frames_are_those_of_the_files(complete):
    source = read_run(complete)
    assert (source.number, source.shape, source.modules) == (TRAINS * PULSES, (8192, 128), 16)
    assert source.unit == "photons"
    assert source.dtype == np.uint8
    assert (source.read(0, source.number) == frames_of()).all()
    assert source.columns["train_id"].tolist() == np.repeat([10000, 10001, 10002], 4).tolist()
    assert source.columns["pulse_id"].tolist() == [0, 1, 2, 3] * 3
    assert source.columns["cell_id"].tolist() == [0, 1, 2, 3] * 3
    assert not source.notes
    # what is masked in each frame is masked for all
    mask = source.partial.mask
    assert np.argwhere(mask == 2).tolist() == [[512 * module + 7, 3] for module in range(16)]
    # tasks need the reader alone, and it is small
    travelled = pickle.dumps(source.reader)
    assert len(travelled) < 10_000
    assert (pickle.loads(travelled)(5, 7) == source.read(5, 7)).all()


def test_a_missing_module_keeps_its_place(run):
    module_file(run, 7).unlink()
    source = read_run(run)
    assert (source.read(0, 12) == frames_of(missing=[7])).all()
    assert source.shape == (8192, 128)
    assert (source.partial.mask[MODULE == 7] == 2).all()
    assert (source.partial.mask[MODULE != 7] == 2).sum() == 15
    assert source.notes == [
        f"{run}: module 7 of SPB_DET_AGIPD1M-1 is missing; masked, in its place"
    ]
    assert sorted(file.suffix for file in run.iterdir()) == [".h5"] * 15  # nothing is left there


def test_a_masked_pixel_of_a_single_frame_has_no_photons(run):
    with h5py.File(module_file(run, 2), "r+") as file:
        image = image_groups(file)[0]
        image["data"][4, 9, 9] = 50
        image["data"][5, 9, 9] = 60
        image["mask"][5, 9, 9] = 1
    source = read_run(run)
    # one in twelve is more than one in twenty
    assert source.partial.mask[2 * 512 + 9, 9] == 2
    assert source.read(4, 6)[:, 2 * 512 + 9, 9].tolist() == [50, 0]


def test_trains_out_of_order_are_sorted(run):
    for module in range(16):
        with h5py.File(module_file(run, module), "r+") as file:
            file["INDEX/trainId"][:3] = [10001, 10000, 10002]
    source = read_run(run)
    assert (np.diff(source.columns["train_id"]) >= 0).all()
    expected = frames_of()[[4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11]]
    assert (source.read(0, 12) == expected).all()
    assert "trains are out of order in CORR-R0142-AGIPD00-S00000.h5 and 15 more" in source.notes[0]


def test_frames_that_a_module_lacks_are_left_out(run):
    with h5py.File(module_file(run, 3), "r+") as file:
        index = next(iter(file["INDEX/SPB_DET_AGIPD1M-1/CORR"].values()))
        index["image/count"][1] = 0
    source = read_run(run)
    assert source.columns["train_id"].tolist() == [10000] * 4 + [10002] * 4
    assert (source.read(2, 6) == frames_of()[[2, 3, 8, 9]]).all()
    assert "4 of 12 frames are left out, which module 3 lacks" in source.notes[0]


def test_frames_in_several_files(run, tmp_path):
    later = make_run(tmp_path / "later", first_train=10003)
    for file in later.iterdir():
        shutil.copy(file, run / file.name.replace("S00000", "S00001"))
    source = read_run(run)
    assert source.number == 24
    expected = np.concatenate([frames_of(), frames_of(first_train=10003)])
    assert (source.read(9, 17) == expected[9:17]).all()


def test_a_train_twice_is_refused(run):
    for module in range(16):
        file = module_file(run, module)
        shutil.copy(file, file.with_name(file.name.replace("S00000", "S00001")))
    refused(r"conflicting data \(same train ID in different files\).*move files", run)


def test_a_pulse_twice_is_refused(run):
    with h5py.File(module_file(run, 4), "r+") as file:
        image_groups(file)[0]["pulseId"][2] = 1
    refused(r"4CH0:output has pulse 1 of train 10000 more than once \(CORR-R0142-AGIPD04", run)


def test_a_truncated_file_is_named(run):
    path = module_file(run, 11)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(rf"AGIPD11-S00000.h5: truncated: expected {len(whole)} bytes, found", run)


def test_an_index_beyond_the_data_is_refused(run):
    with h5py.File(module_file(run, 0), "r+") as file:
        index = next(iter(file["INDEX/SPB_DET_AGIPD1M-1/CORR"].values()))
        index["image/count"][2] = 5
    refused(
        "INDEX says that SPB_DET_AGIPD1M-1/CORR/0CH0:output has 13 frames, found 12|counts", run
    )


def test_raw_data_are_adu(tmp_path):
    run = make_run(tmp_path / "raw", raw=True, missing=range(2, 16))
    source = read_run(run)
    assert (source.unit, source.dtype) == ("adu", np.uint16)
    assert (source.read(0, 12) == frames_of(missing=range(2, 16))).all()
    assert "raw data" in source.notes[-1]
    assert "modules 2, 3, 4" in source.notes[0]


def test_calibrated_reals_are_adu_and_have_no_number_where_masked(tmp_path):
    run = make_run(tmp_path / "run", photons=False, missing=range(1, 16))
    source = read_run(run)
    assert (source.unit, source.dtype) == ("adu", np.float32)
    frames = source.read(0, 12)
    assert np.isnan(frames[:, 7, 3]).all()
    assert (np.nan_to_num(frames) == frames_of(missing=range(1, 16))).all()


def test_folders_that_are_no_runs(tmp_path, run):
    refused("no HDF5 files in this folder", _empty(tmp_path))
    with h5py.File(run / "other.h5", "w") as file:
        file["x"] = 1
    refused("other.h5: no file of European XFEL", run)
    (run / "other.h5").unlink()
    refused("no detector NONE; it has SPB_DET_AGIPD1M-1", run, "NONE")


def _empty(folder):
    empty = folder / "nothing"
    empty.mkdir()
    return empty


def test_without_the_package(complete, monkeypatch):
    monkeypatch.setitem(sys.modules, "extra_data", None)
    refused(
        r"need the package extra-data; install it with pip install 'hpdp-dask\[xfel\]'", complete
    )
