"""Sizes by form factors: true within the photons' noise, and known to be wrong where they are."""

import numpy as np
import pytest
from diffraction_patterns import Patterns, small_detector
from scipy.integrate import quad
from scipy.stats import poisson

from hpdp_dask.numerics.polar import gather, polar_cells
from hpdp_dask.numerics.size_tables import (
    FIRST_MINIMUM,
    broadened,
    icosahedron_form_factor,
    possible_diameters,
    ring_intensities,
    size_table,
    sphere_form_factor,
)
from hpdp_dask.numerics.sphere_fit import expected_deviance, fit_sizes

DETECTOR = small_detector()


@pytest.fixture(scope="module")
def patterns():
    return Patterns(DETECTOR, seed=1)


@pytest.fixture(scope="module")
def cells(patterns):
    return polar_cells(patterns.q.mean(axis=1), patterns.share)


@pytest.fixture(scope="module")
def table(cells):
    return size_table(cells, possible_diameters(cells))


def rings(frames, cells):
    return gather(np.array(frames), cells).sum(axis=2)


def test_the_sphere_by_its_radial_integral():
    for x in (0.3, 1.1, 2.7):
        # the transform of a ball of diameter 1, shell by shell
        transform = quad(lambda r: 4 * np.pi * r**2 * np.sinc(2 * x * r), 0, 0.5)[0]  # noqa: B023
        assert sphere_form_factor(x) == pytest.approx((transform / (np.pi / 6)) ** 2, rel=1e-9)
    assert sphere_form_factor(0.0) == 1.0
    assert sphere_form_factor(FIRST_MINIMUM) < 1e-8


def test_the_icosahedron_is_a_sphere_at_small_angles():
    """The radii of gyration differ by less than a percent; both begin as exp(-(2 pi q R)²/3)."""
    x = np.array([0.0, 0.2, 0.4])
    np.testing.assert_allclose(icosahedron_form_factor(x), sphere_form_factor(x), rtol=0.02)
    away = np.linspace(1.2, 1.7, 51)
    assert away[np.argmin(icosahedron_form_factor(away))] == pytest.approx(FIRST_MINIMUM, abs=0.03)


def test_many_sizes_have_no_fringes():
    x = np.linspace(0.0, 6.0, 200)
    smooth = broadened(sphere_form_factor)(x)
    assert smooth[0] == pytest.approx(1.0)
    assert np.all(np.diff(smooth) < 0.0)


def test_rings_average_the_form_factor_over_their_pixels(cells, patterns):
    found = ring_intensities(cells, sphere_form_factor, np.array([700.0]))[0]
    pixels = patterns.sphere(700.0) / (np.pi / 6 * 700.0**3) ** 2
    expected = cells.spread(pixels / patterns.share[patterns.share > 0].mean()).sum(axis=1)
    weight = cells.weight.sum(axis=1)
    there = weight > 0
    np.testing.assert_allclose(found[there], expected[there] / weight[there], rtol=0.1, atol=2e-5)
    assert not found[~there].any()


@pytest.mark.parametrize("photons", [300, 1000, 5000, 30_000])
@pytest.mark.parametrize("background", [0.0, 0.3])
def test_spheres(patterns, cells, table, photons, background):
    true = np.geomspace(200.0, 2000.0, 24)
    frames = [patterns.photons(patterns.sphere(size), photons, background) for size in true]
    fit = fit_sizes(rings(frames, cells), table)
    off = np.abs(fit.diameter / true - 1.0)
    assert np.median(off) < 0.02
    assert np.mean(off < 0.1) > 0.95
    # the error that is told is the error that is made
    assert np.median(np.abs(fit.diameter - true) / fit.error) < 1.2


@pytest.mark.parametrize("form_factor", [sphere_form_factor, icosahedron_form_factor])
@pytest.mark.parametrize("photons", [300, 30_000])
def test_icosahedra(patterns, cells, form_factor, photons):
    table = size_table(cells, possible_diameters(cells), form_factor)
    true = np.geomspace(200.0, 2000.0, 24)
    frames = [patterns.photons(patterns.icosahedron(size), photons) for size in true]
    off = np.abs(fit_sizes(rings(frames, cells), table).diameter / true - 1.0)
    assert np.median(off) < 0.02


