import numpy as np
import pytest

from hpdp_dask.errors import InputError
from hpdp_dask.formats.panel_stills import is_panel_still, read_panel_still


@pytest.fixture
def still(test_data):
    (path,) = (test_data / "crystallography" / "cspad").glob("*.npz")
    return path


def test_a_still_of_a_cspad(still):
    source = read_panel_still(still)
    assert (source.number, source.shape, source.modules) == (1, (64 * 185, 194), 64)
    assert source.unit == "adu"
    detector = source.detector
    assert detector.wavelength == pytest.approx(1.2726, abs=1e-4)
    assert detector.distance == pytest.approx(0.1301, abs=1e-4)
    stored = np.load(still)
    # the first pixel's corner is the origin of its panel; z and x are turned round
    step = 0.5e-3 * stored["pixel_mm"] * (stored["fast"][5] + stored["slow"][5])
    corner = 1e-3 * stored["origin_mm"][5] + step
    place = [getattr(detector, name)[5 * 185, 0] for name in ("pixel_x", "pixel_y", "pixel_z")]
    assert place == pytest.approx(corner * (-1, 1, -1))


def test_pixels_are_where_the_flattened_image_of_the_file_has_them(still):
    """It was made by another program, which looks from the crystal: x goes to the left."""
    source = read_panel_still(still)
    stored = np.load(still)
    pixel = 1e-3 * stored["pixel_mm"]
    column, row = stored["flat_beam_xy"]
    columns = np.rint(column - source.detector.pixel_x / pixel - 0.5).astype(int)
    rows = np.rint(row - source.detector.pixel_y / pixel - 0.5).astype(int)
    shown = stored["flat"][rows, columns]
    assert np.mean(shown == source.read(0, 1)[0]) > 0.999


def test_other_files(tmp_path, still):
    np.savez(tmp_path / "a.npz", frames=np.zeros((2, 3, 4)))
    assert not is_panel_still(tmp_path / "a.npz")
    assert not is_panel_still(tmp_path / "a.npy")
    assert is_panel_still(still)
    arrays = dict(np.load(still)) | {"origin_mm": np.zeros((3, 3))}
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(InputError, match=r"origin_mm \(3, 3\), expected"):
        read_panel_still(tmp_path / "b.npz")
    with pytest.raises(InputError, match="leave --dataset out"):
        read_panel_still(still, "panels")
