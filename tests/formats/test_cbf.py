import bz2
import gzip

import fabio
import numpy as np
import pytest
from diffraction_images import images, write_cbf
from fabio.compression import compByteOffset
from hypothesis import given, settings
from hypothesis import strategies as st

from hpdp_dask.errors import InputError
from hpdp_dask.formats.cbf import read_header, read_image
from hpdp_dask.numerics.byte_offset import unpack_byte_offset

IMAGE = images(1)[0]


def refused(match, path, read=read_image):
    with pytest.raises(InputError, match=match) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=40))
def test_numbers_come_back(values):
    numbers = np.array(values, np.int32)
    packed = np.frombuffer(compByteOffset(numbers), np.uint8)
    assert (unpack_byte_offset(packed, len(numbers)) == numbers).all()


def test_differences_at_the_ends_of_their_sizes():
    steps = [127, -127, 128, -128, 32767, -32767, 32768, -32768, 2**31 - 1, 1 - 2**31]
    numbers = np.array([value for step in steps for value in (0, step)], np.int32)
    packed = np.frombuffer(compByteOffset(numbers), np.uint8)
    assert (unpack_byte_offset(packed, len(numbers)) == numbers).all()


def test_a_difference_of_eight_bytes():
    packed = b"\x05\x80" + (-(2**15)).to_bytes(2, "little", signed=True)
    for size, step in ((4, -(2**31)), (8, -(2**31) - 5)):
        packed += step.to_bytes(size, "little", signed=True)
    numbers = unpack_byte_offset(np.frombuffer(packed, np.uint8), 2)
    assert numbers.tolist() == [5, -(2**31)]


@pytest.mark.parametrize("packed", [[1], [1, 2, 3], [1, 0x80], [1, 0x80, 0, 0x80, 1]])
def test_bytes_that_do_not_make_the_numbers(packed):
    with pytest.raises(ValueError, match="2 numbers do not fill"):
        unpack_byte_offset(np.array(packed, np.uint8), 2)


def test_numbers_beyond_32_bits():
    packed = bytes([0x80, 0, 0x80]) + (2**31 - 1).to_bytes(4, "little") + bytes([1])
    with pytest.raises(ValueError, match="2 numbers"):
        unpack_byte_offset(np.frombuffer(packed, np.uint8), 2)


def test_an_image_of_a_pilatus(test_data):
    path = test_data / "crystallography" / "thaumatin" / "thau_3_2_0012.cbf.bz2"
    header = read_header(path)
    assert (header.shape, header.unit, header.saturation) == ((2527, 2463), "photons", 115897)
    known = header.partial
    assert (known.wavelength, known.pixel_size, known.distance) == (0.96859, 172e-6, 0.351)
    # Beam_xy counts from the corner of the first pixel
    assert known.center == pytest.approx((1261.11, 1306.46))
    assert (read_image(path) == fabio.open(str(path)).data).all()


@pytest.mark.parametrize("packing", ["", ".gz", ".bz2"])
def test_packed_files(tmp_path, packing):
    path = write_cbf(tmp_path / "a.cbf", IMAGE)
    if packing:
        compress = gzip.compress if packing == ".gz" else bz2.compress
        packed = tmp_path / f"a.cbf{packing}"
        packed.write_bytes(compress(path.read_bytes()))
        path = packed
    assert (read_image(path) == IMAGE).all()
    assert read_header(path).partial.distance == 0.2


def test_a_header_without_geometry(tmp_path):
    header = read_header(write_cbf(tmp_path / "a.cbf", IMAGE, header=False))
    assert header.shape == IMAGE.shape
    assert np.isnan([header.partial.wavelength, header.partial.distance, header.saturation]).all()
    assert header.partial.center is None


def test_units_of_the_header(tmp_path):
    path = write_cbf(tmp_path / "a.cbf", IMAGE)
    text = path.read_bytes().replace(b"Detector_distance 0.2 m", b"Detector_distance 200 mm")
    path.write_bytes(text)
    assert read_header(path).partial.distance == pytest.approx(0.2)


def test_a_turned_detector_has_no_distance(tmp_path):
    header = read_header(write_cbf(tmp_path / "a.cbf", IMAGE, two_theta=15.0))
    assert np.isnan(header.partial.distance)
    assert "turned by 15°" in header.notes[0]


def test_plain_numbers(tmp_path):
    path = write_cbf(tmp_path / "a.cbf", IMAGE)
    raw = path.read_bytes()
    begin = raw.index(b"\x0c\x1a\x04\xd5") + 4
    text = raw[:begin].replace(b"x-CBF_BYTE_OFFSET", b"x-CBF_NONE")
    size = next(line for line in text.split(b"\n") if line.startswith(b"X-Binary-Size:"))
    text = text.replace(size.strip(), b"X-Binary-Size: %d" % IMAGE.nbytes)
    path.write_bytes(text + IMAGE.astype("<i4").tobytes())
    assert (read_image(path) == IMAGE).all()
    path.write_bytes(text.replace(b"x-CBF_NONE", b"x-CBF_CANONICAL") + IMAGE.tobytes())
    refused("packed as x-CBF_CANONICAL, expected", path)


def test_files_that_are_cut_short(tmp_path):
    path = write_cbf(tmp_path / "a.cbf", IMAGE)
    raw = path.read_bytes()
    end = raw.index(b"\x0c\x1a\x04\xd5") + 4 + 1000
    path.write_bytes(raw[:end])
    refused(rf"truncated: expected \d+ bytes, found {end}; copy the file again", path)
    path.write_bytes(raw[:100])
    refused("truncated: ends after 100 bytes, before its numbers begin", path, read_header)
    path.write_bytes(raw[:3])
    refused("not a CBF file", path, read_header)
    refused("there is no such file", tmp_path / "b.cbf")
    for packing, compress in ((".gz", gzip.compress), (".bz2", bz2.compress)):
        packed = tmp_path / f"a.cbf{packing}"
        packed.write_bytes(compress(raw)[:-30])
        refused("cannot be unpacked, it is truncated or damaged", packed)


def test_damaged_numbers_and_sizes(tmp_path):
    path = write_cbf(tmp_path / "a.cbf", IMAGE)
    raw = path.read_bytes()
    begin = raw.index(b"\x0c\x1a\x04\xd5") + 4
    path.write_bytes(raw[: begin + 50] + b"\x80" + raw[begin + 51 :])
    refused("damaged: 1230 numbers do not fill", path)
    path.write_bytes(raw.replace(b"Fastest-Dimension: 41", b"Fastest-Dimension: -1"))
    refused("X-Binary-Size-Fastest-Dimension is -1, expected a whole number", path, read_header)
