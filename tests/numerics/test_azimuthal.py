"""The background ring by ring."""

import numpy as np
import pytest
from scipy.stats import poisson

from hpdp_dask.formats.frames import Detector, flat_detector
from hpdp_dask.numerics.azimuthal import (
    SAMPLES,
    AzimuthalCells,
    azimuthal_cells,
    clipped_background,
    ring_profile,
    thresholds,
)
from hpdp_dask.numerics.diffraction import scattering_vectors


def small_detector(bad: np.ndarray | None = None) -> Detector:
    mask = np.zeros((300, 320), np.uint8) if bad is None else np.where(bad, 2, 0).astype(np.uint8)
    return flat_detector((300, 320), 172e-6, 0.06, 1.0, center=(150.0, 140.0), mask=mask)


def cells_of(detector: Detector) -> AzimuthalCells:
    q = scattering_vectors(
        detector.pixel_x, detector.pixel_y, detector.pixel_z, detector.wavelength
    )
    return azimuthal_cells(q, detector.mask == 0)


def plain(frame: np.ndarray, cells: AzimuthalCells, quantum: float) -> np.ndarray:
    """Clip each cell by itself, as anybody would write it."""
    found = []
    for sample, number in zip(cells.sample, cells.number, strict=True):
        values = frame.ravel()[sample[:number]].astype(np.float64)
        values = values[np.isfinite(values)]
        for _ in range(8):
            mean = values.mean()
            deviation = np.sqrt(max(values.var(), quantum * mean))
            kept = values[
                (values >= mean - 3.0 * deviation)
                & (values <= mean + 3.0 * deviation + quantum * 8.0 / 6.0)
            ]
            if len(kept) == len(values):
                break
            values = kept
        found.append((mean, deviation))
    return np.array(found).T


def test_cells_hold_pixels_of_one_ring_and_one_sector() -> None:
    bad = np.zeros((300, 320), bool)
    bad[100:110] = True
    detector = small_detector(bad)
    cells = cells_of(detector)
    assert np.all(cells.cell[bad.ravel()] == len(cells.number))
    counts = np.bincount(cells.cell, minlength=len(cells.number))[: len(cells.number)]
    assert counts.min() >= 12
    assert np.array_equal(cells.number, np.minimum(counts, SAMPLES))
    # nearly all good pixels are in a cell
    assert counts.sum() > 0.99 * (~bad).sum()
    q = scattering_vectors(
        detector.pixel_x, detector.pixel_y, detector.pixel_z, detector.wavelength
    )
    length = np.sqrt((q**2).sum(axis=0)).ravel()
    width = cells.ring_q[1] - cells.ring_q[0]
    for cell in range(0, len(cells.number), 50):
        sample = cells.sample[cell, : cells.number[cell]]
        assert np.all(cells.cell[sample] == cell)
        assert len(np.unique(sample)) == len(sample)
        assert np.all(np.abs(length[sample] - cells.ring_q[cells.ring[cell]]) <= width / 2 + 1e-9)


def test_clipping_is_that_of_each_cell_by_itself() -> None:
    random = np.random.default_rng(1)
    cells = cells_of(small_detector())
    frame = random.poisson(3.0, (300, 320)).astype(np.uint16)
    frame.ravel()[random.choice(frame.size, 500, replace=False)] = 5000
    found = clipped_background(frame, cells, 1.0)
    mean, deviation = plain(frame, cells, 1.0)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(found.deviation, deviation, rtol=1e-4)
    assert found.mean.mean() == pytest.approx(3.0, abs=0.03)


def test_what_is_not_finite_does_not_count() -> None:
    random = np.random.default_rng(2)
    cells = cells_of(small_detector())
    frame = random.normal(10.0, 2.0, (300, 320)).astype(np.float32)
    frame[::7] = np.nan
    frame[3::11] = np.inf
    found = clipped_background(frame, cells, None)
    assert np.isfinite(found.mean).all()
    assert np.median(found.mean) == pytest.approx(10.0, abs=0.1)
    assert np.median(found.deviation) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("mean", [0.1, 0.5, 3.0, 30.0])
def test_thresholds_are_quantiles_of_poissons_law(mean: float) -> None:
    cells = cells_of(small_detector())
    frame = np.random.default_rng(3).poisson(mean, (300, 320)).astype(np.uint16)
    limit = thresholds(clipped_background(frame, cells, 1.0), 4.5)
    assert limit[-1] == np.inf
    expected = poisson.isf(3.4e-6, mean)
    assert np.median(np.floor(limit[:-1])) == pytest.approx(expected, abs=1.5)


def test_the_tail_of_amplified_photons_is_measured() -> None:
    random = np.random.default_rng(4)
    cells = cells_of(small_detector())
    photons = random.poisson(1.0, (300, 320))
    noise = random.normal(0.0, 3.0, photons.shape)
    tails = [
        clipped_background((gain * photons + noise).astype(np.float32), cells, None).tail
        for gain in (0.0, 20.0)
    ]
    assert tails[0] < 0.5
    # third over second cumulant of 20 ADU a photon and 3 ADU of noise: 20³ / (20² + 3²)
    assert tails[1] == pytest.approx(19.6, rel=0.25)


def test_profile_of_rings() -> None:
    cells = cells_of(small_detector())
    level = np.append(10.0 + 50.0 * cells.ring_q[cells.ring], 0.0)[cells.cell].reshape(300, 320)
    profile = ring_profile(clipped_background(level.astype(np.float32), cells, 1.0), cells)
    known = np.isfinite(profile)
    np.testing.assert_allclose(profile[known], 10.0 + 50.0 * cells.ring_q[known], rtol=1e-5)


def test_no_good_pixel() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        cells_of(small_detector(np.ones((300, 320), bool)))


@pytest.mark.gpu
@pytest.mark.parametrize("quantum", [1.0, None])
def test_on_a_device_it_is_the_same(quantum: float | None) -> None:
    import cupy

    cells = cells_of(small_detector())
    frame = np.random.default_rng(1).poisson(3.0, (300, 320)).astype(np.float32)
    frame[::40, ::40] = 900.0
    here = clipped_background(frame, cells, quantum)
    there = clipped_background(cupy.asarray(frame), cells, quantum)
    np.testing.assert_allclose(there.mean.get(), here.mean, rtol=1e-3)
    np.testing.assert_allclose(there.deviation.get(), here.deviation, rtol=1e-2)
