import h5py
import numpy as np
import pytest
from xfel_run import frames_of, make_run

from hpdp_dask.errors import InputError
from hpdp_dask.formats.cxi import read_cxi
from hpdp_dask.formats.cxi_writing import write_cxi
from hpdp_dask.formats.frames import flat_detector

PHOTONS = np.random.default_rng(5).poisson(0.4, (6, 8, 10)).astype(np.uint8)
JOULE = 1.602176634e-19


@pytest.fixture
def path(tmp_path):
    return tmp_path / "frames.cxi"


def refused(match, *arguments):
    with pytest.raises(InputError, match=match) as caught:
        read_cxi(*arguments)
    assert "\n" not in str(caught.value)


def write_bobkov(path, images=1):
    """Write a file as spi-processing does."""
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 160
        entry = file.create_group("entry_1")
        for number in range(1, images + 1):
            image = entry.create_group(f"image_{number}")
            entry[f"data_{number}"] = h5py.SoftLink(f"/entry_1/image_{number}")
            image["data"] = PHOTONS.astype(np.int32)
            image["mask"] = (np.arange(80).reshape(8, 10) == 13).astype(np.uint8)
            image["image_center"] = np.array([4.25, 3.5, 0])
            image["psd/size"] = np.linspace(500, 600, 6)
            image["psd/size_score"] = np.linspace(1, 3, 6)
            image["em_class/select"] = np.array([0, 1, 1, 0, 0, 1])
    return path


def test_what_spi_processing_writes(path):
    source = read_cxi(write_bobkov(path))
    assert (source.number, source.shape, source.unit) == (6, (8, 10), "photons")
    assert (source.read(1, 4) == PHOTONS[1:4]).all()
    assert np.argwhere(source.partial.mask == 2).tolist() == [[1, 3]]
    assert source.partial.center == (4.25, 3.5)
    assert source.columns["particle_size"].tolist() == np.linspace(500, 600, 6).tolist()
    assert source.columns["label"].tolist() == [0, 1, 1, 0, 0, 1]
    assert source.columns["class_name"].tolist() == ["other", "selected"]


def test_one_of_several_sets_of_frames(path):
    write_bobkov(path, images=2)
    refused(r"2 groups of frames \(entry_1/image_1/data, entry_1/image_2/data\); name one", path)
    assert read_cxi(path, "entry_1/image_2/data").number == 6
    refused("entry_1/image_7/data is no dataset", path, "entry_1/image_7/data")


def test_virtual_files_of_extra_data(tmp_path, path):
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    run = make_run(tmp_path / "run", missing=[4])
    detector = components.AGIPD1M(extra_data.RunDirectory(str(run), parallelize=False))
    detector.write_virtual_cxi(str(path))
    source = read_cxi(path)
    assert (source.number, source.shape, source.modules) == (12, (8192, 128), 16)
    assert (source.read(0, 12) == frames_of(missing=[4])).all()
    assert source.columns["train_id"].tolist() == np.repeat([10000, 10001, 10002], 4).tolist()
    assert source.columns["pulse_id"].tolist() == [0, 1, 2, 3] * 3
    assert source.columns["cell_id"].tolist() == [0, 1, 2, 3] * 3
    bad = source.partial.mask.reshape(16, 512, 128) == 2
    assert bad[4].all()
    assert bad.sum() == 15 + 512 * 128

    (run / "CORR-R0142-AGIPD03-S00000.h5").rename(tmp_path / "elsewhere.h5")
    refused("is made of other files, of which .*AGIPD03-S00000.h5 is not there", path)


def test_raw_virtual_files_of_extra_data(tmp_path, path):
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    run = make_run(tmp_path / "run", missing=range(1, 16), raw=True)
    data = extra_data.RunDirectory(str(run), parallelize=False)
    components.AGIPD1M(data, raw=True).write_virtual_cxi(str(path))
    source = read_cxi(path)
    assert (source.unit, source.dtype, source.shape) == ("adu", np.uint16, (8192, 128))
    assert (source.read(0, 12) == frames_of(missing=range(1, 16))).all()
    # nothing says so but that no file is mapped there
    assert (source.partial.mask[512:] == 2).all()
    assert not source.partial.mask[:512].any()


def test_hits_with_good_pixels_and_masks_that_say_good(path):
    """As the scripts of the 2024 campaigns at European XFEL write them."""
    data = PHOTONS.reshape(6, 2, 4, 10)
    places = np.random.default_rng(1).normal(size=(3, 2, 4, 10)).astype(np.float32)
    with h5py.File(path, "w") as file:
        plane = file.create_group("entry_1/instrument_1/detector_1")
        source = file.create_group("entry_1/instrument_1/source_1")
        plane["data"] = data
        mask = np.ones(data.shape, bool)
        mask[:, 1, 2, 5] = False
        mask[2, 0, 0, 0] = False
        plane["mask"] = mask
        plane["good_pixels"] = np.arange(80).reshape(2, 4, 10) != 3
        plane["xyz_map"] = places
        plane["x_pixel_size"] = 2e-4
        source["photon_energy"] = np.full(6, 9000 * JOULE, np.float32)
        source["pulse_energy"] = np.linspace(1e-3, 2e-3, 6)
        file["entry_1/trainId"] = np.arange(6)
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
    found = read_cxi(path)
    assert (found.shape, found.modules) == ((8, 10), 2)
    expected = PHOTONS.copy()
    expected[:, 6, 5] = 0
    expected[2, 0, 0] = 0
    assert (found.read(0, 6) == expected).all()
    # one in six is often; a pixel that is not among the good ones
    bad = np.argwhere(found.detector.mask == 2).tolist()
    assert bad == [[0, 0], [0, 3], [6, 5]]
    assert np.allclose(found.detector.pixel_y, places[1].reshape(8, 10))
    assert found.detector.pixel_size == 2e-4
    assert found.detector.wavelength == pytest.approx(12398.4198 / 9000, rel=1e-6)
    assert found.columns["pulse_energy"][0] == pytest.approx(1e-3)