@pytest.mark.parametrize(("photons", "least"), [(300, 0.85), (1000, 0.93), (10_000, 0.98)])
def test_the_score_tells_good_from_bad(patterns, cells, table, photons, least):
    frames, good = [], []
    for size in np.geomspace(300.0, 1000.0, 16):
        pair = np.stack([np.zeros(3), 1.02 * patterns.direction()])
        trio = np.concatenate([pair, [1.02 * patterns.direction()]])
        right = [patterns.sphere(size), patterns.icosahedron(size)]
        wrong = [
            patterns.cluster(size, pair),
            patterns.cluster(size, trio),
            patterns.rod(0.5 * size, 2.0 * size, patterns.direction()),
            patterns.even(),
        ]
        frames += [patterns.photons(each, photons, 0.1) for each in right + wrong]
        good += [True] * len(right) + [False] * len(wrong)
    score = fit_sizes(rings(frames, cells), table).score
    good = np.array(good)
    assert np.all((score >= 0.0) & (score <= 1.0))
    higher = np.mean(score[good][:, None] > score[~good]) + 0.5 * np.mean(
        score[good][:, None] == score[~good]
    )
    assert higher > least  # area under the receiver's curve


def test_a_structured_background_does_not_pull_the_size(patterns, cells):
    radius = np.linalg.norm(patterns.q.mean(axis=1), axis=0)
    halo = np.exp(-radius / 1.5e-3)
    true = np.geomspace(300.0, 1500.0, 16)
    frames = []
    for size in true:
        signal = patterns.sphere(size)
        mean = 3000 * (
            signal / signal.sum() + halo * (patterns.share > 0) / halo[patterns.share > 0].sum()
        )
        frames.append(patterns.random.poisson(mean).astype(np.uint16))
    counts, diameters = rings(frames, cells), possible_diameters(cells)
    known = fit_sizes(counts, size_table(cells, diameters, background=halo))
    even = fit_sizes(counts, size_table(cells, diameters))
    assert np.median(np.abs(known.diameter / true - 1.0)) < 0.01
    assert np.median(known.score) > 0.6 > np.median(even.score)
    assert np.median(known.background / 3000) == pytest.approx(1.0, abs=0.15)


def test_sizes_that_are_known(patterns, cells, table):
    frame = [patterns.photons(patterns.sphere(600.0), 3000)]
    free = fit_sizes(rings(frame, cells), table)
    right = fit_sizes(rings(frame, cells), table, np.array([600.0]))
    wrong = fit_sizes(rings(frame, cells), table, np.array([900.0]))
    assert right.diameter[0] == 600.0
    assert wrong.diameter[0] == 900.0
    assert wrong.score[0] == 0.0 < right.score[0]
    assert right.score[0] == pytest.approx(free.score[0], abs=0.05)
    assert right.expected.sum() == pytest.approx(3000, rel=0.05)


def test_frames_without_photons(cells, table):
    fit = fit_sizes(np.zeros((2, cells.rings)), table)
    assert np.all(np.isnan(fit.diameter))
    np.testing.assert_array_equal(fit.score, 0.0)
    assert len(fit_sizes(np.zeros((0, cells.rings)), table).diameter) == 0


def test_many_frames_and_few_give_the_same(patterns, cells, table):
    frames = [patterns.photons(patterns.sphere(500.0), 1000) for _ in range(70)]
    counts = rings(frames, cells)
    whole = fit_sizes(counts, table)
    parts = [fit_sizes(counts[i : i + 7], table).diameter for i in range(0, 70, 7)]
    np.testing.assert_allclose(np.concatenate(parts), whole.diameter, rtol=1e-4)


def test_limits(cells):
    diameters = possible_diameters(cells, 300.0, 900.0)
    assert diameters[0] == pytest.approx(300.0)
    assert diameters[-1] == pytest.approx(900.0)
    with pytest.raises(ValueError, match="sizes from"):
        possible_diameters(cells, 900.0, 300.0)


def test_deviance_of_counts():
    count = np.arange(400)
    for mean in (0.01, 0.3, 2.0, 30.0):
        probability = poisson.pmf(count, mean)
        logarithm = np.log(np.where(count > 0, count, 1) / mean) * count
        deviance = 2 * (logarithm - count + mean)
        expected = np.sum(probability * deviance)
        variance = np.sum(probability * deviance**2) - expected**2
        np.testing.assert_allclose(
            expected_deviance(np.array([mean])), [[expected], [variance]], rtol=2e-3
        )
