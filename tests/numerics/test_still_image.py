"""Poisson counts and the picture that they make, against distributions and plain NumPy."""

import numpy as np
import pytest
from scipy.stats import chi2, poisson

from hpdp_dask.numerics.bragg_spots import Plane
from hpdp_dask.numerics.diffuse_scatter import (
    air_scatter,
    ice_scatter,
    light_atom,
    water_scatter,
)
from hpdp_dask.numerics.poisson_counts import poisson_counts
from hpdp_dask.numerics.still_image import BeamStop, Diffuse, count_photons

SIDE, SIZE, DISTANCE = 96, 2e-4, 0.1


@pytest.mark.parametrize("mean", [0.02, 0.7, 5.03, 17.8, 31.97, 32.01, 60.0, 4000.0])
def test_counts_are_poisson_distributed(mean):
    number = 200_000
    counts = poisson_counts(np.full(number, mean, np.float32), 12345)
    expected = poisson.pmf(np.arange(counts.max() + 2), np.float32(mean)) * number
    observed = np.bincount(counts, minlength=len(expected))
    enough = expected > 8.0
    rest = number - expected[enough].sum()
    distance = np.sum((observed - expected)[enough] ** 2 / expected[enough])
    distance += (observed[~enough].sum() - rest) ** 2 / max(rest, 1.0)
    assert chi2.sf(distance, enough.sum()) > 1e-4
    # neighbours, and the same pixels of another key, know nothing of each other
    other = poisson_counts(np.full(number, mean, np.float32), 12346)
    assert abs(np.corrcoef(counts[1:], counts[:-1])[0, 1]) < 0.012
    assert abs(np.corrcoef(counts, other)[0, 1]) < 0.012


def test_no_photons_where_the_mean_is_zero():
    assert not poisson_counts(np.zeros(1000, np.float32), 3).any()


def scene(factor=1, stop=None, slope=(0.0, 0.0), tilt=0.0):
    fast = SIZE * np.array([np.cos(tilt), 0.0, np.sin(tilt)])
    plane = Plane(np.array([0.0, 0.0, DISTANCE]), fast, np.array([0.0, SIZE, 0.0]), (SIDE, SIDE))
    even = (4000.0 * np.exp(-np.linspace(0.0, 5.0, 400))).astype(np.float32)
    diffuse = Diffuse(even, -0.3 * even, 0.4 / 400, slope)
    works = np.ones(SIDE, np.bool_), np.ones(SIDE, np.bool_)
    works[0][30:34] = False
    works[1][50:52] = False
    spots = np.zeros((SIDE, SIDE), np.float32)
    spots[60, 70] = 1e5
    return count_photons(spots, plane, diffuse, stop or BeamStop(), *works, 77, factor), diffuse


def test_means_are_those_of_plain_numpy():
    stop = BeamStop(1e-3, 2e-3, 2e-3, 3e-4, 0.1, arm=4e-4, arm_x=0.6, arm_y=0.8, arm_leak=0.5)
    tilt = np.radians(5.0)
    counts, diffuse = scene(stop=stop, slope=(8.0, -12.0), tilt=tilt)
    row, column = np.indices((SIDE, SIDE))
    x, y = column * SIZE * np.cos(tilt), row * SIZE
    z = DISTANCE + column * SIZE * np.sin(tilt)
    tangent = np.hypot(x, y) / z
    known = diffuse.step * np.arange(len(diffuse.even))
    even, sided = (np.interp(tangent, known, table) for table in (diffuse.even, diffuse.sided))
    psi = np.arctan2(y, x)
    nearest = DISTANCE * np.cos(tilt)
    mean = (even + sided * np.cos(2.0 * psi)) * (nearest / z) ** 3 * (1.0 + 8.0 * x - 12.0 * y)
    mean[60, 70] += 1e5
    edge = (np.hypot(x - 1e-3, y - 2e-3) - 2e-3) / 3e-4
    mean *= 0.1 + 0.9 / (1.0 + np.exp(-edge))
    dx, dy = x - 1e-3, y - 2e-3
    mean[(0.6 * dx + 0.8 * dy > 0.0) & (np.abs(0.8 * dx - 0.6 * dy) < 4e-4)] *= 0.5
    mean[30:34] = 0.0
    mean[:, 50:52] = 0.0
    deviation = (counts - mean)[1:, 1:] / np.sqrt(np.maximum(mean, 1.0))[1:, 1:]
    assert np.abs(deviation).max() < 5.5
    works = mean[1:, 1:] > 0.0
    assert deviation[works].mean() == pytest.approx(0.0, abs=0.04)
    assert deviation[works].std() == pytest.approx(1.0, abs=0.03)
    assert not counts[30:34].any()
    assert not counts[:, 50:52].any()


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_cell_has_the_largest_count_of_its_pixels(factor):
    alone, _ = scene()
    pooled, _ = scene(factor)
    cells = alone.reshape(SIDE // factor, factor, SIDE // factor, factor)
    np.testing.assert_array_equal(pooled, cells.max(axis=(1, 3)))


def test_scattering_is_that_of_its_electrons():
    # forward, air is two atoms in phase; far out what is left is incoherent
    assert light_atom(np.array([0.0]), 6.0)[0] == pytest.approx(6.0, rel=1e-3)
    assert air_scatter(np.array([0.0]))[0] == pytest.approx(14.0**2, rel=1e-2)
    stol = np.linspace(0.0, 0.5, 501)
    assert 1.0 / (2.0 * stol[np.argmax(water_scatter(stol))]) == pytest.approx(3.1, abs=0.1)
    ring = ice_scatter(stol, np.eye(12)[2], 0.002)
    assert 1.0 / (2.0 * stol[np.argmax(ring)]) == pytest.approx(3.44, abs=0.02)


def test_water_and_air_agree_with_nanobraggs_tables(test_data):
    folder = test_data / "crystallography/scattering"
    for name, scatter, off in (("air.stol", air_scatter, 0.2), ("water.stol", water_scatter, 0.25)):
        stol, amplitude = np.loadtxt(folder / name, comments="#", usecols=(0, 1)).T
        known = (stol > 0.08) & (stol < 0.45)
        found = np.sqrt(scatter(stol[known]))
        ratio = found / amplitude[known]
        assert np.abs(ratio / np.median(ratio) - 1.0).max() < off, name