def test_energies_that_are_not_in_joules_are_not_used(path):
    write_bobkov(path)
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/source_1/energy"] = 9000.0
    source = read_cxi(path)
    assert np.isnan(source.partial.wavelength)
    assert "is 9000, which is not in J" in source.notes[0]


def test_what_is_written_is_read(path):
    detector = flat_detector((8, 10), 1e-3, 0.4, 6.2, center=(3.25, 5.5), polarization="y")
    detector.mask[2, 3], detector.mask[4, 4:6] = 2, 1
    columns = {
        "train_id": np.arange(100, 106),
        "pulse_id": np.arange(6) % 4,
        "cell_id": np.arange(6),
        "particle_size": np.linspace(300, 400, 6),
        "label": np.array(["a", "", "b", "a", "b", "b"], object),
    }
    blocks = [PHOTONS[:4], PHOTONS[4:]]
    write_cxi(path, 6, (8, 10), PHOTONS.dtype, blocks, detector=detector, columns=columns)
    source = read_cxi(path)
    assert source.dtype == np.uint8
    assert (source.read(0, 6) == PHOTONS).all()
    for name in ("pixel_x", "pixel_y", "pixel_z", "mask"):
        assert (getattr(source.detector, name) == getattr(detector, name)).all()
    assert source.detector.wavelength == pytest.approx(6.2)
    assert source.detector.pixel_size == 1e-3
    assert source.detector.polarization == "y"
    for name in ("train_id", "pulse_id", "cell_id", "particle_size"):
        assert (source.columns[name] == columns[name]).all()
    assert source.columns["label"].tolist() == [0, -1, 1, 0, 1, 1]
    assert source.columns["class_name"].tolist() == ["a", "b"]
    with h5py.File(path) as file:
        # where spi-processing looks, which wants no links there
        image = file["entry_1/image_1"]
        assert np.allclose(image["image_center"][:2], [3.25, 5.5])
        assert not any(isinstance(image.get(n, getlink=True), h5py.SoftLink) for n in image)
        assert file["entry_1/data_1/data"] == image["data"]
        assert file["entry_1/instrument_1/detector_1/data"] == image["data"]
        assert file["entry_1/experiment_identifier"].asstr()[1] == "101:1"
        # the bits of CXI: bad, out of the resolution that is looked at
        assert (image["mask"][2, 3], image["mask"][4, 4], image["mask"][0, 0]) == (128, 256, 0)


def test_modules_are_written_as_extra_data_has_them(path):
    detector = flat_detector((8, 10), 1e-3, 0.4, 6.2)
    write_cxi(
        path,
        6,
        (8, 10),
        PHOTONS.dtype,
        [PHOTONS],
        detector=detector,
        modules=2,
        columns={"train_id": np.arange(6), "pulse_id": np.zeros(6, int)},
    )
    with h5py.File(path) as file:
        plane = file["entry_1/instrument_1/detector_1"]
        assert plane["data"].shape == (6, 2, 4, 10)
        assert plane["data"].attrs["axes"] == "experiment_identifier:module_identifier:y:x"
        assert plane["module_identifier"][:].tolist() == [0, 1]
        assert plane["xyz_map"].shape == (3, 2, 4, 10)
        assert file["entry_1/data_1/data"] == plane["data"]
    source = read_cxi(path)
    assert source.modules == 2
    assert (source.read(2, 5) == PHOTONS[2:5]).all()
    assert (source.detector.pixel_x == detector.pixel_x).all()


def test_mistakes(path):
    path.write_bytes(b"no HDF5")
    refused("not an HDF5 file", path)
    with h5py.File(path, "w") as file:
        file["entry_1/x"] = 1
    refused(r"no groups of frames \(entry_1/image_1/data and so on\)", path)
    with h5py.File(path, "w") as file:
        file["entry_1/data_1/data"] = np.zeros((3, 3))
    refused(r"entry_1/data_1/data is \(3, 3\), expected \(frame, y, x\)", path)
    write_bobkov(path)
    with h5py.File(path, "r+") as file:
        del file["entry_1/image_1/mask"]
        file["entry_1/image_1/mask"] = np.zeros((10, 8))
    refused("image_1/mask is of 10 x 8 pixels, the frames of 8 x 10", path)
    whole = write_bobkov(path).read_bytes()
    path.write_bytes(whole[: len(whole) - 500])
    refused("truncated: expected", path)


def test_a_damaged_chunk_names_its_frames(path):
    write_cxi(path, 6, (8, 10), PHOTONS.dtype, [PHOTONS])
    with h5py.File(path) as file:
        chunk = file["entry_1/image_1/data"].id.get_chunk_info(2)
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(raw)
    source = read_cxi(path)
    source.read(0, 2)
    with pytest.raises(InputError, match="frames 1 to 3 of /entry_1/image_1/data cannot be read"):
        source.read(1, 4)
