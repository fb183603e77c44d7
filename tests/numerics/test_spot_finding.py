"""Spots of frames."""

import numpy as np
import pytest
from scipy import ndimage
from test_azimuthal import cells_of, small_detector

from hpdp_dask.numerics.spot_finding import connect, find_spots

#: Where the spots are, in pixels, and how many photons they have.
PLACES = np.array([[40.3, 60.6], [200.0, 30.0], [120.7, 250.2], [260.4, 300.1], [80.0, 160.5]])
PHOTONS = np.array([400.0, 60.0, 3000.0, 150.0, 90.0])


def stamped(shape: tuple[int, int], width: float = 0.8) -> np.ndarray:
    """Give the mean of frames with the spots, round and Gaussian."""
    y, x = np.indices(shape)
    spots = [
        number * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2.0 * width**2))
        for (row, column), number in zip(PLACES, PHOTONS, strict=True)
    ]
    return np.sum(spots, axis=0) / (2.0 * np.pi * width**2)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_spots_are_found_where_they_are(dtype: type) -> None:
    cells = cells_of(small_detector())
    random = np.random.default_rng(1)
    frame = random.poisson(2.0 + stamped((300, 320))).astype(dtype)
    spots, background = find_spots(frame, cells, 1.0)
    assert len(spots.row) == len(PHOTONS)
    order = np.argsort(-PHOTONS)
    np.testing.assert_allclose(spots.row, PLACES[order, 0], atol=0.5)
    np.testing.assert_allclose(spots.column, PLACES[order, 1], atol=0.5)
    # the faint wings are below the limit of pixels that join
    assert np.all(spots.intensity > 0.4 * PHOTONS[order])
    assert np.all(spots.intensity < 1.1 * PHOTONS[order] + 4.0 * spots.deviation)
    assert np.median(background.mean) == pytest.approx(2.0, abs=0.1)


def test_spots_on_amplified_photons() -> None:
    cells = cells_of(small_detector())
    random = np.random.default_rng(1)
    photons = random.poisson(2.0 + stamped((300, 320)))
    frame = 100.0 + 25.0 * photons + random.normal(0.0, 6.0, photons.shape)
    spots, _ = find_spots(frame.astype(np.float32), cells, None)
    assert len(spots.row) == len(PHOTONS)
    assert spots.intensity[0] == pytest.approx(25.0 * PHOTONS.max(), rel=0.15)


@pytest.mark.parametrize("mean", [0.0, 0.05, 1.0, 20.0])
def test_noise_has_no_spots(mean: float) -> None:
    cells = cells_of(small_detector())
    random = np.random.default_rng(5)
    for _ in range(10):
        frame = random.poisson(mean, (300, 320)).astype(np.uint16)
        assert len(find_spots(frame, cells, 1.0)[0].row) == 0


def test_single_pixels_and_edges_of_shadows_are_no_spots() -> None:
    cells = cells_of(small_detector())
    random = np.random.default_rng(6)
    mean = np.full((300, 320), 20.0)
    mean[:, 200:] = 2.0
    mean[180:] *= 1.8
    frame = random.poisson(mean).astype(np.uint16)
    frame[25::50, 25::50] = 60000
    assert len(find_spots(frame, cells, 1.0)[0].row) == 0


def test_bad_and_overflowing_pixels_are_no_spots() -> None:
    bad = np.zeros((300, 320), bool)
    bad[50:60, 50:60] = True
    cells = cells_of(small_detector(bad))
    frame = np.random.default_rng(7).poisson(2.0, (300, 320)).astype(np.uint16)
    frame[50:60, 50:60] = 1000
    frame[100:102, 100:102] = 65535
    spots, _ = find_spots(frame, cells, 1.0, highest=65534)
    assert len(spots.row) == 0
    assert len(find_spots(frame, cells, 1.0)[0].row) == 1


def test_labels_are_those_of_scipy() -> None:
    lit = np.random.default_rng(8).random((60, 70)) < 0.35
    label, number = connect(np.flatnonzero(lit).astype(np.int32), 70)
    expected, count = ndimage.label(lit, np.ones((3, 3)))
    assert number == count
    assert np.array_equal(label + 1, expected[lit])


@pytest.mark.gpu
def test_on_a_device_it_is_the_same() -> None:
    import cupy

    cells = cells_of(small_detector())
    frame = np.random.default_rng(1).poisson(2.0 + stamped((300, 320))).astype(np.uint16)
    here, _ = find_spots(frame, cells, 1.0)
    there, _ = find_spots(cupy.asarray(frame), cells, 1.0)
    np.testing.assert_allclose(there.intensity, here.intensity, rtol=1e-6)
