import gzip
import sys

import numpy as np
import pytest
from diffraction_images import images

from hpdp_dask.errors import InputError
from hpdp_dask.formats.cbf import read_header, read_image

IMAGE = images(1)[0]

#: 30 x 41 pixels of 0.1 mm, 150 mm from the sample; the beam on row 14.5, column 19.5.
HEADER = b"""###CBF: VERSION 1.5
data_image_1
_diffrn.id DS1
_diffrn.crystal_id XTAL1
_diffrn_radiation.diffrn_id DS1
_diffrn_radiation.wavelength_id W1
loop_
_diffrn_radiation_wavelength.id
_diffrn_radiation_wavelength.wavelength
_diffrn_radiation_wavelength.wt
W1 0.97 1.0
loop_
_diffrn_detector.diffrn_id
_diffrn_detector.id
_diffrn_detector.type
_diffrn_detector.number_of_axes
DS1 D1 'CCD' 1
loop_
_diffrn_detector_axis.detector_id
_diffrn_detector_axis.axis_id
D1 DETECTOR_Z
loop_
_diffrn_detector_element.id
_diffrn_detector_element.detector_id
ELEMENT1 D1
loop_
_diffrn_data_frame.id
_diffrn_data_frame.detector_element_id
_diffrn_data_frame.array_id
_diffrn_data_frame.binary_id
FRAME1 ELEMENT1 ARRAY1 1
loop_
_diffrn_measurement.diffrn_id
_diffrn_measurement.id
_diffrn_measurement.number_of_axes
DS1 GONIOMETER 1
loop_
_diffrn_measurement_axis.measurement_id
_diffrn_measurement_axis.axis_id
GONIOMETER PHI
loop_
_diffrn_scan.id
_diffrn_scan.frame_id_start
_diffrn_scan.frame_id_end
_diffrn_scan.frames
SCAN1 FRAME1 FRAME1 1
loop_
_diffrn_scan_axis.scan_id
_diffrn_scan_axis.axis_id
_diffrn_scan_axis.angle_start
_diffrn_scan_axis.angle_range
_diffrn_scan_axis.angle_increment
_diffrn_scan_axis.displacement_start
_diffrn_scan_axis.displacement_range
_diffrn_scan_axis.displacement_increment
SCAN1 PHI 0.0 0.0 0.0 . . .
SCAN1 DETECTOR_Z . . . 150.0 0.0 0.0
SCAN1 ELEMENT_X . . . 0.0 0.0 0.0
SCAN1 ELEMENT_Y . . . 0.0 0.0 0.0
loop_
_diffrn_scan_frame.frame_id
_diffrn_scan_frame.frame_number
_diffrn_scan_frame.scan_id
FRAME1 1 SCAN1
loop_
_diffrn_scan_frame_axis.frame_id
_diffrn_scan_frame_axis.axis_id
_diffrn_scan_frame_axis.angle
_diffrn_scan_frame_axis.displacement
FRAME1 PHI 0.0 0.0
FRAME1 DETECTOR_Z 0.0 150.0
FRAME1 ELEMENT_X 0.0 0.0
FRAME1 ELEMENT_Y 0.0 0.0
loop_
_axis.id
_axis.type
_axis.equipment
_axis.depends_on
_axis.vector[1] _axis.vector[2] _axis.vector[3]
_axis.offset[1] _axis.offset[2] _axis.offset[3]
PHI rotation goniometer . 1 0 0 . . .
SOURCE general source . 0 0 1 . . .
DETECTOR_Z translation detector . 0 0 -1 0 0 0
ELEMENT_X translation detector DETECTOR_Z 1 0 0 -2.0 1.5 0
ELEMENT_Y translation detector ELEMENT_X 0 -1 0 0 0 0
loop_
_array_structure_list.array_id
_array_structure_list.index
_array_structure_list.dimension
_array_structure_list.precedence
_array_structure_list.direction
_array_structure_list.axis_set_id
ARRAY1 1 41 1 increasing ELEMENT_X
ARRAY1 2 30 2 increasing ELEMENT_Y
loop_
_array_structure_list_axis.axis_set_id
_array_structure_list_axis.axis_id
_array_structure_list_axis.displacement
_array_structure_list_axis.displacement_increment
ELEMENT_X ELEMENT_X 0.05 0.1
ELEMENT_Y ELEMENT_Y 0.05 0.1
loop_
_array_element_size.array_id
_array_element_size.index
_array_element_size.size
ARRAY1 1 100e-6
ARRAY1 2 100e-6
"""


