"""Pictures of detectors: each pixel where it stands."""

import numpy as np

from hpdp_dask.formats.frames import flat_detector
from hpdp_dask.numerics.assembly import plan_assembly


def test_a_flat_detector_is_its_rows_upside_down():
    detector = flat_detector((5, 8), 2e-4, 0.3, center=(1.0, 2.0))
    values = np.arange(3 * 40).reshape(3, 5, 8)
    plan = plan_assembly(detector.pixel_x, detector.pixel_y)
    np.testing.assert_array_equal(plan.show(values), values[:, ::-1])
    np.testing.assert_allclose(plan.center, (2.0, 1.0))
    np.testing.assert_allclose(plan.step, 2e-4)


def test_modules_stand_where_they_stand():
    """Two modules stored one after the other, side by side with a gap, one of them turned."""
    across, up = np.meshgrid(np.arange(4), np.arange(3))
    left = across - 6.0, up - 1.0
    right = up + 1.0, across - 2.0
    x, y = (np.concatenate([a, b]) * 1e-3 for a, b in zip(left, right, strict=True))
    plan = plan_assembly(x, y, 1e-3)
    picture = plan.show(np.ones((6, 4), int), fill=-1)
    assert picture.shape == (4, 10)
    assert (picture[:, 4:7] == -1).all()
    assert (picture == 1).sum() == 24
    row, column = plan.center
    values = np.round(1000 * x).astype(int)
    shown = plan.show(values, fill=99)
    there = shown != 99
    np.testing.assert_array_equal(
        shown[there], np.round(np.arange(10) - column).astype(int)[np.nonzero(there)[1]]
    )
    assert row == 1.0


def test_a_seam_is_closed_and_a_gap_is_not():
    x, y = np.meshgrid(np.array([0.0, 1.0, 3.0, 4.0, 8.0]), np.arange(4.0))
    picture = plan_assembly(x, y, 1.0).show(np.ones((4, 5), int))
    assert (picture[:, :5] == 1).all()
    assert (picture[:, 5:8] == 0).all()


def test_fewer_cells_where_asked():
    detector = flat_detector((100, 300), 1e-4, 0.3)
    plan = plan_assembly(detector.pixel_x, detector.pixel_y, longest=60)
    assert max(plan.source.shape) == 60
    assert (plan.source >= 0).all()
