import re

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpdp_dask.errors import InputError
from hpdp_dask.formats.dragonfly_detector import read_detector
from hpdp_dask.formats.emc import read_emc
from hpdp_dask.formats.emc_writing import write_emc

PHOTONS = np.random.default_rng(3).poisson(0.3, (9, 4, 6)).astype(np.uint8)


def write_header(path, number, pixels, kind, rest=b""):
    header = np.zeros(256, "<i4")
    header[:3] = number, pixels, kind
    path.write_bytes(header.tobytes() + rest)
    return path


def test_photons_of_dragonfly_are_those_of_its_log(test_data):
    folder = test_data / "spi" / "dragonfly"
    log = (folder / "EMC.log").read_text()
    source = read_emc(folder / "photons.emc")
    good = read_detector(folder / "det_sim.h5").mask.reshape(65, 65) == 0
    photons = source.read(0, source.number)
    assert source.number == int(re.search(r"num_data = (\d+)", log)[1]) == 400
    assert source.shape == (65, 65)
    assert source.unit == "photons"
    # the log counts the pixels that orientations are found with
    mean = float(re.search(r"mean_count = ([\d.]+)", log)[1])
    assert photons[:, good].sum() / 400 == pytest.approx(mean, abs=1e-6)
    assert round(photons.sum() / 400) == 2028


def test_photons_of_dragonfly_go_around_bit_by_bit(test_data, tmp_path):
    path = test_data / "spi" / "dragonfly" / "photons.emc"
    source = read_emc(path)
    blocks = (source.read(start, min(start + 64, 400)) for start in range(0, 400, 64))
    write_emc(tmp_path / "again.emc", 400, 65 * 65, blocks)
    assert (tmp_path / "again.emc").read_bytes() == path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["again.emc"]


@settings(max_examples=40, deadline=None)
@given(
    photons=arrays(
        np.uint32,
        st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 5)),
        elements=st.one_of(st.integers(0, 3), st.integers(0, 2**31 - 1)),
    ),
    step=st.integers(1, 4),
    first=st.integers(0, 5),
)
def test_what_is_written_is_read(tmp_path_factory, photons, step, first):
    path = tmp_path_factory.mktemp("emc") / "p.emc"
    number, rows, columns = photons.shape
    write_emc(path, number, rows * columns, (photons[i : i + step] for i in range(0, number, step)))
    source = read_emc(path)
    first = min(first, number)
    read = source.read(first, number).reshape(-1, rows, columns)
    assert source.number == number
    assert (read == photons[first:]).all()


def test_dense_integers_and_reals(tmp_path):
    for kind, dtype in ((1, "<i4"), (2, "<f8")):
        data = PHOTONS.astype(dtype)
        path = write_header(tmp_path / f"{kind}.emc", 9, 24, kind, data.tobytes())
        source = read_emc(path)
        assert source.dtype == np.dtype(dtype)
        assert (source.read(2, 7).reshape(5, 4, 6) == PHOTONS[2:7]).all()


def test_hdf5(tmp_path):
    path = tmp_path / "p.h5"
    flat = PHOTONS.reshape(9, -1)
    rows = {
        "place_ones": [np.flatnonzero(frame == 1) for frame in flat],
        "place_multi": [np.flatnonzero(frame > 1) for frame in flat],
        "count_multi": [frame[frame > 1] for frame in flat],
    }
    with h5py.File(path, "w") as file:
        file["num_pix"] = [24]
        for name, parts in rows.items():
            file.create_dataset(name, (9,), h5py.vlen_dtype(np.int32))
            for frame, part in enumerate(parts):
                file[name][frame] = part
    source = read_emc(path)
    assert source.number == 9
    assert (source.read(0, 9).reshape(9, 4, 6) == PHOTONS).all()
    assert (source.read(4, 5).reshape(4, 6) == PHOTONS[4]).all()
    with h5py.File(path, "r+") as file:
        file["count_multi"][5] = np.arange(7)
    with pytest.raises(InputError, match=r"frame 5 has \d places and 7 counts"):
        read_emc(path).read(4, 6)
    with h5py.File(path, "r+") as file:
        del file["place_multi"]
    with pytest.raises(InputError, match="no dataset place_multi"):
        read_emc(path)


def test_truncated_and_foreign_files(tmp_path):
    path = tmp_path / "p.emc"
    write_emc(path, 9, 24, [PHOTONS])
    whole = path.read_bytes()
    for size, said in (
        (100, "expected a header"),
        (1040, "truncated: expected 1096 bytes"),
        (len(whole) - 4, f"truncated: expected {len(whole)} bytes for 9 frames of 24 pixels"),
    ):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=said):
            read_emc(path)
    with pytest.raises(InputError, match="3 frames of 24 pixels of type 7"):
        read_emc(write_header(path, 3, 24, 7))
    with pytest.raises(InputError, match="-1 frames"):
        read_emc(write_header(path, -1, 24, 0))


def test_photons_in_pixels_that_are_not_there(tmp_path):
    path = tmp_path / "p.emc"
    write_emc(path, 9, 24, [PHOTONS])
    numbers = np.frombuffer(path.read_bytes(), "<i4").copy()
    numbers[256 + 18 + 2] = 99
    path.write_bytes(numbers.tobytes())
    with pytest.raises(InputError, match="frame 0 has a photon in pixel 99, but pixels go from 0"):
        read_emc(path).read(0, 9)
    numbers[256] = -5
    path.write_bytes(numbers.tobytes())
    with pytest.raises(InputError, match="frame 0 has a negative number"):
        read_emc(path)


def test_counts_too_large_for_the_format(tmp_path):
    with pytest.raises(InputError, match=r"more than \.emc can keep"):
        write_emc(tmp_path / "p.emc", 1, 1, [np.full((1, 1, 1), 2**31, np.uint32)])
    assert list(tmp_path.iterdir()) == []
