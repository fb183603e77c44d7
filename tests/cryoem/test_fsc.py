import numpy as np
import pytest

from hpdp_dask.cryoem.fsc import compare_maps, describe_resolution, write_fsc
from hpdp_dask.errors import InputError
from hpdp_dask.formats.mrc import write_map

BOX = 16


def make_map(path, seed=0, pixel=None):
    volume = np.random.default_rng(seed).standard_normal((BOX,) * 3).astype(np.float32)
    if pixel is not None:
        volume[3, 4, 5] = pixel
    write_map(path, volume, 1.5)
    return path


def test_a_map_and_itself(tmp_path):
    path = make_map(tmp_path / "a.mrc")
    compared = compare_maps(path, path)
    np.testing.assert_allclose(compared.curves["fsc"], 1.0, atol=1e-6)
    assert compared.resolution_0143 == pytest.approx(3.0)


def test_a_map_and_its_negative_have_no_resolution(tmp_path):
    path = make_map(tmp_path / "a.mrc")
    volume = np.random.default_rng(0).standard_normal((BOX,) * 3).astype(np.float32)
    write_map(tmp_path / "b.mrc", -volume, 1.5)
    compared = compare_maps(path, tmp_path / "b.mrc")
    assert compared.resolution_05 == compared.resolution_0143 == np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_maps_that_are_not_finite_are_refused(tmp_path, value):
    good, bad = make_map(tmp_path / "a.mrc"), make_map(tmp_path / "b.mrc", pixel=value)
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(InputError, match=r"b\.mrc: the map holds NaN or infinity"):
            compare_maps(*pair)
    with pytest.raises(InputError, match=r"b\.mrc: the mask holds NaN or infinity"):
        compare_maps(good, good, bad)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_maps_of_one_value_are_refused(tmp_path, value):
    good, bad = make_map(tmp_path / "a.mrc"), tmp_path / "b.mrc"
    write_map(bad, np.full((BOX,) * 3, value, np.float32), 1.5)
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(InputError, match=rf"b\.mrc: the map is {value:g} everywhere"):
            compare_maps(*pair)


def test_the_table_is_written_whole_or_not_at_all(tmp_path):
    curve = np.array([1.0, 0.5, 0.25])
    write_fsc(tmp_path / "fsc.csv", {"fsc": curve}, 2.0)
    assert (tmp_path / "fsc.csv").read_text().splitlines() == [
        "shell,frequency,resolution,fsc",
        "0,0.000000,inf,1.000000",
        "1,0.125000,8.0000,0.500000",
        "2,0.250000,4.0000,0.250000",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["fsc.csv"]
    for place in (tmp_path / "none/fsc.csv", tmp_path / "fsc.csv/fsc.csv", tmp_path):
        with pytest.raises(InputError, match="cannot be written"):
            write_fsc(place, {"fsc": curve}, 2.0)


def test_a_resolution_is_spoken_whatever_it_is() -> None:
    assert describe_resolution(4.208) == "4.21 Å"
    assert describe_resolution(float("inf")) == describe_resolution("inf") == "none"
