import numpy as np
import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.formats.crystfel import read_geometry

#: Two panels of 2 x 3 pixels side by side in the array; the second stands on its head, further on.
TWO = """
; a comment
photon_energy = 9.5 keV
clen = 80 mm ; the distance
res = 5000
dim0 = %
dim1 = ss
dim2 = fs
rigid_group_a = left,right

left/min_fs = 0
left/max_fs = 2
left/min_ss = 0
left/max_ss = 1
left/corner_x = 10.0
left/corner_y = -20
left/fs = x
left/ss = +1.0y

right/min_fs = 3
right/max_fs = 5
right/min_ss = 0
right/max_ss = 1
right/corner_x = -4
right/corner_y = 7.5
right/fs = -1.0x +0.0y
right/ss = -0.8y+0.6z
right/coffset = 0.001
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "d.geom"
        path.write_text(text)
        return path

    return write


def test_panels_are_placed_as_the_manual_says(written):
    geometry = read_geometry(written(TWO))
    detector = geometry.at()
    assert detector.shape == (2, 6)
    pixel = 1 / 5000
    assert np.allclose(detector.pixel_x[0], np.array([10.5, 11.5, 12.5, -4.5, -5.5, -6.5]) * pixel)
    assert np.allclose(detector.pixel_y[:, 0], np.array([-19.5, -18.5]) * pixel)
    assert np.allclose(detector.pixel_y[:, 4], np.array([7.1, 6.3]) * pixel)
    assert np.allclose(detector.pixel_z[:, 1], 0.08)
    assert np.allclose(detector.pixel_z[:, 5], 0.081 + np.array([0.3, 0.9]) * pixel)
    assert detector.wavelength == pytest.approx(12398.4198 / 9500)
    assert detector.pixel_size == pytest.approx(2e-4)
    assert not detector.mask.any()
    assert geometry.modules == 1
    assert geometry.at(0.5).pixel_z[0, 0] == 0.5


def test_modules_lie_one_after_another(written):
    text = TWO.replace("right/min_fs = 3", "right/min_fs = 0").replace(
        "right/max_fs = 5", "right/max_fs = 2"
    )
    text = text.replace("dim1 = ss", "").replace("dim2 = fs", "dim2 = ss\ndim3 = fs")
    text = text.replace("left/min_fs", "left/dim1 = 0\nleft/min_fs")
    text = text.replace("right/min_fs", "right/dim1 = 2\nright/min_fs")
    geometry = read_geometry(written(text))
    detector = geometry.at()
    assert geometry.modules == 3
    assert detector.shape == (6, 3)
    assert np.allclose(detector.pixel_x[4], np.array([-4.5, -5.5, -6.5]) / 5000)
    # the module between has no panel
    assert (detector.mask[2:4] == 2).all()
    assert not detector.mask[[0, 1, 4, 5]].any()
    assert np.isfinite(detector.pixel_x).all()
    assert "6 pixels are in no panel" in geometry.notes[0]


def test_an_agipd_is_where_extra_geom_puts_it(test_data):
    extra_geom = pytest.importorskip("extra_geom")
    path = test_data / "spi" / "geometry" / "agipd_p008316_r0024_v04.geom"
    geometry = read_geometry(path)
    theirs = extra_geom.AGIPD_1MGeometry.from_crystfel_geom(path).get_pixel_positions()
    theirs = theirs.reshape(-1, 128, 3)
    detector = geometry.at()
    assert geometry.modules == 16
    assert detector.shape == (16 * 512, 128)
    assert np.allclose(detector.pixel_x, theirs[..., 0], atol=1e-12)
    assert np.allclose(detector.pixel_y, theirs[..., 1], atol=1e-12)
    assert np.allclose(detector.pixel_z, 0.12322 + theirs[..., 2], atol=1e-12)
    assert detector.wavelength == pytest.approx(1.05978, abs=1e-5)
    assert "--mask" in geometry.notes[0]


def test_panels_of_extra_geom_in_one_plane(tmp_path):
    """A detector of other tiles, its modules one after another along the slow axis."""
    extra_geom = pytest.importorskip("extra_geom")
    geometry = extra_geom.JUNGFRAUGeometry.from_module_positions([(9.5, 10), (-1000, 77)])
    path = tmp_path / "j.geom"
    geometry.write_crystfel_geom(str(path), dims=("frame", "ss", "fs"), nquads=0, clen=0.2)
    theirs = geometry.get_pixel_positions().reshape(-1, 1024, 3)
    detector = read_geometry(path).at()
    assert detector.shape == (1024, 1024)
    # its pixels are all of one size here; the wide ones between chips are not
    assert np.allclose(detector.pixel_x, theirs[..., 0], atol=1e-12)
    assert np.allclose(detector.pixel_y, theirs[..., 1], atol=1e-12)


@pytest.mark.parametrize(
    ("region", "bad"),
    [
        (
            "badspot/panel = right\nbadspot/min_fs = 4\nbadspot/max_fs = 5\nbadspot/min_ss = 1\n"
            "badspot/max_ss = 1",
            [(1, 4), (1, 5)],
        ),
        ("badcorner/min_x = 11\nbadcorner/max_x = 12\nbadcorner/max_y = -19", [(0, 1)]),
        ("badall/min_x = -1e9\nbadall/panel = left", [(r, c) for r in (0, 1) for c in (0, 1, 2)]),
        ("left/no_index = 1", [(r, c) for r in (0, 1) for c in (0, 1, 2)]),
    ],
)
def test_bad_regions(written, region, bad):
    mask = read_geometry(written(f"{TWO}\n{region}\n")).at().mask
    assert sorted(map(tuple, np.argwhere(mask == 2).tolist())) == sorted(bad)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("clen = 80 mm", "clen = /LCLS/detector/z", "no clen in metres; give --distance"),
        ("left/fs = x", "left/fs = 1.0w", "fs of the panel left is '1.0w', expected a vector"),
        ("left/max_ss = 1", "left/max_ss = one", "max_ss of left is 'one', expected a number"),
        ("left/corner_x = 10.0\n", "", "the panel left has no corner_x"),
        ("right/min_fs = 3", "right/min_fs = 2", "the panel right overlaps another"),
        ("res = 5000", "res = 0", "a positive res"),
        ("res = 5000", "res 5000", "line 5 is 'res 5000', expected `key = value`"),
        ("left/max_ss = 1", "left/max_ss = 99999999999", "mend max_ss or max_fs"),
        ("dim1 = ss\ndim2 = fs", "dim1 = fs\ndim2 = ss", "then ss and fs"),
    ],
)
def test_mistakes(written, old, new, said):
    assert old in TWO
    with pytest.raises(InputError, match=said) as caught:
        read_geometry(written(TWO.replace(old, new))).at()
    assert "\n" not in str(caught.value)


def test_files_that_are_none(written, tmp_path):
    with pytest.raises(InputError, match="has no panel"):
        read_geometry(written("clen = 0.1\n"))
    with pytest.raises(InputError, match="bad1 is in the panel none"):
        read_geometry(written(f"{TWO}\nbad1/panel = none\nbad1/min_fs = 0\n"))
    with pytest.raises(InputError, match="cannot be read"):
        read_geometry(tmp_path / "absent.geom")
