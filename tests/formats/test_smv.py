import gzip

import fabio
import numpy as np
import pytest
from diffraction_images import write_smv

from hpdp_dask.errors import InputError
from hpdp_dask.formats.smv import read_header, read_image

IMAGE = np.random.default_rng(5).integers(0, 65536, (30, 41)).astype(np.uint16)


@pytest.mark.parametrize("big", [False, True])
def test_an_image_of_a_ccd(tmp_path, big):
    path = write_smv(tmp_path / "a.img", IMAGE, big)
    assert (read_image(path) == IMAGE).all()
    assert (fabio.open(str(path)).data == IMAGE).all()
    header = read_header(path)
    assert (header.shape, header.unit, header.saturation) == ((30, 41), "adu", 65535)
    known = header.partial
    assert (known.wavelength, known.pixel_size) == (1.1, pytest.approx(1.024e-4))
    assert known.distance == pytest.approx(0.25)
    # Mosflm's x is along the slow axis: 1.536 mm are 15 rows
    assert known.center == pytest.approx((19.5, 14.5))


def test_packed(tmp_path):
    path = write_smv(tmp_path / "a.img", IMAGE)
    packed = tmp_path / "a.img.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert (read_image(packed) == IMAGE).all()


def test_a_centre_of_xds_goes_first(tmp_path):
    path = write_smv(tmp_path / "a.img", IMAGE, XDS_ORGX="18.25", XDS_ORGY="11")
    assert read_header(path).partial.center == (17.25, 10.0)


def test_what_is_not_told(tmp_path):
    path = write_smv(tmp_path / "a.img", IMAGE, DISTANCE="", BEAM_CENTER_X="", WAVELENGTH="?")
    known = read_header(path).partial
    assert np.isnan([known.distance, known.wavelength]).all()
    assert known.center is None
    turned = read_header(write_smv(tmp_path / "b.img", IMAGE, TWOTHETA="-20"))
    assert np.isnan(turned.partial.distance)


def test_bad_files(tmp_path):
    path = write_smv(tmp_path / "a.img", IMAGE)
    raw = path.read_bytes()
    path.write_bytes(raw[:-1])
    with pytest.raises(InputError, match=r"truncated: expected 2972 bytes .* found 2971"):
        read_image(path)
    path.write_bytes(raw[:300])
    with pytest.raises(InputError, match="truncated: its header has 512 bytes, the file 300"):
        read_header(path)
    path.write_bytes(raw.replace(b"SIZE1=41", b"SIZE1=xx"))
    with pytest.raises(InputError, match="SIZE1 x SIZE2 is xx x 30"):
        read_header(path)
    path.write_bytes(b"{ no header }")
    with pytest.raises(InputError, match="not an SMV file"):
        read_header(path)
