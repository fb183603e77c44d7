import gzip
import io
import pickle
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import (
    MrcStack,
    MrcStackWriter,
    read_info,
    read_map,
    write_map,
    write_stack,
)
from hpdp_dask.formats.mrc_header import HEADER_BYTES, new_header

FLOATS = st.floats(-1e3, 1e3, width=32)
BOXES = arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=FLOATS)
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def images():
    return np.random.default_rng(1).normal(size=(5, 6, 7)).astype(np.float32)


@given(BOXES, st.floats(0.1, 10.0))
@QUICK
def test_stack_round_trip_read_by_mrcfile(tmp_path, stack, pixel_size):
    path = tmp_path / "stack.mrcs"
    write_stack(path, stack, pixel_size)
    read = MrcStack(path)
    assert read.info.shape == stack.shape
    assert not read.info.is_volume
    assert read.info.pixel_size == pytest.approx(pixel_size, rel=1e-6)
    np.testing.assert_array_equal(read.read(0, len(stack)), stack)
    with mrcfile.open(path) as other:
        np.testing.assert_array_equal(other.data.reshape(stack.shape), stack)
        assert other.header.ispg == 0
        assert other.header.mz == 1
        assert other.header.dmin == stack.min()
        assert other.header.dmax == stack.max()
        assert other.header.dmean == pytest.approx(stack.mean(dtype=np.float64), abs=1e-3)
        assert other.header.rms == pytest.approx(stack.std(dtype=np.float64), abs=1e-2)


@given(BOXES, st.floats(0.1, 10.0))
@QUICK
def test_map_round_trip_read_by_mrcfile(tmp_path, volume, pixel_size):
    path = tmp_path / "map.mrc"
    write_map(path, volume, pixel_size)
    read, size = read_map(path)
    np.testing.assert_array_equal(read, volume)
    assert size == pytest.approx(pixel_size, rel=1e-6)
    assert read_info(path).is_volume
    with mrcfile.open(path) as other:
        np.testing.assert_array_equal(other.data, volume)
        assert other.header.ispg == 1
        assert other.voxel_size.z == pytest.approx(pixel_size, rel=1e-6)


def test_files_are_valid_by_mrcfile(tmp_path, images):
    write_stack(tmp_path / "stack.mrcs", images, 1.5)
    write_map(tmp_path / "map.mrc", images, 1.5)
    for name in ("stack.mrcs", "map.mrc"):
        complaints = io.StringIO()
        assert mrcfile.validate(tmp_path / name, print_file=complaints), complaints.getvalue()


