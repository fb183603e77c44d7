import gzip

import h5py
import numpy as np
import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.formats.dragonfly_detector import read_detector, write_detector
from hpdp_dask.formats.frames import flat_detector


@pytest.fixture
def det_sim(test_data):
    return test_data / "spi" / "dragonfly" / "det_sim.h5"


def write_text(path, detector):
    """Write an HDF5 detector as Dragonfly writes it in words."""
    with h5py.File(detector) as file:
        columns = [file[name][()] for name in ("qx", "qy", "qz", "corr", "mask")]
        head = f"{len(columns[0])} {file['detd'][()]:.6f} {file['ewald_rad'][()]:.6f}\n"
    rows = (
        " ".join([*(f"{value:21.15e}" for value in row[:4]), f"{row[4]}\n"])
        for row in zip(*columns, strict=True)
    )
    path.write_text(head + "".join(rows))
    return path


def test_pixels_of_a_simulated_detector_are_where_its_config_says(det_sim):
    # config.ini: 65 pixels of 1 mm at 300 mm, polarised along x; the first index counts x
    detector = read_detector(det_sim).in_metres(pixel_size=1e-3)
    place = (np.arange(65) - 32) * 1e-3
    assert detector.shape == (65, 65)
    assert np.allclose(detector.pixel_x, place[:, None], atol=1e-12)
    assert np.allclose(detector.pixel_y, place[None, :], atol=1e-12)
    assert np.allclose(detector.pixel_z, 0.3)
    assert detector.polarization == "x"
    assert detector.distance == pytest.approx(0.3)
    assert np.bincount(detector.mask.ravel()).tolist() == [3184, 1016, 25]


def test_what_is_written_is_what_dragonfly_wrote(det_sim, tmp_path):
    write_detector(tmp_path / "det.h5", read_detector(det_sim).in_metres(pixel_size=1e-3))
    with h5py.File(det_sim) as theirs, h5py.File(tmp_path / "det.h5") as ours:
        assert set(theirs) == set(ours)
        for name in theirs:
            assert ours[name].dtype == theirs[name].dtype
            assert ours[name].shape == theirs[name].shape
            assert np.allclose(ours[name][()], theirs[name][()], rtol=1e-12, atol=1e-13)


def test_a_real_gzipped_detector(test_data):
    path = test_data / "spi" / "geometry" / "xfel7927_det_lowq_dragonfly.h5.gz"
    found = read_detector(path)
    detector = found.in_metres(pixel_size=2e-4)
    assert detector.shape == (512, 128)
    assert detector.distance == pytest.approx(0.705)
    # the modules stand around the beam, and pixels of a row follow each other at one pixel
    assert detector.pixel_x.min() < 0 < detector.pixel_x.max()
    step = np.hypot(np.diff(detector.pixel_x), np.diff(detector.pixel_y))
    assert np.median(step) == pytest.approx(2e-4, rel=1e-3)
    # on the sphere: q from the places is the q of the file
    with gzip.open(path) as packed, h5py.File(packed) as file:
        radius = file["ewald_rad"][()]
        length = np.sqrt(detector.pixel_x**2 + detector.pixel_y**2 + detector.pixel_z**2)
        assert np.allclose(radius * (detector.pixel_x / length).ravel(), file["qx"][()], atol=1e-9)
        # the file's own sphere is round to a part in ten million
        along = radius * (detector.pixel_z / length - 1)
        assert np.allclose(along.ravel(), file["qz"][()], atol=2e-4)


def test_text_and_gzip_say_the_same(det_sim, tmp_path):
    text = write_text(tmp_path / "det.dat", det_sim)
    packed = tmp_path / "det.dat.gz"
    packed.write_bytes(gzip.compress(text.read_bytes()))
    expected = read_detector(det_sim).in_metres(distance=0.3)
    for path in (text, packed):
        found = read_detector(path).in_metres(pixel_size=1e-3)
        assert np.allclose(found.pixel_x, expected.pixel_x, atol=1e-12)
        assert np.allclose(found.pixel_y, expected.pixel_y, atol=1e-12)
        assert (found.mask == expected.mask).all()


@pytest.mark.parametrize("polarization", ["x", "y", "none"])
def test_what_is_written_is_read(tmp_path, polarization):
    detector = flat_detector((5, 7), 2e-4, 0.1, 1.5, center=(2.2, 1.1), polarization=polarization)
    detector.mask[1, 2] = 2
    write_detector(tmp_path / "det.h5", detector)
    found = read_detector(tmp_path / "det.h5").in_metres()
    for name in ("pixel_x", "pixel_y", "pixel_z"):
        assert np.allclose(getattr(found, name), getattr(detector, name), atol=1e-12)
    assert (found.mask == detector.mask).all()
    assert (found.wavelength, found.pixel_size) == (1.5, 2e-4)
    assert found.polarization == polarization
    assert found.shape == (5, 7)


def test_metres_must_be_told(det_sim):
    detector = read_detector(det_sim)
    with pytest.raises(InputError, match="give --pixel-size or --distance"):
        detector.in_metres()
    with pytest.raises(InputError, match=r"make a distance of 0.3 m and not 0.5 m"):
        detector.in_metres(pixel_size=1e-3, distance=0.5)
    assert detector.in_metres(distance=0.6).pixel_size == pytest.approx(2e-3)


def test_files_that_are_none(det_sim, tmp_path):
    path = tmp_path / "det.h5"

    def refused(match):
        with pytest.raises(InputError, match=match) as caught:
            read_detector(path)
        assert "\n" not in str(caught.value)

    path.write_bytes(det_sim.read_bytes()[:70_000])
    refused("truncated: expected")
    with h5py.File(path, "w") as file:
        file["qx"] = np.zeros(3)
    refused("no dataset qy")
    path.write_text("4225\n1 2 3 4 0\n")
    refused("expected a first line of pixels, detd and ewald_rad")
    path.write_text("3 300 300\n1 2 3 4 0\n1 2 3 4 0\n")
    refused("says 3 pixels, found 2 rows")
    path.write_text("2 300 300\n1 2 3 4 0\n1 2 3 4 0\n")
    refused("not on a sphere of the radius 300")
    path.write_text("1 300 300\n0 0 0 1e-5 7\n")
    refused("the mask holds 7")
    packed = tmp_path / "det.h5.gz"
    packed.write_bytes(gzip.compress(det_sim.read_bytes())[:500])
    with pytest.raises(InputError, match="cannot be gunzipped"):
        read_detector(packed)


def test_the_pixel_size_is_needed_to_write(tmp_path):
    detector = flat_detector((3, 3), float("nan"), 0.1)
    with pytest.raises(InputError, match="pixel size of the frames is not known"):
        write_detector(tmp_path / "det.h5", detector)
    assert list(tmp_path.iterdir()) == []
