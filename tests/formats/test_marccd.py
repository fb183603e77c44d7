import fabio
import numpy as np
import pytest
from diffraction_images import write_marccd
from fabio.marccdimage import HEADER_FORMAT, HEADER_NAMES, interpret_header

from hpdp_dask.errors import InputError
from hpdp_dask.formats.marccd import read_header, read_image

IMAGE = np.random.default_rng(5).integers(0, 65536, (30, 41)).astype(np.uint16)


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_image_of_a_marccd(tmp_path, order):
    path = write_marccd(tmp_path / "a.mccd", IMAGE, order)
    assert (read_image(path) == IMAGE).all()
    header = read_header(path)
    assert (header.shape, header.unit, header.saturation) == ((30, 41), "adu", 65535)
    known = header.partial
    assert known.wavelength == pytest.approx(0.9795)
    assert (known.pixel_size, known.distance) == (pytest.approx(7.9e-5), pytest.approx(0.18))
    assert known.center == pytest.approx((20.0, 14.75))


def test_fabio_reads_the_same_header(tmp_path):
    path = write_marccd(tmp_path / "a.mccd", IMAGE)
    assert (fabio.open(str(path)).data == IMAGE).all()
    header = interpret_header(path.read_bytes()[1024:4096], HEADER_FORMAT, HEADER_NAMES)
    assert header["xtal_to_detector"] == 180_000
    assert (header["beam_x"], header["beam_y"]) == (20_500, 15_250)
    assert (header["pixelsize_x"], header["source_wavelength"]) == (79_000, 97_950)
    assert (header["start_twotheta"], header["saturated_value"]) == (0, 65535)


def test_what_is_not_told(tmp_path):
    known = read_header(
        write_marccd(tmp_path / "a.mccd", IMAGE, at_640=0, at_644=0, at_908=0)
    ).partial
    assert np.isnan([known.distance, known.wavelength]).all()
    assert known.center is None
    turned = read_header(write_marccd(tmp_path / "b.mccd", IMAGE, at_668=12_000))
    assert "turned by 12°" in turned.notes[0]


def test_bad_files(tmp_path):
    path = write_marccd(tmp_path / "a.mccd", IMAGE)
    raw = path.read_bytes()
    path.write_bytes(raw[:-1])
    with pytest.raises(InputError, match=r"truncated: expected 6556 bytes .* found 6555"):
        read_image(path)
    path.write_bytes(raw[:2000])
    with pytest.raises(InputError, match="truncated: its header ends at 4096 bytes"):
        read_header(path)
    path.write_bytes(bytes(5000))
    with pytest.raises(InputError, match="not a MarCCD file"):
        read_header(path)
    write_marccd(path, IMAGE, at_88=3)
    with pytest.raises(InputError, match="41 x 30 pixels of 3 bytes"):
        read_header(path)