def write(path, packing, header=HEADER):
    """Write an image with CBFlib."""
    pycbf = pytest.importorskip("pycbf")
    template = path.with_suffix(".template")
    template.write_bytes(header)
    handle = pycbf.cbf_handle_struct()
    handle.read_template(str(template).encode())
    handle.new_category(b"array_data")
    handle.new_column(b"array_id")
    handle.set_value(b"ARRAY1")
    handle.new_column(b"binary_id")
    handle.set_integervalue(1)
    handle.new_column(b"data")
    rows, columns = IMAGE.shape
    handle.set_integerarray_wdims_fs(
        getattr(pycbf, f"CBF_{packing}"),
        *(1, IMAGE.tobytes(), 4, 1, IMAGE.size, b"little_endian", columns, rows, 1, 0),
    )
    flags = pycbf.MIME_HEADERS | pycbf.MSG_DIGEST
    handle.write_widefile(str(path).encode(), pycbf.CBF, flags, 0)
    return path


@pytest.mark.parametrize("packing", ["PACKED", "PACKED_V2", "BYTE_OFFSET"])
def test_images_and_geometry_of_imgcif(tmp_path, packing):
    path = write(tmp_path / "a.cbf", packing)
    assert (read_image(path) == IMAGE).all()
    known = read_header(path).partial
    assert (known.wavelength, known.distance, known.pixel_size) == (0.97, 0.15, 1e-4)
    assert known.center == pytest.approx((19.5, 14.5))


def test_packed_twice(tmp_path):
    path = write(tmp_path / "a.cbf", "PACKED")
    packed = tmp_path / "a.cbf.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert (read_image(packed) == IMAGE).all()
    assert read_header(packed).partial.distance == 0.15


def test_a_detector_that_is_turned(tmp_path):
    turned = HEADER.replace(b"DETECTOR_Z 1 0 0 -2.0", b"DETECTOR_Z 0.866025 0 0.5 -2.0")
    header = read_header(write(tmp_path / "a.cbf", "PACKED", turned))
    assert np.isnan(header.partial.distance)
    assert "turned by 30" in header.notes[0]


def test_a_header_that_lacks_the_detector(tmp_path):
    bare = HEADER[: HEADER.index(b"loop_\n_diffrn_detector.")] + b"loop_\n_axis.id\nSOURCE\n"
    header = read_header(write(tmp_path / "a.cbf", "PACKED", bare))
    assert header.partial.wavelength == 0.97
    assert np.isnan(header.partial.distance)


def test_damaged_files(tmp_path):
    path = write(tmp_path / "a.cbf", "PACKED")
    raw = path.read_bytes()
    begin = raw.index(b"\x0c\x1a\x04\xd5") + 4
    path.write_bytes(raw[: begin + 300])
    with pytest.raises(InputError, match="truncated"):
        read_image(path)
    path.write_bytes(raw[: begin + 300] + b"?" + raw[begin + 301 :])
    with pytest.raises(InputError, match="truncated or damaged"):
        read_image(path)


def test_without_pycbf(tmp_path, monkeypatch):
    path = write(tmp_path / "a.cbf", "PACKED")
    monkeypatch.setitem(sys.modules, "pycbf", None)
    with pytest.raises(InputError, match=r"needs pycbf; pip install 'hpdp-dask\[crystals\]'"):
        read_header(path)
