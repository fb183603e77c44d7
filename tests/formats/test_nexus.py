import sys

import h5py
import hdf5plugin
import numpy as np
import pytest
from diffraction_images import write_eiger

from hpdp_dask.errors import InputError
from hpdp_dask.formats.hdf5 import check_filters
from hpdp_dask.formats.nexus import linked_files, read_nexus

LARGEST = np.iinfo(np.uint32).max
MASK = np.zeros((30, 41), np.uint32)
MASK[10:12] = 1
MASK[3, 4] = 16


def frames_of(number=7, dtype=np.uint32):
    made = np.random.default_rng(1).poisson(4, (number, 30, 41)).astype(dtype)
    made[:, 10:12] = made[:, 3, 4] = np.iinfo(dtype).max
    return made


def refused(match, path, dataset=None):
    with pytest.raises(InputError, match=match) as caught:
        read_nexus(path, dataset)
    assert "\n" not in str(caught.value)


def test_a_master_file_and_its_data_files(tmp_path):
    frames = frames_of()
    frames[2, 20, 20] = LARGEST
    master = write_eiger(tmp_path, frames, MASK, packed=hdf5plugin.Bitshuffle())
    source = read_nexus(master)
    assert (source.number, source.shape, source.unit) == (7, (30, 41), "photons")
    assert ((source.partial.mask == 2) == (MASK != 0)).all()
    expected = np.where(MASK != 0, 0, frames)
    expected[2, 20, 20] = 9999  # too much to count, but no bad pixel
    assert (source.read(0, 7) == expected).all()
    assert (source.read(3, 5) == expected[3:5]).all()  # from both data files
    known = source.partial
    assert (known.wavelength, known.pixel_size, known.distance) == (1.0332, 7.5e-5, 0.15)
    assert known.center == (20.0, 14.75)
    assert source.saturation == 9999
    assert source.columns["source_index"].tolist() == list(range(7))
    assert set(source.columns["source_file"]) == {str(master)}
    assert [file.name for file in linked_files(master)] == ["x_data_000001.h5", "x_data_000002.h5"]


def test_without_a_mask_what_never_counts_is_masked(tmp_path):
    frames = frames_of(dtype=np.uint16)
    frames[2, 20, 20] = 65535
    source = read_nexus(write_eiger(tmp_path, frames))
    assert ((source.partial.mask == 2) == (MASK != 0)).all()
    assert source.read(2, 3)[0, 20, 20] == 0
    assert (source.read(0, 7)[:, 12:] <= 65534).all()


def test_negative_counts_are_none(tmp_path):
    frames = frames_of(dtype=np.uint16).astype(np.int32)
    frames[frames == 65535] = -1
    frames[2, 20, 20] = -1
    source = read_nexus(write_eiger(tmp_path, frames, MASK))
    assert (source.read(0, 7) == np.maximum(frames, 0)).all()


def test_a_cutoff_beyond_the_numbers(tmp_path):
    frames = frames_of(dtype=np.uint16)
    frames[2, 20, 20] = 65535
    cutoff = {
        "instrument__detector__detectorSpecific__countrate_correction_count_cutoff": (126634, "")
    }
    source = read_nexus(write_eiger(tmp_path, frames, MASK, **cutoff))
    assert source.read(2, 3)[0, 20, 20] == 65535


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"instrument__detector__detector_distance": (150.0, "mm")}, ("distance", 0.15)),
        ({"instrument__detector__x_pixel_size": (75.0, "um")}, ("pixel_size", 7.5e-5)),
        ({"instrument__beam__incident_wavelength": (0.10332, "nm")}, ("wavelength", 1.0332)),
        (
            {
                "instrument__beam__incident_wavelength": None,
                "instrument__beam__incident_energy": (12.0, "keV"),
            },
            ("wavelength", 12398.4198 / 12000),
        ),
        (
            {
                "instrument__beam__incident_wavelength": None,
                "instrument__detector__detectorSpecific__photon_energy": (12000.0, "eV"),
            },
            ("wavelength", 12398.4198 / 12000),
        ),
        ({"instrument__detector__detector_distance": (0.0, "m")}, ("distance", np.nan)),
        ({"instrument__detector__detector_distance": None}, ("distance", np.nan)),
    ],
)
def test_units(tmp_path, changed, expected):
    known = read_nexus(write_eiger(tmp_path, frames_of(2), MASK, **changed)).partial
    name, value = expected
    assert getattr(known, name) == pytest.approx(value, nan_ok=True)


def test_an_unknown_unit(tmp_path):
    distance = {"instrument__detector__detector_distance": (5.9, "inch")}
    refused("is in inch, expected one of m, mm", write_eiger(tmp_path, frames_of(2), **distance))


def test_one_virtual_dataset(tmp_path):
    frames = frames_of()
    master = write_eiger(tmp_path, frames, MASK)
    layout = h5py.VirtualLayout((7, 30, 41), np.uint32)
    layout[:4] = h5py.VirtualSource(
        str(tmp_path / "x_data_000001.h5"), "entry/data/data", (4, 30, 41)
    )
    layout[4:] = h5py.VirtualSource(
        str(tmp_path / "x_data_000002.h5"), "entry/data/data", (3, 30, 41)
    )
    with h5py.File(master, "r+") as file:
        del file["entry/data"]
        file.create_virtual_dataset("entry/data/data", layout)
    source = read_nexus(master)
    assert (source.read(0, 7) == np.where(MASK != 0, 0, frames)).all()
    (tmp_path / "x_data_000002.h5").unlink()
    refused("is made of other files, of which .*x_data_000002.h5 is not there", master)


def test_what_is_missing(tmp_path):
    master = write_eiger(tmp_path, frames_of(), MASK)
    assert read_nexus(master, "entry/data/data_000002").number == 3
    refused(
        "entry/data/data_000003 is not there, expected numbers", master, "entry/data/data_000003"
    )
    data = tmp_path / "x_data_000002.h5"
    raw = data.read_bytes()
    data.write_bytes(raw[:-100])
    refused("x_data_000002.h5: truncated: expected", master)
    data.unlink()
    refused("data_000002 is /entry/data/data of x_data_000002.h5, which is not there", master)
    with h5py.File(master, "r+") as file:
        for name in list(file["entry/data"]):
            del file["entry/data"][name]
    refused("has no frames in entry/data", master)


def test_data_files_of_other_sizes(tmp_path):
    master = write_eiger(tmp_path, frames_of(), MASK)
    with h5py.File(tmp_path / "x_data_000002.h5", "w") as file:
        file["entry/data/data"] = np.zeros((3, 20, 41), np.uint32)
    refused("data holds uint32 of 20 x 41 pixels", master)
    other = write_eiger(tmp_path, frames_of(), MASK[:20], name="y")
    refused("pixel_mask is of 20 x 41 pixels, the frames of 30 x 41", other)


def test_a_missing_filter_names_the_package(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("d", data=np.zeros((4, 8)), chunks=(4, 8), **hdf5plugin.Bitshuffle())
    with h5py.File(path) as file:
        check_filters(path, file["d"])
        monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
        with pytest.raises(
            InputError,
            match=r"bitshuffle \(HDF5 filter 32008\), which is not .*"
            "pip install --upgrade hdf5plugin",
        ):
            check_filters(path, file["d"])


def test_without_the_package_of_filters(tmp_path, monkeypatch):
    master = write_eiger(tmp_path, frames_of(), MASK)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    refused("needs hdf5plugin; pip install hdf5plugin", master)