@pytest.mark.parametrize("name", ["empiar_10076_7.mrc", "relion31.mrcs", "sample.mrcs"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mrcfile's, about relion31.mrcs
def test_real_stacks_as_mrcfile_reads_them(test_data, name):
    path = test_data / "cryoem/real" / name
    with mrcfile.open(path, permissive=True) as other:
        expected = other.data.astype(np.float32)
    stack = MrcStack(path)
    assert stack.info.shape == expected.shape
    np.testing.assert_array_equal(stack.read(1, 4), expected[1:4])
    np.testing.assert_array_equal(stack.take([4, 0, 4]), expected[[4, 0, 4]])


def test_axes_in_another_order_as_gemmi_reads_them(test_data):
    path = test_data / "cryoem/emdb/EMD-3001.map"
    volume, pixel_size = read_map(path)
    other = gemmi.read_ccp4_map(str(path))
    other.setup(np.nan, gemmi.MapSetup.ReorderOnly)
    np.testing.assert_array_equal(volume, np.array(other.grid).transpose())
    assert read_info(path).axes == (3, 1, 2)
    assert np.isnan(pixel_size)  # an oblique cell with three different steps


def test_a_gzipped_map(test_data, tmp_path):
    path = test_data / "cryoem/emdb/EMD-3197.map"
    packed = tmp_path / "EMD-3197.map.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    volume, pixel_size = read_map(packed)
    np.testing.assert_array_equal(volume, mrcfile.read(path))
    assert pixel_size == pytest.approx(11.4)
    with pytest.raises(InputError, match="gunzip"):
        MrcStack(packed)
    packed.write_bytes(packed.read_bytes()[:-2000])
    with pytest.raises(InputError, match="cannot be gunzipped"):
        read_map(packed)


@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "f2", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind_of_pixel_in_both_byte_orders(tmp_path, dtype, order):
    kind = np.dtype(dtype).newbyteorder(order)
    values = np.arange(-60, 60).reshape(4, 5, 6)
    stored = (values + 60 if dtype == "u2" else values).astype(kind)
    header = new_header(stored.shape, 1.5, dtype, is_volume=False)
    header = header.astype(header.dtype.newbyteorder(order))
    header["machst"] = 0  # as old programs leave it: the order must be found
    path = tmp_path / "stack.mrcs"
    path.write_bytes(header.tobytes() + stored.tobytes())
    stack = MrcStack(path)
    assert stack.info.pixel_size == pytest.approx(1.5)
    read = stack.read(0, 4)
    assert read.dtype == np.float32
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, stored.astype(np.float32))
    np.testing.assert_array_equal(stack.take([3, 1]), stored[[3, 1]].astype(np.float32))


@pytest.mark.parametrize("columns", [6, 7])
def test_pixels_of_four_bits(tmp_path, columns):
    values = np.random.default_rng(2).integers(0, 16, (3, 4, columns), dtype=np.uint8)
    padded = np.zeros((3, 4, columns + columns % 2), np.uint8)
    padded[..., :columns] = values
    header = new_header(values.shape, 1.0, np.float32, is_volume=False)
    header["mode"] = 101
    path = tmp_path / "stack.mrcs"
    path.write_bytes(header.tobytes() + (padded[..., ::2] | (padded[..., 1::2] << 4)).tobytes())
    np.testing.assert_array_equal(MrcStack(path).read(0, 3), values)


def test_float16_is_written_on_request(tmp_path, images):
    path = tmp_path / "half.mrcs"
    with MrcStackWriter(path, images.shape, 2.0, np.float16) as writer:
        writer.write(images[:3])
        writer.write(images[3:])
    assert mrcfile.read(path).dtype == np.float16
    np.testing.assert_array_equal(MrcStack(path).read(0, 5), images.astype(np.float16))


def test_a_stack_travels_between_processes(tmp_path, images):
    write_stack(tmp_path / "stack.mrcs", images, 1.0)
    stack = pickle.loads(pickle.dumps(MrcStack(tmp_path / "stack.mrcs")))
    np.testing.assert_array_equal(stack.read(2, 2), images[:0])
    np.testing.assert_array_equal(stack.read(2, 5), images[2:])


@pytest.mark.parametrize("wanted", [[5], [-1], [0, 99]])
def test_images_outside_the_stack(tmp_path, images, wanted):
    write_stack(tmp_path / "stack.mrcs", images, 1.0)
    stack = MrcStack(tmp_path / "stack.mrcs")
    with pytest.raises(InputError, match=rf"image {wanted[-1] + 1} .* images 1 to 5"):
        stack.take(wanted)
    with pytest.raises(InputError, match=r"stack\.mrcs: image 6 "):
        stack.read(3, 7)


def test_a_truncated_file_tells_both_sizes(tmp_path, images):
    path = tmp_path / "stack.mrcs"
    write_stack(path, images, 1.0)
    whole = HEADER_BYTES + images.nbytes
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=f"truncated: expected {whole} bytes .* {whole - 10}"):
        read_info(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an MRC file: it has 0 bytes"),
        (b"data_\n\nloop_\n" * 200, "not an MRC file"),
        (bytes(4096), "not an MRC file"),
    ],
)
def test_not_an_mrc_file(tmp_path, content, message):
    path = tmp_path / "wrong.mrc"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_info(path)


def test_missing_and_folder(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_info(tmp_path / "no.mrc")
    with pytest.raises(InputError, match="Is a directory"):
        read_info(tmp_path)


def test_complex_pixels_are_refused(tmp_path):
    with mrcfile.new(tmp_path / "complex.mrc") as file:
        file.set_data(np.ones((4, 4, 3), np.complex64))
    with pytest.raises(InputError, match=r"mode 4 \(complex"):
        read_map(tmp_path / "complex.mrc")


@pytest.mark.parametrize("number", [3, 6])
def test_a_stack_of_the_wrong_length_is_not_left(tmp_path, number):
    path: Path = tmp_path / "stack.mrcs"
    with (
        pytest.raises(ValueError, match="of"),
        MrcStackWriter(path, (5, 4, 4), 1.0) as writer,
    ):
        writer.write(np.zeros((number, 4, 4), np.float32))
    assert not list(tmp_path.iterdir())


def test_a_header_without_pixel_size(tmp_path, images):
    path = tmp_path / "map.mrc"
    mrcfile.write(path, images, voxel_size=0.0)
    assert read_info(path).pixel_size is None
    assert np.isnan(read_map(path)[1])
